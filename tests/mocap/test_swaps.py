from dataclasses import replace

import numpy as np
import pytest

from mocap.clip import Clip
from mocap.rotations import quat_exp
from mocap.swaps import find_swaps, undo_swaps


@pytest.fixture
def strider(clip: Clip) -> Clip:
    """The clip with legs that swing against each other all the time."""
    t = np.arange(clip.frames) / clip.fps
    q = clip.rotations.copy()
    for name, sign in (("LeftHip", 1.0), ("RightHip", -1.0)):
        swing = sign * 0.5 * np.sin(2 * np.pi * 0.7 * t)
        q[:, clip.joint_names.index(name)] = quat_exp(np.stack([swing, 0 * t, 0 * t], axis=1))
    return replace(clip, rotations=q)


def swapped(clip: Clip, start: int, stop: int) -> Clip:
    q = clip.rotations.copy()
    for part in ("Hip", "Knee", "Ankle"):
        a, b = (clip.joint_names.index(f"{side}{part}") for side in ("Left", "Right"))
        q[start:stop, a], q[start:stop, b] = q[start:stop, b].copy(), q[start:stop, a].copy()
    return replace(clip, rotations=q)


def test_legs_that_swing_are_not_exchanged(strider: Clip):
    assert find_swaps(strider) == []


@pytest.mark.parametrize(("start", "stop"), [(110, 111), (110, 325), (110, 620)])
def test_an_exchange_is_found_to_the_frame_and_undone_exactly(strider: Clip, start: int, stop: int):
    broken = swapped(strider, start, stop)
    found = find_swaps(broken)
    assert [(s.start, s.stop) for s in found] == [(start, stop)]
    same = np.abs(np.sum(undo_swaps(broken, found).rotations * strider.rotations, axis=-1))
    np.testing.assert_allclose(same, 1.0, atol=1e-12)


def test_one_that_lasts_to_the_end_is_found(strider: Clip):
    end = strider.frames
    assert [(s.start, s.stop) for s in find_swaps(swapped(strider, 970, end))] == [(970, end)]


def test_a_skeleton_without_sides_has_none(strider: Clip):
    names = tuple(f"joint{i}" for i in range(len(strider.joint_names)))
    assert find_swaps(replace(strider, joint_names=names)) == []
