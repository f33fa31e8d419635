"""The player: memory, reference, and targets."""

import pytest
import torch

from humanoid.joints import NUM_JOINTS, READY_JOINT_POS
from policies.player import MEMORY, MEMORY_SIZE, Player, split_terms
from sim.ball import BallState
from sim.engine import CpuEngine
from sim.predict import predict
from sim.return_task import OBSERVATION_SIZE, TERMS, ready_state

READY = torch.as_tensor(READY_JOINT_POS.copy(), dtype=torch.float32)


def standing(n: int, heading: float = 0.0, x: float = -11.9, y: float = 0.0) -> dict[str, torch.Tensor]:
    """Terms of robots in the ready pose that see no ball."""
    half = torch.tensor(0.5 * heading)
    quat = torch.stack((half.cos(), torch.tensor(0.0), torch.tensor(0.0), half.sin()))
    terms = {name: torch.zeros(n, size) for name, size in TERMS.items()}
    terms["joint_pos"] = READY.repeat(n, 1)
    terms["root_quat"] = quat.repeat(n, 1)
    terms["root_pos"] = torch.tensor([x, y, 0.73]).repeat(n, 1)
    terms["target"] = torch.tensor([5.0, 0.0]).repeat(n, 1)
    return terms


def served(player: Player, stroke: int, time: float) -> dict[str, torch.Tensor]:
    """The same with a ball that bounces and passes the stroke's contact point in `time` seconds."""
    terms = standing(1)
    meet = player.strokes.contact_pos[stroke] + torch.tensor([-11.9, 0.0, 0.0])
    up = torch.linspace(-2.0, 4.0, 121)
    pos = torch.tensor([0.0, 0.0, 1.0]).repeat(len(up), 1)
    vel = torch.stack((torch.full_like(up, -9.0), torch.zeros_like(up), up), dim=1)
    path = predict(BallState(pos, vel, torch.zeros_like(pos)), player.planner.params, 1.3, player.dt)
    there = path.pos[:, round(time / player.dt)]
    bounced = (path.bounce_time < time - 0.1) & (path.second_bounce_time > time + 0.1)
    best = torch.where(bounced, (there[:, 2] - meet[2]).abs(), 9.0).argmin()
    # A flight is the same anywhere on the court.
    terms["ball_pos"] = (pos[best] + torch.cat((meet[:2] - there[best, :2], torch.zeros(1))))[None]
    terms["ball_vel"] = vel[best][None]
    terms["ball_valid"] = torch.ones(1, 1)
    return terms


def random_observation(n: int, seed: int) -> torch.Tensor:
    """Robots and balls anywhere."""
    generator = torch.Generator().manual_seed(seed)
    rows = 3.0 * torch.randn(n, OBSERVATION_SIZE, generator=generator)
    terms = split_terms(rows)
    terms["root_quat"] = torch.nn.functional.normalize(terms["root_quat"], dim=1)
    terms["ball_valid"] = (terms["ball_valid"] > 0).float()
    terms["root_pos"] = terms["root_pos"] + torch.tensor([-11.9, 0.0, 0.7])
    return torch.cat(list(terms.values()), dim=1)


def test_memory_packs_and_unpacks():
    memory = torch.randn(3, MEMORY_SIZE)
    parts = Player.unpack(memory)
    assert {name: value.shape[1] for name, value in parts.items()} == MEMORY
    assert torch.equal(Player.pack(parts), memory)


@pytest.mark.parametrize("heading", [0.0, 0.7, -2.5])
def test_a_memory_of_zeros_starts_at_rest_where_the_robot_stands(player, heading):
    terms = standing(2, heading, x=-10.0, y=1.5)
    m = player.unpack(player.plan(terms, torch.zeros(2, MEMORY_SIZE)))
    stance = torch.tensor([-10.0, 1.5, heading])
    assert torch.allclose(m["stance"], stance.expand(2, 3), atol=1e-5)
    assert (m["started"] == 1).all()
    assert (m["begun"] == 0).all()
    rest = player.strokes.joint_pos[0, player.strokes.end[0]]
    assert torch.allclose(m["ref_pos"], rest.expand(2, NUM_JOINTS), atol=1e-5)


def test_the_windows_derivatives_are_their_finite_differences(player):
    tau = torch.linspace(-0.7, 0.7, 282, dtype=torch.float64)[:, None]
    step = 1e-5
    for before, here, after in zip(
        player._windows(tau - step), player._windows(tau), player._windows(tau + step), strict=True
    ):
        for k in (0, 1):
            slope = (after[k] - before[k]) / (2 * step)
            assert torch.allclose(here[k + 1], slope, atol=1e-6)


def test_at_the_strike_the_bend_is_whole_and_the_whip_is_all_speed(player):
    bend, whip = player._windows(torch.zeros(1, 1))
    assert [float(value) for value in bend[:2]] == [1.0, 0.0]
    assert [float(value) for value in whip[:2]] == [0.0, 1.0]


@pytest.mark.parametrize("stroke", [0, 1])
def test_a_ball_within_reach_begins_the_stroke_of_its_side(player, stroke):
    time = float(player.strokes.strike[stroke]) * player.dt
    m = player.unpack(player.plan(served(player, stroke, time - 0.1), torch.zeros(1, MEMORY_SIZE)))
    assert m["begun"].item() == 1
    assert int(m["stroke"].item()) == stroke
    assert m["phase"].item() == pytest.approx(time - m["time"].item(), abs=1e-5)


