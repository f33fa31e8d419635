from dataclasses import replace

import numpy as np
import pytest

from mocap.glitches import find_glitches
from mocap.skeleton import Body
from mocap.t_pose import find_lead


def posed(body: Body, drop_rad: float, seconds: float, *, leave_s: float = 0.0) -> Body:
    """The body with its arms held out sideways, this far below the horizontal, before its motion begins."""
    held = np.repeat(body.points[:1], round((seconds + leave_s) * body.fps), axis=0)
    t = np.clip((np.arange(len(held)) / body.fps - seconds) / max(leave_s, 1e-9), 0.0, 1.0)
    across = body["left_shoulder"][0] - body["right_shoulder"][0]
    across = across * [1, 1, 0] / np.linalg.norm(across[:2])
    for side, sign in (("left", 1.0), ("right", -1.0)):
        start = held[:, body.names.index(f"{side}_shoulder")]
        drop = drop_rad + (1.5 - drop_rad) * t
        arm = sign * np.cos(drop)[:, None] * across - np.sin(drop)[:, None] * np.array([0.0, 0.0, 1.0])
        for part, length in (("elbow", 0.27), ("wrist", 0.52), ("hand", 0.66)):
            held[:, body.names.index(f"{side}_{part}")] = start + length * arm
    return replace(body, points=np.concatenate([held, body.points]))


@pytest.mark.parametrize(("name", "drop"), [("T", 0.0), ("T", 0.3), ("A", 0.8)])
def test_a_pose_is_found_at_the_start(body: Body, name: str, drop: float):
    lead = find_lead(posed(body, drop, 1.0))
    assert lead.start_pose == name
    assert 100 <= lead.start <= 130
    assert lead.end == 0


def test_a_pose_is_found_at_the_end(body: Body):
    both = posed(body, 0.0, 1.0)
    lead = find_lead(replace(both, points=both.points[::-1]))
    assert (lead.start, lead.end_pose) == (0, "T")
    assert 100 <= lead.end <= 130


def test_leaving_the_pose_is_cut_too(body: Body):
    lead = find_lead(posed(body, 0.0, 1.0, leave_s=0.8))
    assert 130 <= lead.start <= 180


def test_a_single_frame_is_cut_exactly(body: Body):
    short = posed(body, 0.0, 0.01)
    assert find_lead(short, find_glitches(short)).start == 1


def test_arms_that_hang_are_no_a_pose(body: Body):
    assert find_lead(posed(body, 1.3, 1.0)).start == 0


def test_a_clip_without_a_pose_is_left_alone(body: Body):
    lead = find_lead(body)
    assert (lead.start, lead.end) == (0, 0)


def test_a_clip_of_nothing_else_is_left_alone(body: Body):
    only = posed(body, 0.0, 3.0)
    assert find_lead(replace(only, points=only.points[:290])).start == 0
