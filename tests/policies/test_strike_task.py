"""The training task: rewards, resets, and going on exactly."""

from dataclasses import astuple, replace

import pytest
import torch

from humanoid.joints import NUM_JOINTS
from humanoid.model import build_model
from policies.player import Player, PlayerConfig
from policies.steps import led
from policies.strike_task import RewardConfig, StrikeTask, StrikeTaskConfig
from policies.strokes import load_strokes
from sim.engine import CpuEngine

QUIET = StrikeTaskConfig(
    num_envs=4,
    pause=(0.0, 0.0),
    step_share=0.0,
    joint_noise=0.0,
    velocity_noise=0.0,
    push=0.0,
    observation_noise=0.0,
)


def make(player, pool, config=QUIET, seed=0):
    return StrikeTask(player, pool, config, seed, threads=1)


def run(task, steps, size=0.0, seed=0):
    """Rewards (T, N), dones (T, N) and logged values under random actions."""
    generator = torch.Generator().manual_seed(seed)
    rewards, dones, logs = [], [], {}
    for _ in range(steps):
        actions = size * torch.randn(task.num_envs, NUM_JOINTS, generator=generator)
        _, reward, done, extras = task.step(actions)
        rewards.append(reward)
        dones.append(done)
        for key, value in extras["log"].items():
            logs.setdefault(key, []).append(float(value))
    return torch.stack(rewards), torch.stack(dones), logs


def test_without_a_network_the_shipped_strokes_meet_their_centres(player, pool):
    _, dones, logs = run(make(player, pool, replace(QUIET, episode_s=60.0)), 80)
    assert not dones.any()
    assert min(logs["/strike/touch"]) == 1.0
    assert max(logs["/strike/racket_error"]) < 0.06
    assert max(logs["/strike/speed_error"]) < 1.5


def test_a_stroke_begins_with_a_goal_of_the_pool_as_seen_from_the_stance(player, pool):
    task = make(player, pool)
    m = {name: value.clone() for name, value in player.unpack(task.memory).items()}
    m["stance"] = torch.tensor([[1.0, -2.0, 0.5 * torch.pi]]).repeat(4, 1)
    task._begin(torch.tensor([1, 3]), m)
    assert m["begun"][:, 0].tolist() == [0, 1, 0, 1]
    for i in (1, 3):
        goal = pool.at(task.goal[i : i + 1])
        assert m["stroke"][i] == goal.stroke
        assert m["time"][i] == goal.time
        assert m["phase"][i] == m["since"][i] == 0
        (x, y, z), (vx, vy, vz), (nx, ny, nz) = goal.pos[0], goal.vel[0], goal.normal[0]
        assert torch.allclose(m["goal_pos"][i], torch.stack((1 - y, -2 + x, z)), atol=1e-5)
        assert torch.allclose(m["goal_vel"][i], torch.stack((-vy, vx, vz)), atol=1e-5)
        assert torch.allclose(m["goal_normal"][i], torch.stack((-ny, nx, nz)), atol=1e-5)
        # From where the reference was, without a jump.
        start = player.reference({name: value[i : i + 1] for name, value in m.items()}).joint_pos
        assert torch.allclose(start[0], m["ref_pos"][i], atol=1e-5)


def test_strokes_follow_one_another_after_the_pause(player, pool):
    task = make(player, pool, replace(QUIET, pause=(0.2, 0.3), episode_s=60.0))
    task.episode_length_buf[:] = 0
    begun = []
    for _ in range(220):
        task.step(torch.zeros(4, NUM_JOINTS))
        begun.append(player.unpack(task.memory)["begun"][:, 0] > 0.5)
    begun = torch.stack(begun)
    starts = begun[1:] & ~begun[:-1]
    assert (starts.sum(0) >= 2).all()
    for i in range(4):
        times = starts[:, i].nonzero()[:, 0] * player.dt
        stroke_s = float(player.strokes.end.min()) * player.dt - player.config.early
        assert ((times.diff() > stroke_s + 0.15) & (times.diff() < stroke_s + 0.4)).all()


