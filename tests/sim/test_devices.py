"""Tasks live on their engine's device, whichever it is: nothing they do mixes tensors of two devices.

The second device is that of tests/conftest.py, which refuses what a GPU refuses. Seeds mean the same there, so that
every number is that of the CPU.
"""

import math

import numpy as np
import pytest
import torch

from humanoid.joints import NUM_JOINTS
from sim.engine import CpuEngine
from sim.envs import TaskVectorEnv
from sim.launch_distribution import DIMS, LaunchMixture
from sim.return_episodes import EpisodeConfig, ReturnEpisodes
from sim.return_task import FALL, MISS, NET, OUT, RETURNED, ReturnConfig, ReturnTask
from sim.return_terms import REWARDS
from sim.tracking_task import TrackingConfig, TrackingTask
from sim.tracking_terms import REWARDS as TRACKING_REWARDS

N = 6
VARIED = ReturnConfig(world="wide", ball_interval=0.1, longest_interval=0.2, balls_per_episode=40)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Few candidates a launch, and balls that soon leave the court."""
    monkeypatch.setattr("sim.launcher.CANDIDATES", 256)
    monkeypatch.setattr("sim.return_task.LINGER", 0.1)


def played(engine):
    """A task in which balls are hit, stopped by the net, land in and out, and robots fall and break."""
    launches = LaunchMixture.around(torch.full((1, DIMS), 0.5), width=10.0)
    task = ReturnTask(N, VARIED, seed=3, engine=engine, pool=8, recycle=2, launches=launches)

    def put(values):
        return torch.tensor(values, device=task.device)

    ready = task.engine.ctrl.clone()
    task.step(ready)
    racket, normal = task.engine.racket_pos[0].tolist(), task.engine.racket_rot[0, :, 2].tolist()
    before = [r + 0.12 * x for r, x in zip(racket, normal, strict=True)]
    # The first robot's ball comes at its racket; the others': net, in, second bounce, out, in the air.
    pos = [before, [-0.1, 0, 0.5], [6.0, 0, 0.1], [-6.0, 0, 0.1], [14.0, 0, 0.1], [-9.0, 0, 1.5]]
    vel = [
        [-10.0 * x for x in normal],
        [5.0, 0, 0],
        [3.0, 0, -3.0],
        [-3.0, 0, -3.0],
        [3.0, 0, -3.0],
        [0.0] * 3,
    ]
    task.balls.reset(put(list(range(N))), put(pos), put(vel))
    task.contact[0, put([1, 2, 4])] = True
    task.bounced[0, 3] = True
    task.step(ready)
    task.engine.qvel[4, 20] = math.nan
    lying = task.ready_qpos.clone()
    lying[2] = 0.3
    task.place(put([5]), lying[None], task.ready_qvel[None])
    for _ in range(18):
        task.step(ready)
    task.settle()
    task.reset(put([1, 2]))
    task.seed(5)
    task.step(ready)
    return task


def test_a_ball_return_task_is_the_same_elsewhere(elsewhere):
    here, there = played(CpuEngine(N, threads=1)), played(elsewhere(CpuEngine(N, threads=1)))
    assert {RETURNED, NET, OUT, MISS, FALL} == set(here.record.outcome)
    assert here.broken.tolist() == [0, 0, 0, 0, 1, 0]
    for name, values in vars(here.record).items():
        np.testing.assert_array_equal(np.array(getattr(there.record, name)), np.array(values), name)
    for name, value in here.observed().items():
        assert there.observed()[name].device == there.device
        assert torch.equal(there.observed()[name].cpu(), value), name
    assert all(torch.equal(there.recovered[name].cpu(), value) for name, value in here.recovered.items())


def episodes(engine):
    every = EpisodeConfig(rewards=dict.fromkeys(REWARDS.names, 1.0))
    return ReturnEpisodes(N, VARIED, every, seed=3, engine=engine, pool=8)


def tracking(engine):
    every = TrackingConfig(
        rewards=dict.fromkeys(TRACKING_REWARDS.names, 1.0), episode_s=0.1, torque_feedforward=False
    )
    return TrackingTask(N, every, seed=3, engine=engine)


@pytest.mark.parametrize("make", [episodes, tracking])
def test_environments_are_the_same_elsewhere(elsewhere, make):
    """With every reward; robots are flung about, so that episodes end and begin."""
    steps = []
    for engine in (CpuEngine(N, threads=1), elsewhere(CpuEngine(N, threads=1))):
        env = TaskVectorEnv(make(engine))
        env.reset(seed=1)
        engine.qvel[:2, :3] = 20.0
        draw = torch.Generator().manual_seed(0)
        rows = [env.step(torch.randn(N, NUM_JOINTS, generator=draw).numpy()) for _ in range(8)]
        steps.append([np.stack([row[k] for row in rows]) for k in range(4)])
    for ours, theirs in zip(*steps, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (steps[0][2] | steps[0][3]).any(), "an episode ended"
