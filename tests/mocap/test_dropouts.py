from dataclasses import replace

import numpy as np

from mocap.clip import Clip
from mocap.dropouts import fill_dropouts, find_dropouts
from mocap.skeleton import to_body


def lost(clip: Clip, joint: str, start: int, stop: int) -> Clip:
    q = clip.rotations.copy()
    j = clip.joint_names.index(joint)
    q[start:stop, j] = q[start - 1, j]
    return replace(clip, rotations=q)


def test_joints_that_rest_are_not_lost(clip: Clip):
    assert find_dropouts(clip) == []


def test_a_lost_joint_is_found_to_the_frame_and_bridged(clip: Clip):
    broken = lost(clip, "RightShoulder", 745, 757)
    found = find_dropouts(broken)
    assert [(d.joint, d.start, d.stop) for d in found] == [("RightShoulder", 745, 757)]
    mended, done = fill_dropouts(broken, found)
    assert done == [True]
    off = np.linalg.norm(to_body(mended)["right_wrist"] - to_body(clip)["right_wrist"], axis=1)
    before = np.linalg.norm(to_body(broken)["right_wrist"] - to_body(clip)["right_wrist"], axis=1)
    assert before.max() > 0.3
    assert off.max() < 0.03


def test_an_end_stop_is_no_dropout(clip: Clip):
    """A joint that stops at one value again and again is at its limit."""
    q = clip.rotations.copy()
    j = clip.joint_names.index("RightShoulder")
    for start in (445, 745):
        q[start : start + 12, j] = q[444, j]
    assert find_dropouts(replace(clip, rotations=q)) == []


def test_a_whole_body_that_stops_is_no_dropout(clip: Clip):
    q, t = clip.rotations.copy(), clip.translations.copy()
    q[745:757], t[745:757] = q[744], t[744]
    assert find_dropouts(replace(clip, rotations=q, translations=t)) == []


def test_one_that_lasts_too_long_is_left(clip: Clip):
    broken = lost(replace(clip, fps=40.0), "RightShoulder", 735, 765)
    found = find_dropouts(broken)
    mended, done = fill_dropouts(broken, found)
    assert found
    assert done == [False] * len(found)
    np.testing.assert_array_equal(mended.rotations, broken.rotations)