@pytest.fixture
def struck(player, pool):
    """A task at the moment in which rackets have met their balls."""
    task = make(player, pool, replace(QUIET, episode_s=60.0))
    task.episode_length_buf[:] = 0
    for _ in range(80):
        task.step(torch.zeros(4, NUM_JOINTS))
        if task._hit is not None:
            return task
    pytest.fail("no strike")


def test_the_ball_pushes_the_racket_back(player, pool, struck):
    ids = struck._hit[0]
    same = make(player, pool, replace(QUIET, episode_s=60.0))
    same.load_state_dict({**struck.state_dict(), "hit": []})
    for task in (struck, same):
        task.step(torch.zeros(4, NUM_JOINTS))
    assert len(ids) > 0
    slower = (struck.racket_vel - same.racket_vel)[ids]
    normal = pool.at(struck.goal[ids]).normal
    assert ((slower * normal).sum(1) < -0.5).all(), "along the face's normal"
    others = [i for i in range(4) if i not in ids.tolist()]
    assert torch.equal(struck.racket_vel[others], same.racket_vel[others])
    assert struck._hit is None or not set(struck._hit[0].tolist()) & set(ids.tolist()), "once"


def test_a_task_stopped_at_the_strike_goes_on_exactly(player, pool, struck):
    other = make(player, pool, replace(QUIET, episode_s=60.0), seed=7)
    other.load_state_dict(struck.state_dict())
    a, b = run(struck, 20, 0.3), run(other, 20, 0.3)
    assert torch.equal(a[0], b[0])


@pytest.mark.parametrize("size", [0.0, 1.0, 30.0])
def test_rewards_are_bounded_by_their_weights(player, pool, size):
    rewards, _, _ = run(make(player, pool), 70, size)
    weights = RewardConfig()
    assert rewards.isfinite().all()
    assert rewards.max() <= sum(weight for weight in astuple(weights) if weight > 0)
    # rate: actions of either sign; saturation: 29 motors at most twice beyond; limits: a few rad.
    jerk = weights.rate * (2 * 5 * size) ** 2
    assert rewards.min() >= weights.fall + jerk + 58 * weights.saturation + 3 * weights.limits


def test_a_robot_that_falls_starts_anew(player, pool):
    task = make(player, pool)
    task.episode_length_buf[:] = 0
    _, dones, _ = run(task, 90, 6.0)
    assert dones.any()
    assert (task.episode_length_buf < 90).any()
    assert (task.engine.qpos[:, 2] > QUIET.fall_height).all()


def test_a_fall_costs_and_is_no_time_out(player, pool):
    task = make(player, pool)
    task.episode_length_buf[:] = 0
    task.engine.qpos[1, 2] = 0.3
    _, reward, done, extras = task.step(torch.zeros(4, NUM_JOINTS))
    assert done.tolist() == [False, True, False, False]
    assert not extras["time_outs"].any()
    assert reward[1] < 0.9 * RewardConfig().fall
    assert task.engine.qpos[1, 2] > 0.6
    assert task.episode_length_buf[1] == 0


def test_an_episodes_end_is_a_time_out(player, pool):
    task = make(player, pool)
    task.episode_length_buf[:] = torch.tensor([0, 0, task.max_episode_length - 1, 0])
    _, _, done, extras = task.step(torch.zeros(4, NUM_JOINTS))
    assert done.tolist() == extras["time_outs"].tolist() == [False, False, True, False]


def test_observations_have_the_players_size_and_order_of_one(player, pool):
    task = make(player, pool, StrikeTaskConfig(num_envs=4))
    run(task, 40, 0.3)
    seen = task.get_observations()["policy"]
    assert seen.shape == (4, player.observation_size)
    assert seen.isfinite().all()
    assert seen.abs().max() < 20


def test_a_task_goes_on_exactly_from_its_state(player, pool):
    config = StrikeTaskConfig(num_envs=4, push_interval=0.1)
    first = make(player, pool, config)
    run(first, 30, 0.5)
    state = first.state_dict()
    second = make(player, pool, config, seed=99)
    second.load_state_dict(state)
    assert torch.equal(first.get_observations()["policy"], second.get_observations()["policy"])
    a, b = run(first, 60, 0.5, seed=1), run(second, 60, 0.5, seed=1)
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    assert torch.equal(first.get_observations()["policy"], second.get_observations()["policy"])


