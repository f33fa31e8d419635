import numpy as np
import pytest

from mocap.benchmark import synthetic_clip
from mocap.clip import Clip, ClipDataError, make_clip


def test_forward_kinematics_keeps_bone_lengths(clip: Clip):
    points = clip.positions()
    for j, p in enumerate(clip.parents):
        if p >= 0:
            length = np.linalg.norm(points[:, j] - points[:, p], axis=1)
            np.testing.assert_allclose(length, np.linalg.norm(clip.offsets[j]), atol=1e-9)


def test_resampling_keeps_the_path(clip: Clip):
    half = clip.resampled(50.0)
    assert half.fps == 50.0
    np.testing.assert_allclose(half.positions(), clip.positions()[::2], atol=1e-6)


def test_resampling_to_nonsense_is_refused(clip: Clip):
    with pytest.raises(ClipDataError, match="positive rate"):
        clip.resampled(0.0)


def test_content_hash_is_blind_to_the_name_and_sees_motion(clip: Clip):
    other = synthetic_clip(10.0, name="other name")
    assert other.content_hash() == clip.content_hash()
    assert clip.sliced(0, 900).content_hash() != clip.content_hash()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_make_clip_names_joint_and_frame(clip: Clip, bad: float):
    translations = clip.translations.copy()
    translations[7, 0, 1] = bad
    with pytest.raises(ClipDataError, match=r"joint Hips in frame 7"):
        make_clip(
            "x", clip.joint_names, clip.parents, clip.offsets, clip.rotations, translations, clip.fps, {}
        )


def test_make_clip_refuses_an_unusable_rate(clip: Clip):
    with pytest.raises(ClipDataError, match="rate"):
        make_clip(
            "x", clip.joint_names, clip.parents, clip.offsets, clip.rotations, clip.translations, 0.0, {}
        )
