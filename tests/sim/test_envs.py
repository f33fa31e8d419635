"""The Gymnasium contract of both tasks."""

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import sim.registry
from sim.envs import ReturnVectorEnv, TrackEnv, TrackVectorEnv, make_config
from sim.gl import RenderUnavailable
from sim.return_episodes import EpisodeConfig
from sim.return_task import ReturnConfig
from sim.tracking_task import TrackingConfig

QUIET = {"random_start": False, "joint_noise": 0.0, "velocity_noise": 0.0, "torque_feedforward": False}
SHORT = {"balls_per_episode": 1, "ball_interval": 0.1}


@pytest.mark.parametrize("name", sim.registry.IDS)
def test_single_environments_pass_the_checker_without_warnings(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(name).unwrapped
        check_env(env, skip_render_check=True, skip_close_check=True)
        env.close()


def test_rendering_gives_pictures():
    env = gymnasium.make("HumanoidRally/Return-v0", render_mode="rgb_array")
    env.reset(seed=0)
    try:
        picture = env.render()
    except RenderUnavailable as error:
        pytest.skip(str(error))
    assert picture.shape == (360, 640, 3)
    assert picture.std() > 10
    env.close()
    env.close()


def test_no_such_render_mode():
    with pytest.raises(ValueError, match="render_mode 'human'"):
        TrackEnv({**QUIET}, render_mode="human")


@pytest.mark.parametrize("name", ["HumanoidRally/Track-v0", "HumanoidRally/Return-v0"])
def test_a_vector_environment_of_one_is_the_single_one(name):
    single = gymnasium.make(name)
    vector = gymnasium.make_vec(name, num_envs=1, threads=1, **({"pool": 64} if "Return" in name else {}))
    a, _ = single.reset(seed=7)
    b, _ = vector.reset(seed=7)
    np.testing.assert_array_equal(a, b[0])
    rng = np.random.default_rng(0)
    for _ in range(3):
        action = rng.uniform(-0.1, 0.1, 29).astype(np.float32)
        a, reward, terminated, truncated, _ = single.step(action)
        if terminated or truncated:
            break
        b, rewards, _, _, _ = vector.step(action[None])
        np.testing.assert_array_equal(a, b[0])
        assert reward == rewards[0]


def test_robots_of_a_vector_environment_do_not_disturb_each_other():
    """Started alike, each row is what a robot alone does under the same actions."""
    many = TrackVectorEnv(3, {**QUIET, "motions": [str(first_motion())]}, threads=1)
    alone = TrackEnv({**QUIET, "motions": [str(first_motion())]})
    many.reset(seed=0)
    alone.reset(seed=0)
    actions = np.random.default_rng(1).uniform(-0.3, 0.3, (4, 3, 29)).astype(np.float32)
    for step in range(4):
        rows, rewards, *_ = many.step(actions[step])
        row, reward, *_ = alone.step(actions[step, 1])
    np.testing.assert_allclose(row, rows[1], atol=1e-5)
    assert reward == pytest.approx(rewards[1], abs=1e-5)


def first_motion():
    from sim.reference import MOTION_FOLDER

    return sorted(MOTION_FOLDER.glob("*.npz"))[0]


def test_spaces_hold_what_comes():
    env = TrackVectorEnv(2, QUIET, threads=1)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert env.single_observation_space.shape == (161,)
    assert env.single_action_space.dtype == np.float32


def test_an_ended_episode_goes_on_with_the_next_in_the_same_step():
    env = TrackVectorEnv(3, QUIET, threads=1)
    env.reset(seed=0)
    env.task.engine.qpos[1, 0] += 0.7
    observation, reward, terminated, truncated, info = env.step(np.zeros((3, 29), np.float32))
    assert terminated.tolist() == [False, True, False]
    assert not truncated.any()
    assert reward[1] < -3.0
    assert info["_final_obs"].tolist() == [False, True, False]
    assert info["final_obs"][0] is None
    assert not np.allclose(info["final_obs"][1], observation[1])
    assert info["final_info"]["root_error"][1] > 0.5
    assert info["final_info"]["_root_error"].tolist() == [False, True, False]
    assert env.task.age.tolist() == [1, 0, 1]


def test_the_fast_path_gives_the_same_tensors():
    a, b = (TrackVectorEnv(2, QUIET, threads=1) for _ in range(2))
    a.reset(seed=3)
    b.reset(seed=3)
    action = np.full((2, 29), 0.1, np.float32)
    observation, reward, *_ = a.step(action)
    step = b.step_torch(torch.from_numpy(action))
    np.testing.assert_array_equal(observation, step.observation.numpy())
    np.testing.assert_array_equal(reward, step.reward.numpy())
    assert torch.equal(step.observation, step.final_observation)


def test_returned_arrays_are_new_each_step():
    env = TrackVectorEnv(2, QUIET, threads=1)
    first, _ = env.reset(seed=0)
    kept = first.copy()
    env.step(np.full((2, 29), 0.5, np.float32))
    np.testing.assert_array_equal(first, kept)


def test_seeds_repeat_episodes():
    env = ReturnVectorEnv(2, protocol=SHORT, threads=1, pool=16)
    runs = []
    for seed in (5, 5, 6):
        env.reset(seed=seed)
        runs.append(env.step(np.zeros((2, 29), np.float32))[0])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_a_list_of_seeds_is_one_seed():
    env = ReturnVectorEnv(2, protocol=SHORT, threads=1, pool=16)
    runs = []
    for seed in ([1, 2], [1, 2], [1, 3]):
        env.reset(seed=seed)
        runs.append(env.step(np.zeros((2, 29), np.float32))[0])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros((2, 28), np.float32), r"shape \(2, 28\), expected \(2, 29\)"),
        (np.where(np.arange(58).reshape(2, 29) == 40, np.nan, 0.0), "environment 1 is not finite"),
    ],
)
def test_bad_actions_are_refused(action, message):
    env = TrackVectorEnv(2, QUIET, threads=1)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)