def test_a_task_is_the_same_on_another_device(player, pool, elsewhere):
    """See tests/conftest.py: nothing may mix with the CPU, through strikes, falls, pushes and a restart."""
    config = replace(StrikeTaskConfig(num_envs=4), push_interval=0.1, push=0.02, pause=(0.0, 0.1))
    runs = []
    for engine in (CpuEngine(4, threads=1), elsewhere(CpuEngine(4, threads=1))):
        task = StrikeTask(player, pool, config, 0, engine=engine)
        device, touched, rows = task.device, 0.0, []
        task.episode_length_buf.zero_()
        for step in range(70):
            if step == 60:
                task.engine.qpos[0, 2] = 0.3
            _, reward, done, extras = task.step(torch.zeros(4, NUM_JOINTS, device=device))
            touched += float(extras["log"].get("/strike/touch", 0.0))
            rows.append(torch.cat((reward, done, task._observation.flatten())).cpu())
            if step == 40:
                state = on_cpu(task.state_dict())
                task = StrikeTask(player, pool, config, 9, engine=task.engine)
                task.load_state_dict(state)
        assert touched > 0
        assert task._observation.device == device
        runs.append(torch.stack(rows))
    assert torch.equal(*runs)
    assert runs[0][:, 4:8].any(), "a robot fell"


def on_cpu(value):
    if isinstance(value, dict):
        return {key: on_cpu(part) for key, part in value.items()}
    return [on_cpu(part) for part in value] if isinstance(value, list) else value.cpu()


@pytest.mark.parametrize(
    "other", [CpuEngine(3, threads=1), CpuEngine(4, build_model(timestep=0.002), threads=1)]
)
def test_an_engine_that_does_not_fit_is_refused(player, pool, other):
    with pytest.raises(ValueError, match=r"engine with (num_envs = 3|timestep = 0.002): the task's is"):
        StrikeTask(player, pool, QUIET, engine=other)


def test_the_same_seed_gives_the_same_task(player, pool):
    config = StrikeTaskConfig(num_envs=4)
    rewards = [run(make(player, pool, config, seed), 20, 0.5)[0] for seed in (3, 3, 4)]
    assert torch.equal(rewards[0], rewards[1])
    assert not torch.equal(rewards[0], rewards[2])


def test_steps_lead_where_the_stance_then_is(pool):
    player = Player(load_strokes(), PlayerConfig(steps=True))
    task = make(player, pool)
    m = {name: value.clone() for name, value in player.unpack(task.memory).items()}
    before = m["stance"].clone()
    task._step_out(torch.tensor([0, 2]), m)
    assert m["stepping"][:, 0].tolist() == [1, 0, 1, 0]
    assert torch.equal(m["stance"][[1, 3]], before[[1, 3]])
    torch.testing.assert_close(m["stance"], led(before, m["way"] * m["stepping"]))
    # The reference begins where the robot stood.
    ref = player.reference(m)
    from_before = led(m["stance"], torch.cat((ref.root_pos[:, :2], torch.zeros(4, 1)), dim=1))
    assert torch.linalg.vector_norm(from_before[:, :2] - before[:, :2], dim=1).max() < 0.005


def test_a_task_with_steps_trains_through_them(pool):
    player = Player(load_strokes(), PlayerConfig(steps=True))
    task = StrikeTask(
        player,
        pool,
        StrikeTaskConfig(num_envs=8, step_share=0.9, pause=(0.0, 0.1), push=0.0),
        seed=0,
        threads=1,
    )
    stepped = torch.zeros(8, dtype=torch.bool)
    for _ in range(110):
        _, _, dones, _ = task.step(torch.zeros(8, 29))
        assert not dones.any() or task.episode_length_buf[dones].max() == 0
        stepped |= player.unpack(task.memory)["stepping"][:, 0] > 0.5
    assert stepped.sum() >= 6
    assert (task.engine.qpos[:, 2] > 0.6).all()
