"""Sampling motions in batches: at frames, between them, and how often."""

import numpy as np
import pytest
import torch

from humanoid.joints import JOINT_NAMES, READY_JOINT_POS
from humanoid.motion import RobotMotion, Stroke
from humanoid.motion_library import MotionLibrary
from sim.motion_sampler import MotionSampler, SamplingWeights, slerp
from sim.reference import build_reference

SPIN, TILT = 2.0, 0.6


def turning(frames=61, fps=50.0, name="turning", **more) -> RobotMotion:
    """A pelvis, tilted by TILT about x, that turns at SPIN about the world's z and moves on a circle."""
    t = np.arange(frames) / fps
    half = 0.5 * SPIN * t
    c, s = np.cos(TILT / 2), np.sin(TILT / 2)
    quat = np.stack([np.cos(half) * c, np.cos(half) * s, np.sin(half) * s, np.sin(half) * c], axis=1)
    joint_pos = np.tile(READY_JOINT_POS, (frames, 1))
    joint_pos[:, 3] += 0.3 * np.sin(3.0 * t)
    root_pos = np.stack([np.cos(t), np.sin(t), np.full(frames, 0.75)], axis=1)
    contacts = np.stack([np.arange(frames) % 2 == 0, np.ones(frames, bool)], axis=1)
    return RobotMotion(name, fps, JOINT_NAMES, root_pos, quat, joint_pos, contacts, **more)


def still(frames=101, fps=50.0, name="still", **more) -> RobotMotion:
    pose = turning(1, fps)
    repeat = [np.repeat(a, frames, axis=0) for a in (pose.root_pos, pose.root_quat, pose.joint_pos)]
    return RobotMotion(name, fps, JOINT_NAMES, *repeat, np.ones((frames, 2), bool), **more)


EVEN = SamplingWeights(still=1.0, stroke=1.0)


@pytest.fixture(scope="module")
def sampler():
    return MotionSampler([turning(), turning(241, 200.0, "fast"), still()], EVEN)


def test_frames_are_the_motions_own(sampler):
    motion = turning()
    frames = torch.arange(motion.num_frames)
    state = sampler.at(torch.zeros_like(frames), frames / 50.0)
    expected = np.concatenate([motion.root_pos, motion.root_quat, motion.joint_pos], axis=1)
    np.testing.assert_allclose(state.qpos.numpy(), expected, atol=2e-5)


def test_velocities_at_frames_are_those_of_the_tracking_reference(sampler):
    reference = build_reference([turning()], torque=False)
    frames = torch.arange(1, 60)
    state = sampler.at(torch.zeros_like(frames), frames / 50.0)
    torch.testing.assert_close(state.qvel, reference.qvel[1:60], atol=2e-3, rtol=0)


def test_angular_velocity_is_in_the_pelvis_frame(sampler):
    """A turn about the world's z, seen from a pelvis that is tilted about its x."""
    time = torch.rand(50) * 1.0 + 0.1
    state = sampler.at(torch.ones(50, dtype=torch.int64), time)
    expected = torch.tensor([0.0, SPIN * np.sin(TILT), SPIN * np.cos(TILT)], dtype=torch.float32)
    torch.testing.assert_close(state.qvel[:, 3:6], expected.expand(50, 3), atol=2e-3, rtol=0)


def test_between_frames_it_follows_the_motion(sampler):
    """Interpolation of a circle of 1 m at 50 Hz is off by 1 - cos(10 ms · 1 rad/s) = 5e-5 m at most."""
    time = torch.linspace(0.05, 1.1, 77)
    state = sampler.at(torch.zeros(77, dtype=torch.int64), time)
    torch.testing.assert_close(state.qpos[:, 0], torch.cos(time), atol=6e-5, rtol=0)
    torch.testing.assert_close(state.qvel[:, 0], -torch.sin(time), atol=3e-4, rtol=0)
    joint = torch.as_tensor(READY_JOINT_POS[3], dtype=torch.float32) + 0.3 * torch.sin(3.0 * time)
    torch.testing.assert_close(state.qpos[:, 10], joint, atol=2e-4, rtol=0)
    half = 0.5 * SPIN * time
    torch.testing.assert_close(state.qpos[:, 3], torch.cos(half) * np.cos(TILT / 2), atol=2e-5, rtol=0)


def test_velocities_are_finite_differences_of_positions(sampler):
    time = torch.linspace(0.05, 1.1, 50)
    which = torch.ones(50, dtype=torch.int64)
    before, after = sampler.at(which, time - 0.005), sampler.at(which, time + 0.005)
    finite = (after.qpos - before.qpos) / 0.01
    velocity = sampler.at(which, time).qvel
    torch.testing.assert_close(velocity[:, :3], finite[:, :3], atol=2e-3, rtol=0)
    torch.testing.assert_close(velocity[:, 6:], finite[:, 7:], atol=2e-3, rtol=0)


def test_times_beyond_the_ends_give_the_ends(sampler):
    which = torch.zeros(2, dtype=torch.int64)
    state = sampler.at(which, torch.tensor([-1.0, 99.0]))
    ends = sampler.at(which, torch.tensor([0.0, 1.2]))
    torch.testing.assert_close(state.qpos, ends.qpos)


