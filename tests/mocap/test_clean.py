"""Cleaning as a whole: a clip with every defect planted, and clean clips left alone."""

from dataclasses import replace

import numpy as np
import pytest

from mocap.benchmark import synthetic_clip
from mocap.clean import VERSION, clean
from mocap.clip import Clip, ClipDataError
from mocap.config import CleanConfig
from mocap.rotations import quat_exp, quat_product
from mocap.skeleton import to_body


def with_t_pose(clip: Clip, start_s: float, end_s: float = 0.0) -> Clip:
    """The clip with its rest pose held before and after it."""

    def rest(seconds: float) -> np.ndarray:
        q = np.zeros((round(seconds * clip.fps), *clip.rotations.shape[1:]))
        q[..., 0] = 1.0
        return q

    a, b = rest(start_s), rest(end_s)
    t = clip.translations
    return replace(
        clip,
        rotations=np.concatenate([a, clip.rotations, b]),
        translations=np.concatenate([np.repeat(t[:1], len(a), 0), t, np.repeat(t[-1:], len(b), 0)]),
    )


def turned(clip: Clip, joint: str, start: int, stop: int, vector: tuple[float, float, float]) -> Clip:
    """One joint turned by a rotation vector [rad] in frames start … stop-1."""
    q = clip.rotations.copy()
    j = clip.joint_names.index(joint)
    q[start:stop, j] = quat_product(q[start:stop, j], quat_exp(np.tile(vector, (stop - start, 1))))
    return replace(clip, rotations=q)


def found(cleaned, step: str) -> dict:
    return next(s["found"] for s in cleaned.steps if s["step"] == step)


def test_a_clean_clip_is_only_levelled(clip: Clip):
    cleaned = clean(clip)
    body = to_body(clip)
    assert cleaned.glitch_frames == 0
    assert cleaned.trimmed_start_s == cleaned.trimmed_end_s == 0.0
    assert not cleaned.glitches.any()
    offset = cleaned.body.points - body.points
    np.testing.assert_allclose(offset[..., :2], 0.0, atol=1e-12)
    assert np.ptp(offset[..., 2]) < 1e-12


def test_all_defects_are_listed_as_planted(clip: Clip):
    broken = turned(clip, "LeftShoulder", 300, 301, (0.0, 0.6, 0.0))
    broken = turned(broken, "RightKnee", 500, 504, (0.7, 0.0, 0.0))
    q = broken.rotations.copy()
    elbow = clip.joint_names.index("RightShoulder")
    moving = int(np.argmax(np.abs(np.diff(q[:, elbow], axis=0)).sum(axis=1)[600:900])) + 600
    q[moving - 5 : moving + 5, elbow] = q[moving - 6, elbow]
    left = [clip.joint_names.index(n) for n in ("LeftHip", "LeftKnee", "LeftAnkle")]
    right = [clip.joint_names.index(n) for n in ("RightHip", "RightKnee", "RightAnkle")]
    marching = np.linalg.norm(q[:, left] - q[:, right], axis=(1, 2))
    swap = int(np.argmax(marching[:200])) - 6
    q[swap : swap + 12, left], q[swap : swap + 12, right] = (
        q[swap : swap + 12, right].copy(),
        q[swap : swap + 12, left].copy(),
    )
    lead = 100
    cleaned = clean(with_t_pose(replace(broken, rotations=q), lead / clip.fps, 0.5))
    assert [s["step"] for s in cleaned.steps] == [
        "swaps",
        "dropouts",
        "trim",
        "glitches",
        "resample",
        "floor",
        "mirror",
        "rests",
    ]
    assert found(cleaned, "swaps")["intervals"] == [[lead + swap, lead + swap + 12, "LeftHip"]]
    dropouts = found(cleaned, "dropouts")["intervals"]
    assert dropouts == [[lead + moving - 5, lead + moving + 5, "RightShoulder", True]]
    trim = found(cleaned, "trim")
    assert trim["start"][0] == trim["end"][0] == "T"
    assert lead <= trim["start"][1] <= lead + 0.3 * clip.fps
    kinds = [(g[0] - lead, g[1] - lead, g[2], g[3], g[5]) for g in found(cleaned, "glitches")["intervals"]]
    assert (300, 301, "spike", "left_arm", True) in kinds
    assert (500, 504, "jump", "right_leg", True) in kinds
    assert all(mended for *_, mended in kinds)
    assert cleaned.provenance()["version"] == VERSION


def test_what_is_switched_off_is_listed_and_left(clip: Clip):
    broken = turned(clip, "LeftShoulder", 300, 301, (0.0, 0.6, 0.0))
    cleaned = clean(broken, CleanConfig(repair_glitches=False, trim_t_pose=False))
    assert cleaned.glitch_frames == 1
    assert not found(cleaned, "glitches")["intervals"][0][5]
    np.testing.assert_allclose(
        cleaned.body["left_wrist"][:, :2], to_body(broken)["left_wrist"][:, :2], atol=1e-12
    )


def test_a_t_pose_is_trimmed_at_both_ends():
    cleaned = clean(with_t_pose(synthetic_clip(4.0), 1.0, 0.5))
    assert 1.0 <= cleaned.trimmed_start_s <= 1.3
    assert 0.5 <= cleaned.trimmed_end_s <= 0.8


def test_mended_frames_are_marked_at_the_output_rate(clip: Clip):
    cleaned = clean(turned(clip, "LeftShoulder", 300, 301, (0.0, 0.6, 0.0)), fps=50.0)
    assert cleaned.body.fps == 50.0
    np.testing.assert_array_equal(np.flatnonzero(cleaned.glitches), [150])


def test_auto_mirrors_left_handers_only(clip: Clip):
    right = clean(clip, CleanConfig(mirror="auto"))
    assert not right.mirrored
    other = clean(clip, CleanConfig(mirror="yes"))
    assert other.mirrored
    np.testing.assert_allclose(other.body["left_wrist"], right.body["right_wrist"] * [1, -1, 1], atol=1e-12)
    left = clean(clip, CleanConfig(mirror="auto"), hand="left")
    assert left.mirrored


def test_an_unknown_mirror_is_named(clip: Clip):
    with pytest.raises(ClipDataError, match=r"clean\.mirror=maybe"):
        clean(clip, CleanConfig(mirror="maybe"))
