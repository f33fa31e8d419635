"""Steps: the shipped families, what the planner takes them for, and robots that take them."""

import numpy as np
import pytest
import torch

from humanoid.model import build_model
from humanoid.motion import MotionError
from policies.player import MEMORY_SIZE, Player, PlayerConfig
from policies.steps import STEP_FOLDER, led, load_steps, save_steps
from policies.strokes import NUM_COLUMNS, load_strokes
from sim.engine import CpuEngine
from sim.return_task import TERMS, ready_state, robot_terms

STANCE = (-11.9, 0.0, 0.0)


@pytest.fixture(scope="module")
def steps():
    return load_steps()


@pytest.fixture(scope="module")
def player():
    return Player(load_strokes(), PlayerConfig(steps=True))


def ways(steps, n: int) -> torch.Tensor:
    return (2 * torch.rand(n, 3, generator=torch.Generator().manual_seed(0)) - 1) * steps.longest


# The families


def test_a_step_begins_where_the_stance_it_ends_in_has_the_old_one(steps):
    way = ways(steps, 20)
    start = steps.at(way, torch.zeros(20))
    x, y, turn = way.unbind(1)
    expected = torch.stack((-(turn.cos() * x + turn.sin() * y), turn.sin() * x - turn.cos() * y, -turn), 1)
    torch.testing.assert_close(start[:, [0, 1, 3]], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(start[:, 4:], torch.zeros(20, NUM_COLUMNS - 4), atol=1e-4, rtol=0)


def test_a_step_ends_in_the_ready_pose(steps):
    end = steps.at(ways(steps, 20), torch.full((20,), steps.duration + 0.1))
    assert end.abs().max() < 1e-4


def test_the_pelvis_moves_with_its_velocity(steps):
    way = ways(steps, 20)
    time = torch.linspace(0.1, steps.duration - 0.1, 20)
    ahead, behind = (steps.at(way, time + sign * steps.dt)[:, :4] for sign in (1, -1))
    moved = (ahead - behind) / (2 * steps.dt)
    told = steps.at(way, time)[:, [4, 5, 6, 7]]
    assert (moved - told).abs().max() < 0.08


def test_the_leading_foot_is_in_the_air_first_and_never_both(steps):
    """To the left the left foot leads; the pelvis's path aside is the other foot's weight."""
    time = torch.arange(0.0, steps.duration, 0.01)
    for side, way in ((0, [0.0, 0.1, 0.0]), (1, [0.0, -0.1, 0.0])):
        air = steps.in_swing(torch.tensor(way).expand(len(time), 3), time)
        assert air.sum(1).max() == 1
        assert air[time < steps.swing[0, 0], :].sum() == 0
        assert int(air[:, side].argmax()) < int(air[:, 1 - side].argmax())
        assert air[:, side].sum() * 0.01 == pytest.approx(float(steps.swing[0].diff()), abs=0.02)


def test_another_rate_is_refused():
    with pytest.raises(MotionError, match="50 Hz, the player 100 Hz"):
        load_steps(dt=0.01)


@pytest.mark.parametrize("damage", ["missing", "truncated", "shape", "nan"])
def test_an_unusable_file_is_refused_by_name(tmp_path, steps, damage):
    for side in ("left", "right"):
        content = (STEP_FOLDER / f"{side}.npz").read_bytes()
        (tmp_path / f"{side}.npz").write_bytes(content)
    bad = tmp_path / "right.npz"
    weights = steps.weights[1].numpy().copy()
    if damage == "missing":
        bad.unlink()
    elif damage == "truncated":
        bad.write_bytes(bad.read_bytes()[:500])
    elif damage == "shape":
        save_steps(bad, weights[:, :-1], np.ones(3), steps.swing.numpy(), 50.0, {})
    else:
        weights[3, 0, 0] = np.nan
        save_steps(bad, weights, np.ones(3), steps.swing.numpy(), 50.0, {})
    with pytest.raises(MotionError, match=r"right\.npz"):
        load_steps(tmp_path)


# The planner


def wished(player: Player, y: float, distance: float = 12.2, heading: float = 0.0) -> torch.Tensor:
    """The step for a ball that flies past at y, m, from so far ahead of the robot, m."""
    n = 1
    ball = torch.tensor([[STANCE[0] + distance, y, 1.2]])
    vel = torch.tensor([[-10.0, 0.0, 4.5]])
    idle = torch.zeros(n, dtype=torch.bool)
    stance = torch.tensor([[*STANCE[:2], heading]])
    target, nothing = torch.tensor([[5.0, 0.0]]), torch.zeros(n)
    return player.planner.plan(ball, vel, target, stance, nothing.long(), nothing, idle).way[0]


@pytest.mark.parametrize(("y", "side"), [(1.4, 1), (-1.5, -1), (0.0, 1)])
def test_a_ball_out_of_comfort_is_stepped_for(player, y, side):
    way = wished(player, y)
    if y == 0.0:
        # Too near the body: away from it.
        assert abs(way[1]) > 0.02
    else:
        assert side * way[1] > 0.1


@pytest.mark.parametrize("y", [0.65, -0.75])
def test_a_ball_that_passes_well_needs_no_step(player, y):
    assert wished(player, y).abs().max() == 0


def test_no_step_is_taken_that_would_end_too_late(player):
    assert wished(player, 1.4, distance=9.0).abs().max() == 0


def test_a_robot_turned_away_turns_back(player):
    assert wished(player, 0.65, heading=0.3)[2] == pytest.approx(-0.2, abs=0.01), "as far as one step can"


# Robots


def test_robots_step_where_they_want_to_again_and_again_and_stay_up(player, steps):
    n = 12
    engine = CpuEngine(n, build_model(timestep=0.005), 1)
    qpos, qvel = ready_state(STANCE[:2])
    engine.reset(torch.arange(n), qpos.expand(n, -1).clone(), qvel.expand(n, -1).clone())
    blank = {
        "ball_pos": torch.zeros(n, 3),
        "ball_vel": torch.zeros(n, 3),
        "ball_valid": torch.zeros(n, 1),
        "target": torch.zeros(n, 2),
    }
    memory, action, way = torch.zeros(n, MEMORY_SIZE), torch.zeros(n, 29), ways(steps, n)
    for number in range(2):
        goal = torch.zeros(0)
        for t in range(50):
            terms = {**robot_terms(engine), **blank}
            memory = player.plan(terms, memory)
            if t == 5:
                m = {key: value.clone() for key, value in player.unpack(memory).items()}
                own = way if number == 0 else -way
                m["stance"] = led(m["stance"], own)
                m["way"], m["walked"] = own, torch.zeros(n, 1)
                m["stepping"] = torch.ones(n, 1)
                goal, memory = m["stance"].clone(), player.pack(m)
            targets, memory = player.act(terms, memory, action)
            engine.ctrl[:] = targets.double()
            engine.advance(4)
        missed = player.unpack(memory)["stance"] - goal
        assert (engine.qpos[:, 2] > 0.65).all()
        assert torch.linalg.vector_norm(missed[:, :2], dim=1).max() < 0.12
        assert missed[:, 2].abs().max() < 0.2


def standing() -> dict[str, torch.Tensor]:
    """Terms of a robot in the ready pose that sees no ball."""
    terms = {name: torch.zeros(1, size) for name, size in TERMS.items()}
    qpos, _ = ready_state(STANCE[:2])
    terms["joint_pos"], terms["root_pos"] = qpos[None, 7:].float(), qpos[None, :3].float()
    terms["root_quat"] = qpos[None, 3:7].float()
    return terms


def test_a_foot_in_the_air_does_not_turn_with_the_pelvis(player):
    """Standing feet bring a turned pelvis back; one in the air is turned against it and left alone otherwise."""
    turn = 0.1
    memory = player.plan(standing(), torch.zeros(1, MEMORY_SIZE))
    m = {key: value.clone() for key, value in player.unpack(memory).items()}
    m["way"][:], m["stepping"][:] = torch.tensor([0.0, 0.1, 0.0]), 1.0
    m["walked"][:] = player.steps.swing[0].mean()

    def targets(heading: float) -> torch.Tensor:
        terms = standing()
        half = torch.tensor(0.5 * heading)
        terms["root_quat"] = torch.stack((half.cos(), 0 * half, 0 * half, half.sin()))[None]
        return player.act(terms, player.pack(m), torch.zeros(1, 29))[0][0]

    change = targets(turn) - targets(0.0)
    left, right = change[:6], change[6:12]
    assert left[2] == pytest.approx(-turn, abs=0.01)
    assert left[[0, 1, 3, 4, 5]].abs().max() < 1e-5
    assert right.abs().max() > 0.01


@pytest.mark.parametrize(("y", "goes"), [(0.4, True), (-0.4, True), (0.1, False), (0.0, False)])
def test_a_robot_with_nothing_to_do_goes_home(player, y, goes):
    """The ball goes by far out of reach; a step is taken where it leads nearer to the start by more than it costs."""
    stance = torch.tensor([[STANCE[0], y, 0.0]])
    plan = player.planner.plan(
        torch.tensor([[-3.0, 6.0, 1.0]]), torch.tensor([[-8.0, 4.0, 2.0]]), torch.tensor([[6.0, 0.0]]), stance,
        torch.zeros(1, dtype=torch.long), torch.zeros(1), torch.zeros(1, dtype=torch.bool),
    )  # fmt: skip
    assert bool((plan.way != 0).any()) == goes
    assert abs(float(led(stance, plan.way)[0, 1])) <= float(stance[0, 1].abs()) - 0.2 * goes
