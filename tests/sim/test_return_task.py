"""Ball return: one outcome a ball, and what the robot feels of it."""

import math
from dataclasses import replace

import pytest
import torch

from humanoid.joints import READY_JOINT_POS
from sim.ball_sim import BallSim
from sim.engine import CpuEngine
from sim.launch_distribution import DIMS, LaunchMixture
from sim.return_episodes import ReturnEpisodes
from sim.return_task import FALL, MISS, NET, OUT, PENDING, RETURNED, SLOTS, ReturnConfig, ReturnTask
from sim.robot_ranges import RobotRanges
from sim.world import WORLDS, World

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


def launch_steps(task, steps):
    """Control steps at which each environment launched."""
    seen = [[] for _ in range(task.num_envs)]
    for step in range(steps):
        before = task.launched.clone()
        task.step(READY.expand(task.num_envs, -1))
        for env in (task.launched > before).nonzero().squeeze(1).tolist():
            seen[env].append(step)
    return seen


def test_balls_come_every_two_seconds(task):
    task.reset(torch.arange(4))
    assert launch_steps(task, 301) == [[0, 100, 200, 300]] * 4


def test_intervals_are_drawn_from_their_range():
    config = ReturnConfig(ball_interval=0.5, longest_interval=1.5, balls_per_episode=6)
    task = make(40, config=config)
    steps = launch_steps(task, 6 * 75)
    assert all(len(row) == 6 for row in steps)
    gaps = torch.tensor(steps).diff(dim=1)
    assert 25 <= gaps.min() <= 27
    assert 73 <= gaps.max() <= 75
    assert gaps.double().mean() == pytest.approx(50, abs=4)


def test_given_launches_are_served_in_their_order():
    task = make(3)
    table = task.launcher.draw(5, torch.Generator().manual_seed(7))
    task.serve(table)
    task.reset(torch.arange(3))
    task.launch(torch.arange(3))
    for env in range(3):
        torch.testing.assert_close(task.balls.state.pos[task.slot[env] * 3 + env], table.pos[env])
        torch.testing.assert_close(task._point[task.slot[env], env], table.point[env].float())
    with pytest.raises(ValueError, match="2 launches for 3 environments"):
        task.serve(table.at(torch.arange(2)))


def test_a_pool_may_be_smaller_than_the_robots():
    task = make(5, pool=2)
    play(task, 1)
    assert task.launched.tolist() == [1] * 5
    assert len(task.balls.state.vel[:5, 0].unique()) == 5


@pytest.mark.parametrize(("n", "pool", "message"), [(0, 4, "num_envs = 0"), (1, 0, "pool = 0")])
def test_impossible_numbers_are_named(n, pool, message):
    with pytest.raises(ValueError, match=message):
        ReturnTask(n, threads=1, pool=pool)


def test_an_episode_of_drawn_intervals_ends():
    task = make(2, config=ReturnConfig(ball_interval=0.1, longest_interval=0.4, balls_per_episode=2))
    play(task, 42)
    assert task.launched.tolist() == [2, 2]
    task.settle()
    assert task.finished.all()


def test_the_world_reaches_balls_rackets_and_robots():
    """Each of two robots with its own mass has that racket in all its ball slots, and balls of their own."""
    task = ReturnTask(2, ReturnConfig(world="wide"), threads=1, pool=16)
    mass = task.engine.params("body_mass")
    assert not torch.equal(mass[0], mass[1])
    rackets = torch.as_tensor(task.balls.racket.mass).view(SLOTS, 2)
    assert torch.equal(rackets[0], rackets[2])
    assert rackets[0, 0] != rackets[0, 1]
    play(task, 1)
    assert len(torch.as_tensor(task.balls.params.air_density).unique()) > 1


def test_a_surface_is_met_by_every_ball():
    task = make(2, config=ReturnConfig(surface="clay"))
    play(task, 1)
    friction = torch.as_tensor(task.balls.params.friction)[:2]
    assert friction.tolist() == pytest.approx([1 - (24 - 150 * (0.81 - 0.84)) / 100] * 2)


def test_senses_belong_to_the_observation_not_to_the_truth():
    task = ReturnTask(2, ReturnConfig(world="real"), threads=1, pool=16)
    play(task, 3)
    seen, truth = task.observation(), torch.cat(list(task.terms().values()), dim=1)
    assert not torch.equal(seen, truth)
    assert torch.equal(seen, task.observation())
    task.reset(torch.tensor([1]))
    again = task.observation()
    assert torch.equal(again[0], seen[0])
    assert torch.equal(again[1, :29], task.terms()["joint_pos"][1])


def test_a_differing_world_repeats_with_its_seed():
    games = []
    for task in (ReturnTask(2, ReturnConfig(world="real"), seed=4, threads=1, pool=8) for _ in range(2)):
        play(task, 30)
        games.append(task.observation())
    assert torch.equal(*games)


def test_seeding_a_differing_world_again_repeats_it():
    task = ReturnTask(2, ReturnConfig(world="real"), threads=1, pool=8)
    games = []
    for _ in range(2):
        task.seed(3)
        task.reset(torch.arange(2))
        play(task, 20)
        games.append(task.observation())
    assert torch.equal(*games)