def test_contacts_are_those_of_the_nearest_frame(sampler):
    time = torch.tensor([0.0, 0.009, 0.011, 0.029, 0.031])
    state = sampler.at(torch.zeros(5, dtype=torch.int64), time)
    assert state.contacts[:, 0].tolist() == [True, True, False, False, True]


def test_slerp_is_steady_and_takes_the_shorter_way():
    a = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).expand(5, 4)
    b = -torch.tensor([[np.cos(0.7), 0.0, np.sin(0.7), 0.0]], dtype=torch.float32).expand(5, 4)
    share = torch.linspace(0, 1, 5)[:, None]
    angle = torch.atan2(slerp(a, b, share)[:, 2], slerp(a, b, share)[:, 0])
    torch.testing.assert_close(angle, 0.7 * share[:, 0])


def test_every_moment_is_drawn_equally_often_with_equal_weights(sampler):
    motion, time = sampler.draw(40_000, torch.Generator().manual_seed(0))
    share = torch.bincount(motion, minlength=3) / 40_000
    torch.testing.assert_close(share, torch.tensor([1.2, 1.2, 2.0]) / 4.4, atol=0.01, rtol=0)
    assert bool((time >= 0).all())
    assert bool((time <= sampler.duration[motion]).all())
    third = torch.histc(time[motion == 2], 4, 0.0, 2.0) / (motion == 2).sum()
    torch.testing.assert_close(third, torch.full((4,), 0.25), atol=0.02, rtol=0)


def test_weights_of_grades_strokes_and_still_stretches():
    motions = [
        turning(51, name="good", provenance={"grade": "A"}),
        turning(51, name="bad", provenance={"grade": "D"}),
        turning(51, name="unknown"),
        turning(51, name="stroke", provenance={"grade": "A"},
                strokes=(Stroke("serve", "right", 0.5, 0.7, 1.0),)),
        still(51, provenance={"grade": "A"}),
    ]  # fmt: skip
    sampler = MotionSampler(motions, SamplingWeights(ungraded=0.5, still=0.25, stroke=3.0))
    weight = sampler.probability / sampler.probability[0]
    expected = [1, 1, 0, 0, 0.5, 0.5, 1, 3, 0.25, 0.25]
    torch.testing.assert_close(weight, torch.tensor(expected, dtype=torch.float32))


def test_reweighing_moves_draws_to_hard_moments(sampler):
    hard = sampler.bin_of(torch.tensor([2]), torch.tensor([1.2]))
    factor = torch.zeros(sampler.bins)
    factor[hard] = 1.0
    try:
        sampler.reweigh(factor)
        motion, time = sampler.draw(100, torch.Generator().manual_seed(1))
    finally:
        sampler.reweigh(torch.ones(sampler.bins))
    assert motion.unique().tolist() == [2]
    assert 1.0 <= float(time.min()) < float(time.max()) <= 1.5


def test_bins_are_found_for_drawn_moments(sampler):
    motion, time = sampler.draw(500, torch.Generator().manual_seed(2))
    bins = sampler.bin_of(motion, time)
    assert torch.equal(sampler.bin_motion[bins], motion)
    late = time - sampler.bin_start[bins]
    assert bool(((late >= -1e-5) & (late <= sampler.bin_length[bins] + 1e-5)).all())


def test_nothing_to_draw_is_said(sampler):
    with pytest.raises(ValueError, match="no motions"):
        MotionSampler([])
    with pytest.raises(ValueError, match="no moment has a positive weight"):
        MotionSampler([turning(provenance={"grade": "D"})])
    with pytest.raises(ValueError, match="no moment has a positive weight"):
        sampler.reweigh(torch.full((sampler.bins,), float("nan")))


def test_a_library_gives_the_same_as_its_motions(tmp_path, sampler):
    path = tmp_path / "m.safetensors"
    MotionLibrary.write(path, [turning(), turning(241, 200.0, "fast"), still()])
    library = MotionLibrary.open(path)
    same = MotionSampler(library, EVEN, names=["turning", "fast", "still"])
    draws = [s.sample(20, torch.Generator().manual_seed(3)) for s in (sampler, same)]
    torch.testing.assert_close(draws[0].qpos, draws[1].qpos, atol=1e-5, rtol=0)
    torch.testing.assert_close(draws[0].qvel, draws[1].qvel, atol=1e-3, rtol=0)


def test_on_a_gpu_it_gives_the_same(sampler):
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU; a CPU is tested above")
    there = MotionSampler([turning(), turning(241, 200.0, "fast"), still()], EVEN, device="cuda")
    motion, time = sampler.draw(200, torch.Generator().manual_seed(4))
    here, state = sampler.at(motion, time), there.at(motion.cuda(), time.cuda())
    torch.testing.assert_close(state.qpos.cpu(), here.qpos, atol=1e-5, rtol=0)
    torch.testing.assert_close(state.qvel.cpu(), here.qvel, atol=1e-4, rtol=0)
    drawn = there.sample(200, torch.Generator("cuda").manual_seed(0))
    assert drawn.qpos.is_cuda
