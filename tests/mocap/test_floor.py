from dataclasses import replace

import numpy as np
import pytest

from mocap.benchmark import synthetic_clip
from mocap.floor import find_floor, level
from mocap.rotations import axis_matrix
from mocap.skeleton import Body, to_body


@pytest.fixture(scope="module")
def walker() -> Body:
    """Somebody who walks about in a room of 4 by 3 m for 40 s: feet that stand in turn, on a level floor."""
    body = to_body(synthetic_clip(40.0, 50.0, march=False))
    t = np.arange(body.frames) / body.fps
    points = np.repeat(body.points[:1], body.frames, axis=0)
    step = np.floor(t / 0.5)
    # In every second half step a foot swings to where the person will be.
    phase = np.clip((t / 0.5 - step) * 1.5, 0.0, 1.0)
    smooth = phase**2 * (3.0 - 2.0 * phase)

    def place(k):
        return np.stack([2.0 * np.sin(0.13 * k), 1.5 * np.cos(0.31 * k), 0.0 * k], axis=-1)

    for n, side in enumerate(("left", "right")):
        swings = step % 2 == n
        last, following = place(np.where(swings, step - 1, step)), place(step + 1)
        path = np.where(swings[:, None], last + (following - last) * smooth[:, None], last)
        path[:, 2] = np.where(swings, 0.1 * np.sin(np.pi * phase) ** 2, 0.0)
        for part in ("ankle", "toe"):
            i = body.names.index(f"{side}_{part}")
            points[:, i] = body.points[0, i] + path
    return replace(body, points=points)


def toes(body: Body) -> np.ndarray:
    return np.stack([body["left_toe"], body["right_toe"]], axis=1)


def test_height_is_that_of_the_standing_toes(walker: Body):
    floor = find_floor(walker)
    assert floor.height_m == pytest.approx(walker["left_toe"][0, 2], abs=1e-3)
    assert floor.tilt_deg == 0.0
    assert floor.drift_m_s == 0.0


def test_an_offset_is_taken_out_exactly(walker: Body):
    moved = replace(walker, points=walker.points + np.array([0.0, 0.0, 0.37]))
    np.testing.assert_allclose(
        level(moved, find_floor(moved)).points, level(walker, find_floor(walker)).points, atol=1e-9
    )


@pytest.mark.parametrize("tilt_deg", [1.0, 3.0])
def test_a_tilt_is_found_and_taken_out(walker: Body, tilt_deg: float):
    turn = axis_matrix("Z", np.array(0.7)) @ axis_matrix("X", np.array(np.radians(tilt_deg)))
    tilted = replace(walker, points=walker.points @ turn.T)
    floor = find_floor(tilted)
    assert floor.tilt_deg == pytest.approx(tilt_deg, rel=0.1)
    after = level(tilted, floor)
    assert np.abs(np.percentile(toes(after)[..., 2], 20, axis=0)).max() < 0.01
    length = np.linalg.norm(after["left_knee"] - after["left_hip"], axis=1)
    assert np.ptp(length) < 1e-9


def test_a_drift_is_found_and_taken_out(walker: Body):
    t = np.arange(walker.frames) / walker.fps
    sinking = replace(walker, points=walker.points - (0.004 * t)[:, None, None] * [0.0, 0.0, 1.0])
    floor = find_floor(sinking)
    assert floor.drift_m_s == pytest.approx(-0.004, rel=0.1)
    assert floor.tilt_deg == 0.0
    assert np.percentile(level(sinking, floor)["left_toe"][:, 2], 20) == pytest.approx(0.0, abs=0.003)


def test_jumps_and_glitches_do_not_move_it(walker: Body):
    points = walker.points.copy()
    points[400:440] += [0.0, 0.0, 0.4]
    points[900:903, walker.names.index("left_toe"), 2] -= 0.5
    assert find_floor(replace(walker, points=points)).height_m == pytest.approx(
        find_floor(walker).height_m, abs=2e-3
    )


def test_a_lifted_foot_is_no_floor(walker: Body):
    """Somebody who stands on one leg: the still foot in the air says nothing."""
    points = np.repeat(walker.points[:1], 500, axis=0)
    points[:, walker.names.index("left_toe"), 2] += 0.3
    floor = find_floor(replace(walker, points=points))
    assert floor.height_m == pytest.approx(walker["right_toe"][0, 2], abs=1e-6)


def test_without_any_stance_the_lowest_toes_are_taken(walker: Body):
    flying = replace(
        walker, points=walker.points[:40] + np.linspace(0, 2, 40)[:, None, None] * [1.0, 1.0, 0.0]
    )
    floor = find_floor(flying)
    assert floor.stances == 0
    assert floor.height_m == pytest.approx(walker["left_toe"][0, 2], abs=0.02)
