from dataclasses import replace

import numpy as np

from mocap.skeleton import Body
from mocap.still import find_rests, rest_frames


def busy(body: Body) -> Body:
    """The player with both hands kept in motion."""
    t = np.arange(body.frames) / body.fps
    points = body.points.copy()
    for i, name in enumerate(body.names):
        if name.endswith("wrist"):
            points[:, i, 2] += 0.15 * np.sin(2 * np.pi * 0.8 * t)
    return replace(body, points=points)


def test_a_busy_body_never_rests(body: Body):
    assert find_rests(busy(body)) == []


def test_a_pause_of_the_capture_is_dead(body: Body):
    points = busy(body).points.copy()
    points[400:430] = points[399]
    rests = find_rests(replace(body, points=points))
    assert [(r.kind, r.start, r.stop) for r in rests] == [("dead", 399, 430)]


def test_somebody_who_sways_stands_still(body: Body):
    t = np.arange(body.frames) / body.fps
    points = busy(body).points.copy()
    points[300:500] = points[300] + 0.005 * np.sin(2 * np.pi * 0.7 * t[300:500])[:, None, None]
    points[500:] += points[499] - points[500]
    rests = find_rests(replace(body, points=points))
    assert [r.kind for r in rests] == ["still"]
    assert abs(rests[0].start - 300) < 30
    assert abs(rests[0].stop - 500) < 30
    assert rest_frames(rests, body.frames).sum() == rests[0].stop - rests[0].start


def test_a_short_halt_is_no_rest(body: Body):
    points = busy(body).points.copy()
    points[300:350] = points[300] + 1e-4 * np.arange(50)[:, None, None]
    assert find_rests(replace(body, points=points)) == []