def test_a_learned_distribution_drives_the_launches(tmp_path):
    fast = torch.full((1, DIMS), 0.5)
    fast[0, 3] = 0.95
    LaunchMixture.around(fast, width=0.02, explore=0.0).save(tmp_path / "fast.npz")
    task = make(3, config=ReturnConfig(level="rally", launches=str(tmp_path / "fast.npz")))
    play(task, 1)
    assert (task.speed_in[0] > 19.0).all()
    task.draw_from(None)
    task.reset(torch.arange(3))
    task.seed(1)
    play(task, 1)
    assert task.speed_in[0].min() < 19.0


def test_the_record_tells_where_each_ball_was_drawn(task):
    play(task, 150)
    assert len(task.record.point) == len(task.record)
    assert torch.tensor(task.record.point).shape[1] == DIMS
    ids, table = task.launcher.launches(torch.tensor(task.record.point))
    assert len(ids) == len(task.record)
    torch.testing.assert_close(table.vel.norm(dim=-1), torch.tensor(task.record.speed_in))


@pytest.mark.parametrize("value", [math.nan, math.inf, -1e12])
def test_a_target_that_is_no_number_is_named(task, value):
    targets = READY.repeat(4, 1)
    targets[2, 3] = value
    with pytest.raises(ValueError, match="target of left_knee_joint in environment 2"):
        task.step(targets)


def test_targets_of_another_shape_are_named(task):
    with pytest.raises(ValueError, match=r"shape \(4, 28\), expected \(4, 29\)"):
        task.step(torch.zeros(4, 28))


def test_an_action_that_is_no_number_is_named():
    episodes = ReturnEpisodes(2, engine=StillEngine(2, threads=1), pool=8, threads=1)
    action = torch.zeros(2, 29)
    action[1, 0] = math.nan
    with pytest.raises(ValueError, match="action of left_hip_pitch_joint in environment 1"):
        episodes.step(action)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"level": "odd"}, "level"),
        ({"ball_interval": -1.0}, "ball_interval"),
        ({"longest_interval": 1.0}, "longest_interval"),
        ({"control_dt": 0.012}, "no multiple"),
        ({"timestep": math.nan}, "timestep"),
        ({"balls_per_episode": 0}, "balls_per_episode"),
        ({"target_x": (9.0, 4.0)}, "target_x"),
        ({"target_y": (0.0, math.inf)}, "target_y"),
        ({"start": (math.nan, 0.0)}, "start"),
        ({"world": "mars"}, "world 'mars'"),
        ({"surface": "ice"}, "surface 'ice'"),
        ({"launches": "none.npz"}, r"none\.npz"),
    ],
)
def test_impossible_protocols_are_named(change, field):
    with pytest.raises(ValueError, match=field):
        ReturnTask(1, replace(ReturnConfig(), **change), threads=1, pool=8)


@pytest.mark.parametrize("speed", [1e12, math.nan])
def test_a_robot_whose_state_is_lost_falls_and_is_counted(speed):
    """MuJoCo starts such a robot anew at the world's origin, which is under the net."""
    task = make(3, still=False)
    play(task, 1)
    task.engine.qvel[1, 8] = speed
    play(task, 1)
    assert task.fallen.tolist() == [False, True, False]
    assert task.recovered["robot_broken"].tolist() == [0, 1, 0]
    assert torch.isfinite(task.observation()).all()
    assert (task.engine.qpos[1, :2] - task.ready_qpos[:2]).abs().max() < 1e-6
    play(task, 5)
    assert not task.fallen.any()
    assert (task.engine.qpos[:, 0] + 11.9).abs().max() < 0.1


def test_a_racket_placed_over_a_ball_is_put_right_and_counted():
    task = make(2)
    play(task, 1)
    face = task.engine.racket_rot[1, :, 2].float()
    inside = task.engine.racket_pos[1].float() + 0.0135 * face
    task.balls.reset(torch.tensor([1]), inside[None], -5.0 * face[None])
    play(task, 1)
    assert task.recovered["ball_overlap"].tolist() == [0, 1]
    assert torch.isfinite(task.balls.state.pos).all()


def test_a_ball_that_overflows_is_counted_for_its_robot():
    task = make(2)
    play(task, 1)
    task.balls.state.vel[1] = math.inf
    play(task, 1)
    assert task.recovered["ball_not_finite"].tolist() == [0, 1]
    assert torch.isfinite(task.observation()).all()


def test_a_heavier_racket_sends_the_ball_back_faster():
    """The ball's impact knows the mass that the robot holds."""
    speeds = []
    for factor in (0.8, 1.2):
        robot = replace(RobotRanges.nominal(), racket_mass=(factor, factor))
        task = ReturnTask(1, threads=1, pool=8, world=World(robot=robot))
        play(task, 1)
        strike(task, 0)
        task.outcome[0, 0], task.contact[0, 0] = PENDING, False
        play(task, 1)
        speeds.append(task.speed_out[0, 0].item())
    assert speeds[1] > speeds[0] + 0.3


def test_worlds_do_not_change_the_launches_of_a_seed():
    """The nominal ball machine of a seed is the same whatever robots and senses do."""
    world = replace(WORLDS["real"], ball=World().ball)
    tasks = [ReturnTask(2, seed=8, threads=1, pool=8, world=kind) for kind in (World(), world)]
    assert torch.equal(tasks[0]._pool.vel, tasks[1]._pool.vel)
