from dataclasses import replace

import numpy as np

from mocap.benchmark import synthetic_clip
from mocap.clean import clean, glitch_frames, t_pose_frames
from mocap.skeleton import Body, to_body


def with_t_pose(seconds: float) -> Body:
    clip = synthetic_clip(4.0)
    held = round(seconds * clip.fps)
    rest = clip.rotations[:held].copy()
    rest[:] = [1.0, 0.0, 0.0, 0.0]
    return to_body(
        replace(
            clip,
            rotations=np.concatenate([rest, clip.rotations]),
            translations=np.concatenate([clip.translations[:held], clip.translations]),
        )
    )


def test_a_t_pose_is_trimmed():
    cleaned = clean(with_t_pose(1.0))
    assert 1.0 <= cleaned.trimmed_start_s <= 1.3


def test_a_clip_without_one_is_left_alone(body: Body):
    assert t_pose_frames(body) == 0
    cleaned = clean(body)
    assert cleaned.trimmed_start_s == 0.0
    assert not cleaned.glitches.any()
    assert cleaned.body.points is body.points


def test_a_jumping_marker_is_counted_and_repaired(body: Body):
    points = body.points.copy()
    wrist = body.names.index("left_wrist")
    points[300:303, wrist] += [0.5, 0.3, 0.0]
    cleaned = clean(replace(body, points=points))
    assert 3 <= cleaned.glitches.sum() <= 8
    assert (
        np.linalg.norm(cleaned.body.points[300:303, wrist] - body.points[300:303, wrist], axis=1).max() < 0.01
    )


def test_fast_strokes_are_no_glitches(body: Body):
    assert not glitch_frames(body).any()


def test_glitches_at_the_ends_are_held(body: Body):
    points = body.points.copy()
    points[:2, body.names.index("head")] += 1.0
    points[-1, body.names.index("head")] += 1.0
    out = clean(replace(body, points=points)).body
    np.testing.assert_allclose(out["head"], body["head"], atol=0.01)
