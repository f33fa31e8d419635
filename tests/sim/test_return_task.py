"""Ball return: one outcome a ball, and what the robot feels of it."""

import pytest
import torch

from humanoid.joints import READY_JOINT_POS
from sim.ball_sim import BallSim
from sim.engine import CpuEngine
from sim.return_task import FALL, MISS, NET, OUT, PENDING, RETURNED, SLOTS, ReturnConfig, ReturnTask

READY = torch.as_tensor(READY_JOINT_POS.copy())


class StillEngine(CpuEngine):
    """Robots that stay as they are put: for balls alone."""

    def step(self, ids=None):
        pass

    def advance(self, steps, ids=None):
        pass


def make(n=1, still=True, **options):
    engine = StillEngine(n, threads=1) if still else None
    options.setdefault("pool", 16)
    return ReturnTask(n, options.pop("config", None), engine=engine, threads=1, **options)


@pytest.fixture(scope="module")
def shared():
    return make(4)


@pytest.fixture
def task(shared):
    """Four robots that stand still, one ball launched to each, its launch thrown away."""
    shared.seed(0)
    shared.reset(torch.arange(4))
    shared.record.__init__()
    shared.step(READY.expand(4, -1))
    return shared


def throw(task, env, pos, vel, struck):
    """The first ball of an environment is somewhere else."""
    task.balls.reset(torch.tensor([env]), torch.tensor([pos]), torch.tensor([vel]))
    task.contact[0, env] = struck


def play(task, steps):
    for _ in range(steps):
        task.step(READY.expand(task.num_envs, -1))


@pytest.mark.parametrize(
    ("pos", "vel", "struck", "outcome"),
    [
        ((-8.0, 0.0, 1.2), (20.0, 0.0, 4.0), True, RETURNED),
        ((-3.0, 0.0, 0.7), (20.0, 0.0, 0.0), True, NET),
        ((-8.0, 0.0, 1.2), (6.0, 0.0, -2.0), True, NET),  # bounces on the own side
        ((-8.0, 0.0, 1.2), (35.0, 0.0, 8.0), True, OUT),
        ((-8.0, 0.0, 1.2), (18.0, 8.0, 4.0), True, OUT),
        ((-5.0, 3.0, 0.5), (-4.0, 0.0, 0.0), False, MISS),
        ((5.0, 0.0, 0.7), (-15.0, 0.0, 0.0), False, MISS),  # a launch into the net
    ],
)
def test_outcomes_of_scripted_balls(task, pos, vel, struck, outcome):
    throw(task, 2, pos, vel, struck)
    task.config, saved = ReturnConfig(balls_per_episode=1), task.config
    try:
        play(task, 150)
    finally:
        task.config = saved
    assert task.outcome[0, 2] == outcome
    row = task.record.env.index(2)
    assert task.record.outcome[row] == outcome
    assert task.record.contact[row] == struck
    landed = outcome in (RETURNED, OUT) or (outcome == NET and pos[0] == -8.0)
    assert (task.record.landing[row][0] == task.record.landing[row][0]) == landed


def test_each_ball_has_one_outcome(task):
    play(task, 99)
    keys = list(zip(task.record.env, task.record.ball, strict=True))
    assert len(keys) == len(set(keys))


def test_a_fall_costs_the_coming_ball(task):
    task.engine.qpos[1, 2] = 0.2
    play(task, 1)
    assert task.fallen.tolist() == [False, True, False, False]
    assert task.resolved[1] == FALL
    assert not task.valid[1]


def test_a_ball_missed_as_the_robot_falls_counts_once(task):
    throw(task, 1, (-13.0, 0.0, 0.04), (-5.0, 0.0, -2.0), False)
    task.bounced[0, 1] = True
    task.engine.qpos[1, 2] = 0.2
    play(task, 1)
    assert task.fallen[1]
    assert [o for env, o in zip(task.record.env, task.record.outcome, strict=True) if env == 1] == [MISS]


def test_balls_take_turns_in_their_slots(task):
    play(task, 2 * 100 + 50)
    assert task.launched.tolist() == [3] * 4
    assert sorted(task.ball_number[:, 0].tolist()) == [0, 1, 2]
    assert SLOTS == 3


def test_without_a_ball_its_terms_are_zero(task):
    task.reset(torch.arange(4))
    terms = task.terms()
    assert not terms["ball_valid"].any()
    assert not terms["ball_pos"].any()


def test_same_seed_same_game():
    games = []
    for _ in range(2):
        task = make(2, seed=5)
        play(task, 20)
        games.append(task.observation())
    assert torch.equal(*games)