@pytest.mark.parametrize("stroke", [0, 1])
def test_a_stroke_that_cuts_into_the_last_ones_end_starts_without_a_jump(player, stroke):
    m = player.unpack(player.plan(standing(1), torch.zeros(1, MEMORY_SIZE)))
    last = 1 - stroke
    strike_s = float(player.strokes.strike[last]) * player.dt
    m["stroke"][:] = last
    m["phase"][:] = strike_s + player.config.recover
    m["ref_pos"] = player.reference(m).joint_pos
    memory = player.plan(
        served(player, stroke, float(player.strokes.strike[stroke]) * player.dt - 0.1), player.pack(m)
    )
    after = player.unpack(memory)
    assert after["begun"].item() == 1
    assert (m["ref_pos"] - READY).abs().max() > 0.2, "the follow-through is far from the ready pose"
    assert (after["ref_pos"] - m["ref_pos"]).abs().max() < 0.01
    # ... and goes on without one.
    terms, before = standing(1), after["ref_pos"]
    for _ in range(30):
        memory = player.plan(terms, memory, replan=False)
        now = player.unpack(memory)["ref_pos"]
        assert (now - before).abs().max() < 0.02 * 25
        before = now


def test_without_a_ball_no_stroke_begins(player):
    terms = served(player, 0, 1.0)
    terms["ball_valid"] = torch.zeros(1, 1)
    assert player.unpack(player.plan(terms, torch.zeros(1, MEMORY_SIZE)))["begun"].item() == 0


def test_targets_are_finite_whatever_comes(player):
    memory = torch.zeros(64, MEMORY_SIZE)
    for seed in range(5):
        terms = split_terms(random_observation(64, seed))
        memory = player.plan(terms, memory)
        seen = player.observe(terms, memory)
        targets, memory = player.act(terms, memory, torch.randn(64, NUM_JOINTS))
        assert seen.shape == (64, player.observation_size)
        for value in (seen, targets, memory):
            assert value.isfinite().all()


def test_a_robots_targets_do_not_depend_on_its_neighbours(player):
    rows = random_observation(6, 3)
    action = torch.randn(6, NUM_JOINTS)

    def play(ids):
        memory = torch.zeros(len(ids), MEMORY_SIZE)
        for _ in range(3):
            terms = split_terms(rows[ids])
            memory = player.plan(terms, memory)
            targets, memory = player.act(terms, memory, action[ids])
        return targets

    together = play(torch.arange(6))
    for i in range(6):
        assert torch.allclose(play(torch.tensor([i]))[0], together[i], atol=1e-4)


def test_targets_turn_and_move_with_the_robot(player):
    """The court's place and the heading do not matter to a robot that stands."""
    here, there = standing(1), standing(1, heading=1.1, x=3.0, y=-2.0)
    results = [
        player.act(terms, player.plan(terms, torch.zeros(1, MEMORY_SIZE)), torch.zeros(1, NUM_JOINTS))[0]
        for terms in (here, there)
    ]
    assert torch.allclose(*results, atol=1e-4)


def test_a_designed_stroke_meets_its_own_goal(player):
    """In simulation, without a network: feed-forward and balance feedback carry the racket to the goal."""
    strokes = player.strokes
    n = strokes.num_strokes
    engine = CpuEngine(n, threads=1)
    qpos, qvel = ready_state((0.0, 0.0))
    engine.reset(torch.arange(n), qpos.expand(n, -1), qvel.expand(n, -1))
    terms = standing(n)

    def look():
        terms.update(
            joint_pos=engine.qpos[:, 7:].float(),
            joint_vel=engine.qvel[:, 6:].float(),
            base_ang_vel=engine.qvel[:, 3:6].float(),
            root_quat=engine.qpos[:, 3:7].float(),
            root_pos=engine.qpos[:, :3].float(),
            root_lin_vel=engine.qvel[:, :3].float(),
        )

    look()
    m = player.unpack(player.plan(terms, torch.zeros(n, MEMORY_SIZE)))
    stance = torch.cat((m["stance"][:, :2], torch.zeros(n, 1)), dim=1)
    m.update(
        stroke=torch.arange(n).float()[:, None],
        begun=torch.ones(n, 1),
        time=(strokes.strike.float() * player.dt)[:, None],
        phase=torch.zeros(n, 1),
        goal_pos=strokes.contact_pos + stance,
        goal_vel=strokes.contact_vel,
        goal_normal=strokes.contact_normal,
        since=torch.zeros(n, 1),
        offset=torch.zeros(n, NUM_JOINTS),
    )
    memory = player.pack(m)
    off = torch.full((n,), 9.0)
    for _ in range(int(strokes.strike.max()) + 1):
        m = player.unpack(memory)
        now = m["time"][:, 0].abs() < 0.5 * player.dt
        off = torch.where(now, (engine.racket_pos.float() - m["goal_pos"]).norm(dim=1), off)
        targets, memory = player.act(terms, memory, torch.zeros(n, NUM_JOINTS))
        engine.ctrl.copy_(targets)
        engine.advance(4)
        look()
        memory = player.plan(terms, memory, replan=False)
    assert (off < 0.03).all(), off
    assert (engine.qpos[:, 2] > 0.6).all()