def test_action_zero_is_the_ready_pose_and_one_the_limits():
    from humanoid.joints import LOWER, READY_JOINT_POS, UPPER

    env = ReturnVectorEnv(1, protocol=SHORT, threads=1, pool=16)
    for value, pose in ((0.0, READY_JOINT_POS), (1.0, UPPER), (-1.0, LOWER)):
        targets = env.task.targets(torch.full((1, 29), value))
        np.testing.assert_allclose(targets[0].numpy(), pose, atol=1e-6)


def test_rewards_of_a_return_episode():
    """Each event is worth its weight."""
    env = ReturnVectorEnv(
        1, {"rewards": {"hit": 1, "returned": 10, "miss": -2, "fall": -5}}, threads=1, pool=16
    )
    env.reset(seed=0)
    task = env.task.task
    task.struck.fill_(True)
    assert env.task.rewards(env.task).tolist() == [1.0]
    task.struck.fill_(False)
    task.resolved.fill_(1)
    assert env.task.rewards(env.task).tolist() == [10.0]
    task.resolved.fill_(4)
    assert env.task.rewards(env.task).tolist() == [-2.0]
    task.fallen.fill_(True)
    assert env.task.rewards(env.task).tolist() == [-7.0]


def test_a_fall_ends_a_return_episode():
    env = ReturnVectorEnv(2, protocol=SHORT, threads=1, pool=16)
    env.reset(seed=0)
    env.task.task.engine.qpos[0, 2] = 0.2
    _, reward, terminated, _, info = env.step(np.zeros((2, 29), np.float32))
    assert terminated.tolist() == [True, False]
    assert reward[0] < -4.0
    assert info["_final_obs"].tolist() == [True, False]
    assert env.task.task.clock.tolist() == [0, 1]


def test_plain_values_make_a_config():
    config = make_config(ReturnConfig, {"level": "rally", "start": [-11.0, 0.5]})
    assert config == ReturnConfig(level="rally", start=(-11.0, 0.5))
    assert make_config(EpisodeConfig, None) == EpisodeConfig()


def test_an_unknown_key_is_named():
    with pytest.raises(ValueError, match="TrackingConfig has no key 'motion'; known are"):
        make_config(TrackingConfig, {"motion": "x"})


def test_registration_may_be_repeated():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sim.registry.register_envs()