def test_seeding_again_repeats_the_game():
    task = make(2, seed=9)
    games = []
    for _ in range(2):
        task.seed(3)
        task.reset(torch.arange(2))
        play(task, 20)
        games.append(task.observation())
    assert torch.equal(*games)


def test_a_recycled_pool_holds_the_same_launches():
    task = make(1, pool=4, recycle=3)
    first = sorted(task._pool.vel[:, 0].tolist())
    for _ in range(12):
        task.launch(torch.tensor([0]))
    assert sorted(task._pool.vel[:, 0].tolist()) == first
    task.launch(torch.tensor([0]))
    assert sorted(task._pool.vel[:, 0].tolist()) != first


def strike(task, env):
    """A ball 6 cm before the racket's face flies into it."""
    racket = task.engine.racket_rot[env, :, 2].float()
    pos = task.engine.racket_pos[env].float() + 0.06 * racket
    task.balls.reset(torch.tensor([env]), pos[None], -15.0 * racket[None])


def test_the_racket_takes_what_the_ball_loses(monkeypatch):
    """The engine is pushed by the ball's change of momentum, and the robot moves by it."""
    engine = CpuEngine(2, threads=1)
    task = ReturnTask(2, engine=engine, pool=16)
    play(task, 1)
    qpos = task.ready_qpos.repeat(2, 1)
    qpos[:, 2] += 1.0
    task.place(torch.arange(2), qpos)
    strike(task, 0)
    task.balls.active[1] = False
    pushes = []
    push = engine.push_racket
    monkeypatch.setattr(engine, "push_racket", lambda *args: (pushes.append(args), push(*args)))
    before = task.balls.state.vel[0].clone()
    play(task, 1)
    assert task.struck.tolist() == [True, False]
    ((ids, impulse, _),) = pushes
    assert ids.tolist() == [0]
    change = task.balls.state.vel[0] - before + torch.tensor([0.0, 0.0, 9.81 * 0.02])
    torch.testing.assert_close(impulse[0], -0.0577 * change, atol=0.01, rtol=0)
    assert (engine.qvel[0] - engine.qvel[1]).abs().max() > 0.5


class Straightforward(ReturnTask):
    """Every robot steps finely."""

    def _reachable(self):
        return torch.ones(self.num_envs, dtype=torch.bool)


def always(*_):
    return True


def games(level, straight, steps, monkeypatch):
    kind = Straightforward if straight else ReturnTask
    with monkeypatch.context() as patch:
        if straight:
            patch.setattr(BallSim, "_may_touch", staticmethod(always))
        task = kind(24, ReturnConfig(level=level, ball_interval=0.6), seed=2, threads=1, pool=64)
        generator = torch.Generator().manual_seed(0)
        hits = 0
        for step in range(steps):
            if step % 12 == 0:
                targets = READY + 0.3 * torch.randn(24, 29, generator=generator, dtype=torch.float64)
            task.step(targets)
            hits += int(task.struck.sum())
            fallen = task.fallen.nonzero().squeeze(1)
            if len(fallen):
                task.place(fallen)
            if step % 25 == 10:
                strike(task, step % 24)
                task.outcome[0, step % 24], task.contact[0, step % 24] = PENDING, False
        return task, hits


def test_shortcuts_do_not_change_the_game(monkeypatch):
    """Robots far from balls in one call, rackets looked for only where a ball may meet one: to the bit."""
    (quick, hits), (plain, _) = (games("match", straight, 160, monkeypatch) for straight in (False, True))
    assert hits > 3
    assert torch.equal(quick.engine.qpos, plain.engine.qpos)
    assert torch.equal(quick.observation(), plain.observation())
    assert torch.equal(quick.outcome, plain.outcome)
    assert sorted(zip(quick.record.env, quick.record.ball, quick.record.outcome, strict=True)) == sorted(
        zip(plain.record.env, plain.record.ball, plain.record.outcome, strict=True)
    )


def test_dead_balls_leave_the_court(task):
    throw(task, 0, (-8.0, 0.0, 1.2), (20.0, 0.0, 4.0), True)
    play(task, 98)
    play(task, 2 * 100)
    assert not task.balls.active[0] or task.ball_number[0, 0] == 3


def test_a_ball_that_still_comes_stays(task):
    """A fall decides a ball that is still in the air; it may yet meet the racket of the robot that got up."""
    task.engine.qpos[1, 2] = 0.2
    play(task, 1)
    task.place(torch.tensor([1]))
    play(task, 70)
    assert task.balls.active[1]
