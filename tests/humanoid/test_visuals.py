"""The robot's looks: closed shells, no weight, no contact."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from humanoid import shapes
from humanoid.model import build_model
from humanoid.racket import RACKET
from humanoid.visuals import ACCENTS, GROUP, decorate, decorator

SECTIONS = [(0.0, 0.0, 0.0, 0.05, 0.04), (0.1, 0.01, 0.0, 0.06, 0.05), (0.2, 0.0, 0.0, 0.03, 0.03)]


def open_edges(mesh: shapes.Mesh) -> int:
    """Directed edges without their opposite; 0 for a closed, consistently turned mesh."""
    _, faces = mesh
    edges = {(int(f[i]), int(f[(i + 1) % 3])) for f in faces for i in range(3)}
    return sum((b, a) not in edges for a, b in edges)


@pytest.mark.parametrize(
    "mesh",
    [
        shapes.loft("x", SECTIONS),
        shapes.loft("y", SECTIONS, cap=0.0),
        shapes.loft("z", SECTIONS, exponent=4.0),
        shapes.cylinder("y", -0.02, 0.03, 0.05),
        shapes.elliptic_ring(0.17, 0.13, 0.006, 0.01),
        shapes.bars(np.zeros((2, 3)), np.eye(3)[:2], 0.01),
    ],
    ids=["loft x", "loft y flat", "loft z boxy", "cylinder", "ring", "bars"],
)
def test_shapes_are_closed_and_look_outward(mesh):
    assert open_edges(mesh) == 0
    assert shapes.volume(mesh) > 0
    assert shapes.volume(shapes.mirrored(mesh)) == pytest.approx(shapes.volume(mesh))


def test_loft_of_an_ellipse_has_its_volume():
    mesh = shapes.loft("z", [(0, 0, 0, 0.05, 0.04), (1, 0, 0, 0.05, 0.04)], exponent=2.0, cap=0.0, points=200)
    assert shapes.volume(mesh) == pytest.approx(np.pi * 0.05 * 0.04, rel=1e-3)


def test_loft_passes_through_its_sections():
    vertices, _ = shapes.loft("x", SECTIONS, cap=0.0, rings=3)
    assert vertices[:, 0].min() == 0.0
    assert vertices[:, 0].max() == pytest.approx(0.2)
    ring = vertices[np.isclose(vertices[:, 0], 0.1)]
    assert np.abs(ring[:, 1] - 0.01).max() == pytest.approx(0.06)


def test_loft_refuses_sections_out_of_order():
    with pytest.raises(ValueError, match="ascending"):
        shapes.loft("x", SECTIONS[::-1])


def test_dynamics_do_not_change():
    plain, dressed = build_model(self_collision=True), build_model(self_collision=True, decorate=decorate)
    np.testing.assert_array_equal(plain.body_mass, dressed.body_mass)
    np.testing.assert_array_equal(plain.body_inertia, dressed.body_inertia)
    np.testing.assert_array_equal(plain.body_ipos, dressed.body_ipos)
    np.testing.assert_array_equal(plain.body_iquat, dressed.body_iquat)
    rng = np.random.default_rng(0)
    results = []
    qpos = np.concatenate([[0, 0, 0.7, 1, 0, 0, 0], rng.uniform(-0.5, 0.5, plain.nq - 7)])
    for model in (plain, dressed):
        data = mujoco.MjData(model)
        data.qpos[:] = qpos
        for _ in range(5):
            mujoco.mj_step(model, data)
        mass = np.zeros((model.nv, model.nv))
        mujoco.mj_fullM(model, data, mass)
        results.append((mass, data.qpos.copy(), data.ncon))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert results[0][2] == results[1][2]


def test_drawn_geoms_touch_nothing():
    model = build_model(decorate=decorate)
    drawn = model.geom_group == GROUP
    assert drawn.sum() > 60
    assert not model.geom_contype[drawn].any()
    assert not model.geom_conaffinity[drawn].any()


def drawn_points(model, body):
    """Vertices drawn on a body, in its frame, (n, 3)."""
    points = []
    for geom in np.flatnonzero((model.geom_bodyid == model.body(body).id) & (model.geom_group == GROUP)):
        mesh = model.geom_dataid[geom]
        start = model.mesh_vertadr[mesh]
        vertices = model.mesh_vert[start : start + model.mesh_vertnum[mesh]]
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
        points.append(vertices @ rotation.reshape(3, 3).T + model.geom_pos[geom])
    return np.concatenate(points)


def test_racket_has_its_dimensions():
    points = drawn_points(build_model(decorate=decorate), "racket")
    assert np.ptp(points[:, 0]) == pytest.approx(RACKET.length, abs=0.004)
    assert np.ptp(points[:, 1]) == pytest.approx(2 * (RACKET.half_width + RACKET.frame), abs=0.004)
    assert points[:, 0].max() == pytest.approx(RACKET.half_length + RACKET.frame, abs=0.002)


def test_soles_stand_on_the_ground():
    model = build_model(decorate=decorate)
    for side in ("left", "right"):
        lowest = drawn_points(model, f"{side}_ankle_roll_link")[:, 2].min()
        assert lowest == pytest.approx(-0.035, abs=1e-6)


def test_left_and_right_mirror_each_other():
    model = build_model(racket=None, decorate=decorate)
    for link in ("knee_link", "elbow_link", "wrist_yaw_link", "shoulder_roll_link"):
        left = drawn_points(model, f"left_{link}") * [1, -1, 1]
        right = drawn_points(model, f"right_{link}")
        np.testing.assert_allclose(np.sort(left, axis=0), np.sort(right, axis=0), atol=1e-6)


def test_accent_tells_players_apart():
    model = build_model(decorate=decorator(ACCENTS["blue"]))
    np.testing.assert_allclose(model.material("accent").rgba[:3], ACCENTS["blue"], atol=1e-6)
