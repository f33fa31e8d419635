"""Motion tracking: references, starts, rewards."""

import dataclasses

import numpy as np
import pytest
import torch

from humanoid.joints import JOINT_NAMES, READY_JOINT_POS
from humanoid.motion import MotionError, RobotMotion
from humanoid.motion_library import MotionLibrary
from sim.engine import CpuEngine
from sim.frame_sampler import FrameSampler, grade_weights
from sim.reference import build_reference, load_reference
from sim.terms import TermError
from sim.tracking_task import TrackingConfig, TrackingTask

HEIGHT = 0.727


def motion(frames=41, name="sway", fps=50.0, speed=0.0):
    """The ready pose; the right elbow swings and, with a speed, everything drifts along x."""
    t = np.arange(frames) / fps
    joint_pos = np.tile(READY_JOINT_POS, (frames, 1))
    joint_pos[:, JOINT_NAMES.index("right_elbow_joint")] += 0.3 * np.sin(2 * np.pi * t)
    root_pos = np.zeros((frames, 3))
    root_pos[:, 0], root_pos[:, 2] = speed * t, HEIGHT
    return RobotMotion(
        name, fps, JOINT_NAMES, root_pos, np.tile([1.0, 0, 0, 0], (frames, 1)), joint_pos,
        np.ones((frames, 2), dtype=bool),
    )  # fmt: skip


GRADES = TrackingConfig().grades


@pytest.fixture(scope="module")
def reference():
    return build_reference([motion(), motion(31, "short")], torque=False)


QUIET = TrackingConfig(
    joint_noise=0.0, velocity_noise=0.0, uniform=1.0, torque_feedforward=False, velocity_feedforward=False
)


@pytest.fixture(scope="module")
def engine():
    return CpuEngine(4, threads=1)


@pytest.fixture
def make(reference, engine):
    def make(config=QUIET, seed=0, **changes):
        return TrackingTask(
            4, dataclasses.replace(config, **changes), seed, engine=engine, reference=reference
        )

    return make


def test_reference_rows_belong_to_their_motions(reference):
    assert reference.first.tolist() == [0, 41]
    assert reference.last.tolist() == [40, 71]
    assert reference.motion.tolist() == [0] * 41 + [1] * 31


def test_reference_velocities_are_those_of_the_positions():
    moving = build_reference([motion(speed=0.5)], torque=False)
    torch.testing.assert_close(moving.qvel[5, :3], torch.tensor([0.5, 0.0, 0.0]), atol=1e-5, rtol=0)
    elbow = JOINT_NAMES.index("right_elbow_joint")
    finite = (moving.qpos[11, 7 + elbow] - moving.qpos[9, 7 + elbow]) / 0.04
    torch.testing.assert_close(moving.qvel[10, 6 + elbow], finite)


def test_the_shipped_motions_load():
    shipped = load_reference(torque=False)
    assert shipped.num_motions >= 2
    assert torch.isfinite(shipped.qvel).all()


def test_a_motion_of_another_rate_is_refused(tmp_path):
    path = tmp_path / "slow.npz"
    motion(fps=30.0).save(path)
    with pytest.raises(MotionError, match=r"slow\.npz: has 30 frames a second.*needs 50"):
        load_reference([path])


@pytest.fixture
def library(tmp_path):
    MotionLibrary.write(tmp_path / "m.safetensors", [motion(), motion(31, "short")])
    return MotionLibrary.open(tmp_path / "m.safetensors")


def test_a_library_gives_the_same_reference_as_its_motions(library, reference):
    loaded = load_reference([library.path], torque=False)
    assert loaded.names == ("short", "sway")
    torch.testing.assert_close(loaded.qpos[31:], reference.qpos[:41], atol=1e-6, rtol=0)
    assert loaded.first.tolist() == [0, 31]


def test_a_task_plays_an_open_library(library, engine):
    task = TrackingTask(4, QUIET, engine=engine, reference=library)
    assert task.reference.names == ("short", "sway")
    task.step(torch.zeros(4, 29))
    assert torch.isfinite(task.observation()).all()


def test_a_librarys_motion_of_another_rate_is_named(tmp_path):
    MotionLibrary.write(tmp_path / "m.safetensors", [motion(fps=30.0)])
    with pytest.raises(MotionError, match=r"m\.safetensors: sway: has 30 frames a second.*needs 50"):
        load_reference([tmp_path / "m.safetensors"])


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(MotionError, match="no motion files"):
        load_reference([tmp_path])


def test_episodes_begin_in_the_references_state(make, reference):
    task = make()
    torch.testing.assert_close(task.qpos, reference.qpos[task.frame], atol=1e-5, rtol=0)
    torch.testing.assert_close(task.qvel, reference.qvel[task.frame], atol=1e-5, rtol=0)


def test_starts_spread_over_all_motions(make):
    task = make()
    frames = task.sampler.sample(500, torch.Generator().manual_seed(0))
    assert (frames < 41).any()
    assert (frames >= 41).any()
    assert not ((frames > 35) & (frames < 41)).any()


def test_without_random_start_motions_begin_at_their_first_frame(make, reference):
    task = make(random_start=False)
    assert set(task.frame.tolist()) <= set(reference.first.tolist())


