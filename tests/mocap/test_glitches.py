from dataclasses import replace

import numpy as np
import pytest

from mocap.clip import Clip
from mocap.glitches import find_glitches, glitch_frames
from mocap.repair import limb_joints, repair
from mocap.resample import resample
from mocap.rotations import quat_exp, quat_product
from mocap.skeleton import Body, find_mapping, to_body


def moved(body: Body, point: str, start: int, stop: int, by) -> Body:
    points = body.points.copy()
    points[start:stop, body.names.index(point)] += by
    return replace(body, points=points)


def turned(clip: Clip, joint: str, start: int, stop: int, vector) -> Clip:
    q = clip.rotations.copy()
    j = clip.joint_names.index(joint)
    q[start:stop, j] = quat_product(q[start:stop, j], quat_exp(np.tile(vector, (stop - start, 1))))
    return replace(clip, rotations=q)


@pytest.mark.parametrize("fps", [30.0, 60.0, 100.0])
def test_strokes_are_no_glitches(clip: Clip, fps: float):
    assert find_glitches(to_body(resample(clip, fps))) == []


def test_a_serve_of_12_m_s_is_no_glitch(body: Body):
    """A wrist on an arc, sped up and stopped within 0.16 s, at its fastest 12 m/s: at 100 Hz 12 cm a frame."""
    t = np.arange(body.frames) / body.fps
    s = np.clip((t - 3.0) / 0.16, 0.0, 1.0)
    angle = 12.0 * 0.16 / 1.875 / 0.55 * (10 * s**3 - 15 * s**4 + 6 * s**5)
    arc = 0.55 * np.stack([np.sin(angle), 0 * t, np.cos(angle)], axis=1)
    points = body.points.copy()
    points[:, body.names.index("right_wrist")] = body["pelvis"] + [0.3, 0.0, 0.4] + arc
    speed = np.linalg.norm(np.diff(arc, axis=0), axis=1).max() * body.fps
    assert speed == pytest.approx(12.0, rel=0.02)
    swing = replace(body, points=points)
    assert not [g for g in find_glitches(swing) if g.kind != "length" and 250 < g.start < 400]


@pytest.mark.parametrize("size", [0.06, 0.3])
def test_a_spike_is_found_to_the_frame(body: Body, size: float):
    glitches = find_glitches(moved(body, "left_wrist", 300, 301, [size, 0.0, 0.0]))
    found = [(g.kind, g.part, g.start, g.stop) for g in glitches if g.kind != "length"]
    assert found == [("spike", "left_arm", 300, 301)]


def test_a_jump_that_returns_is_found_to_the_frame(body: Body):
    glitches = find_glitches(moved(body, "right_ankle", 300, 312, [0.0, 0.2, 0.1]))
    found = [(g.kind, g.part, g.start, g.stop) for g in glitches if g.kind != "length"]
    assert found == [("jump", "right_leg", 300, 312)]


def test_a_jump_of_the_pelvis_is_the_body_s(body: Body):
    points = body.points.copy()
    points[400:405] += [0.0, 0.3, 0.0]
    assert {g.part for g in find_glitches(replace(body, points=points))} == {"body"}


def test_a_bone_that_changes_its_length_is_found(body: Body):
    along = body["left_elbow"] - body["left_shoulder"]
    ramp = np.zeros(body.frames)
    ramp[300:400] = 0.5 - 0.5 * np.cos(np.linspace(0.0, 2 * np.pi, 100))
    points = body.points.copy()
    points[:, body.names.index("left_elbow")] += 0.4 * ramp[:, None] * along
    lengths = [g for g in find_glitches(replace(body, points=points)) if g.kind == "length"]
    assert lengths
    assert all(300 <= g.start < g.stop <= 400 and g.part == "left_arm" for g in lengths)


def test_a_burst_of_spikes_does_not_excuse_itself(body: Body):
    broken = body
    spikes = range(300, 360, 10)
    for t in spikes:
        broken = moved(broken, "left_hand", t, t + 1, [0.2, 0.0, 0.0])
    bad = glitch_frames(find_glitches(broken), body.frames)
    assert all(bad[t] for t in spikes)


def test_a_mended_clip_is_near_the_true_one_and_keeps_its_bones(clip: Clip):
    broken = turned(
        turned(clip, "RightShoulder", 320, 321, (0.0, 0.5, 0.3)), "LeftHip", 600, 606, (0.5, 0, 0)
    )
    body = to_body(broken)
    mended, done = repair(broken, find_glitches(body), find_mapping(clip))
    assert all(done)
    after, true = to_body(mended), to_body(clip)
    assert np.linalg.norm(after.points - true.points, axis=2).max() < 0.01
    length = np.linalg.norm(after["right_wrist"] - after["right_elbow"], axis=1)
    assert np.ptp(length) < 1e-9


def test_the_rest_of_the_body_is_left_alone(clip: Clip):
    broken = turned(clip, "LeftShoulder", 320, 321, (0.0, 0.5, 0.3))
    mended, _ = repair(broken, find_glitches(to_body(broken)), find_mapping(clip))
    arm = limb_joints(clip, find_mapping(clip))["left_arm"]
    rest = np.setdiff1d(np.arange(len(clip.joint_names)), arm)
    np.testing.assert_array_equal(mended.rotations[:, rest], broken.rotations[:, rest])


def test_a_foot_turned_round_for_half_a_second_is_turned_back(clip: Clip):
    broken = turned(clip, "RightAnkle", 400, 450, (0.0, 2.6, 0.0))
    glitches = find_glitches(to_body(broken))
    assert [(g.kind, g.start, g.stop) for g in glitches] == [("flip", 400, 450)]
    mended, done = repair(broken, glitches, find_mapping(clip))
    assert done == [True]
    np.testing.assert_allclose(to_body(mended)["right_toe"], to_body(clip)["right_toe"], atol=1e-3)


def test_glitches_at_the_ends_are_held(clip: Clip):
    broken = turned(clip, "LeftShoulder", clip.frames - 2, clip.frames, (0.0, 0.8, 0.0))
    mended, done = repair(broken, find_glitches(to_body(broken)), find_mapping(clip))
    assert all(done)
    np.testing.assert_allclose(to_body(mended)["left_wrist"], to_body(clip)["left_wrist"], atol=0.01)