def test_targets_are_reference_and_correction(make, reference):
    task = make()
    action = torch.full((4, 29), 0.5)
    torch.testing.assert_close(task.targets(action), reference.qpos[task.frame, 7:] + 0.15)


def test_velocity_feedforward_leads_by_the_servos_damping(make, reference):
    from humanoid.joints import KD, KP

    still, led = make(), make(velocity_feedforward=True)
    led.reset(frames=still.frame)
    lead = led.targets(led.action) - still.targets(still.action)
    ratio = torch.as_tensor((KD / KP).copy(), dtype=torch.float32)
    torch.testing.assert_close(lead, ratio * reference.qvel[still.frame, 6:])


def test_feedforward_halves_the_error():
    """As on the prototype's strokes: what a servo lacks is most of its error."""
    errors = []
    for switch in (False, True):
        config = dataclasses.replace(QUIET, velocity_feedforward=switch, torque_feedforward=switch)
        task = TrackingTask(2, dataclasses.replace(config, random_start=False), threads=1)
        for _ in range(25):
            task.step(torch.zeros(2, 29))
        errors.append(float(task.info()["joint_error"].mean()))
    assert errors[1] < 0.5 * errors[0]


def test_perfect_tracking_is_worth_the_sum_of_its_weights(make):
    task = make(rewards={"track_joint_pos": 1.0, "track_root_pos": 2.0, "track_racket": 0.5})
    torch.testing.assert_close(task.rewards(task), torch.full((4,), 3.5), atol=1e-3, rtol=0)


def test_a_motion_ends_its_episode(make, reference):
    task = make()
    task.reset(frames=torch.tensor([38, 0, 0, 69]))
    ended = []
    for _ in range(2):
        task.step(torch.zeros(4, 29))
        ended.append(task.truncated.tolist())
    assert ended == [[False] * 4, [True, False, False, True]]


def test_a_lost_robot_ends_its_episode(make):
    task = make()
    task.engine.qpos[2, 0] += 0.6
    task.step(torch.zeros(4, 29))
    assert task.terminated.tolist() == [False, False, True, False]
    assert task.terminations.values["root_lost"][2]


def test_time_ends_an_episode(make):
    task = make(episode_s=0.04)
    task.reset(frames=torch.zeros(4, dtype=torch.int64))
    task.step(torch.zeros(4, 29))
    task.step(torch.zeros(4, 29))
    assert task.truncated.all()


def test_same_seed_same_play(make):
    runs = []
    for _ in range(2):
        task = make(TrackingConfig(torque_feedforward=False), seed=4)
        for _ in range(3):
            task.step(torch.zeros(4, 29))
        runs.append(task.observation())
    assert torch.equal(*runs)


def test_observation_has_the_named_columns(make):
    task = make(observations=("gravity", "phase", "root_pos_error"))
    assert task.observation().shape == (4, 7)
    torch.testing.assert_close(task.observation()[:, 2], torch.full((4,), -1.0))


def test_an_unknown_term_is_named(make):
    with pytest.raises(TermError, match="unknown tracking reward 'jump'"):
        make(rewards={"jump": 1.0})


def test_starts_move_to_where_robots_fail(reference):
    sampler = FrameSampler(reference, bin_s=0.2, uniform=0.2)
    frame = torch.tensor([5, 25, 45, 65])
    for _ in range(50):
        sampler.observe(frame, torch.tensor([False, True, False, False]))
    p = sampler.probabilities
    hard = int(sampler.bin[25])
    assert p.sum() == pytest.approx(1.0, abs=1e-5)
    assert int(p.argmax()) in (hard - 1, hard)
    assert p[hard] > 2 * p[int(sampler.bin[65])]
    assert (p[sampler.length > 0] > 0).all()


def test_uniform_starts_do_not_adapt(reference):
    sampler = FrameSampler(reference, uniform=1.0)
    before = sampler.probabilities
    sampler.observe(torch.tensor([5]), torch.tensor([True]))
    assert torch.equal(before, sampler.probabilities)


def test_motions_that_the_robot_cannot_do_are_not_begun(reference):
    weight = grade_weights(["A", "D"][: reference.num_motions] + ["A"] * (reference.num_motions - 2), GRADES)
    sampler = FrameSampler(reference, uniform=0.2, weight=weight)
    second = slice(int(reference.first[1]), int(reference.last[1]) + 1)
    for _ in range(20):
        sampler.observe(reference.first[1:2] + 5, torch.tensor([True]))
    assert sampler.probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    assert (sampler.probabilities[sampler.bin[second]] == 0.0).all()


def test_motions_without_a_grade_are_drawn_alike():
    assert grade_weights(["", "B"], GRADES).tolist() == pytest.approx([1.0, 0.6])
    assert grade_weights(["D", "D"], GRADES) is None


def test_weights_that_leave_nothing_are_refused(reference):
    with pytest.raises(ValueError, match="not all 0"):
        FrameSampler(reference, weight=torch.zeros(reference.num_motions))


def test_plain_config_names_the_terms_in_force(make):
    plain = make().plain()
    assert plain["rewards"]["track_racket"] == 0.4
    assert plain["terminations"] == ["fallen", "root_lost", "pose_lost"]
