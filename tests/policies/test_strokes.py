"""Stroke families: their files, their polynomials, and what the shipped ones say."""

import numpy as np
import pytest
import torch

from humanoid.balance import ready_height
from humanoid.joints import JOINT_NAMES, LOWER, NUM_JOINTS, READY_JOINT_POS, UPPER, VELOCITY_LIMIT
from humanoid.model import build_model
from humanoid.motion import MotionError
from policies.chain import foot_chain, racket_chain
from policies.strokes import (
    COLUMNS,
    FEATURES,
    GOAL_SIZE,
    KINDS,
    KNOTS,
    NUM_COLUMNS,
    OUTERMOST,
    change_family,
    features,
    load_strokes,
    provenance,
    save_family,
    stroke_names,
)

SOURCE = {"name": "nobody", "licence": "CC0", "attribution": "none needed"}


def family(frames: int = 6, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays of a family of nonsense."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((GOAL_SIZE, GOAL_SIZE))
    return {
        "weights": rng.standard_normal((frames, FEATURES, NUM_COLUMNS)).astype(np.float32),
        "lead": np.zeros((FEATURES, GOAL_SIZE), dtype=np.float32),
        "knots": np.zeros((KNOTS, GOAL_SIZE), dtype=np.float32),
        "bells": np.zeros((KNOTS, GOAL_SIZE), dtype=np.float32),
        "centre": rng.standard_normal(GOAL_SIZE),
        "scale": rng.uniform(0.1, 2.0, GOAL_SIZE),
        "spread": root @ root.T + np.eye(GOAL_SIZE),
        "low": np.array([-0.2, -1.0, 0.5]),
        "high": np.array([0.3, -0.4, 1.2]),
        "axis": np.array([0.0, -1.0, 0.0]),
        "strike": np.array(3),
        "end": np.array(frames - 1),
        "face": np.array(1.0),
        "fps": np.array(50.0),
    }


@pytest.fixture
def folder(tmp_path):
    """A folder with a forehand and a backhand."""
    for seed, kind in enumerate(KINDS):
        save_family(tmp_path / f"{kind}.npz", family(seed=seed), SOURCE)
    return tmp_path


def test_a_change_leaves_the_rest_of_a_family_as_it_was(folder):
    before = dict(np.load(folder / "forehand.npz"))
    change_family(
        "forehand", folder, {"bells": np.ones((KNOTS, GOAL_SIZE), dtype=np.float32)}, {"strikes": 3}
    )
    after = dict(np.load(folder / "forehand.npz"))
    assert set(after) == set(before)
    changed = {key for key in before if not np.array_equal(before[key], after[key])}
    assert changed == {"bells", "provenance"}
    assert provenance("forehand", folder) == {**SOURCE, "design": {"strikes": 3}}


def columns(strokes, kind: int, scaled: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a family says for scaled goals (N, GOAL_SIZE): (N, T, ...) by column."""
    said = torch.einsum("nf,tfc->ntc", features(scaled), strokes.weights[kind])
    return dict(zip(COLUMNS, said.split(list(COLUMNS.values()), dim=2), strict=True))


# Polynomials


def test_features_are_one_the_goal_its_products_and_those_of_places_and_velocities():
    u = torch.randn(5, GOAL_SIZE)
    products = [u[:, i] * u[:, j] for i in range(GOAL_SIZE) for j in range(i, GOAL_SIZE)]
    places = [u[:, i] * u[:, j] * u[:, k] for i in range(3) for j in range(i, 3) for k in range(j, 3)]
    mixed = [u[:, i] * u[:, j] * u[:, k] for i in range(3) for j in range(i, 3) for k in range(3, 6)]
    expected = torch.cat((torch.ones(5, 1), u, torch.stack(products + places + mixed, dim=1)), dim=1)
    assert expected.shape[1] == FEATURES
    torch.testing.assert_close(features(u), expected)


def test_a_goal_is_scaled_and_its_distance_is_mahalanobis(folder):
    strokes, rng = load_strokes(folder=folder), np.random.default_rng(4)
    goal = rng.standard_normal((2, 9)).astype(np.float32)
    kinds = torch.tensor([0, 1])
    scaled = strokes.scaled(kinds, *(torch.as_tensor(goal[:, a : a + 3]) for a in (0, 3, 6)))
    distance = strokes.distance(kinds, scaled)
    for k in range(2):
        own = family(seed=k)
        u = (np.delete(goal[k], 6) - own["centre"]) / own["scale"]
        np.testing.assert_allclose(scaled[k], u, rtol=1e-4, atol=1e-4)
        assert float(distance[k]) == pytest.approx(np.sqrt(u @ own["spread"] @ u), rel=1e-4)


# Files


def test_what_is_saved_is_loaded(folder):
    strokes = load_strokes(folder=folder)
    assert strokes.names == KINDS
    assert strokes.weights.shape == (2, 6, FEATURES, NUM_COLUMNS)
    assert strokes.strike.tolist() == [3, 3]
    assert strokes.end.tolist() == [5, 5]
    for k in range(2):
        own = family(seed=k)
        for key in ("centre", "scale", "spread", "low", "high", "axis", "face"):
            np.testing.assert_allclose(getattr(strokes, key)[k], own[key], rtol=1e-6)
        # All but the pelvis's height is as it was.
        kept = np.delete(np.arange(NUM_COLUMNS), 2)
        np.testing.assert_array_equal(strokes.weights[k][..., kept], own["weights"][..., kept])


def test_the_pelvis_begins_where_the_simulated_robots_is(folder):
    weights = load_strokes(folder=folder).weights
    given = family()["weights"]
    assert float(weights[0, 0, 0, 2]) == pytest.approx(ready_height(build_model()), abs=1e-6)
    lifted = (weights[0, :, :, 2] - torch.as_tensor(given[:, :, 2])).numpy()
    np.testing.assert_allclose(lifted[:, 0], lifted[0, 0], atol=1e-6)
    np.testing.assert_allclose(lifted[:, 1:], 0.0, atol=1e-6)


def test_names_are_the_families_that_are_there_forehand_first(folder):
    (folder / "notes.npz").write_bytes(b"")
    assert stroke_names(folder) == ("forehand", "backhand")
    (folder / "forehand.npz").unlink()
    assert stroke_names(folder) == ("backhand",)


def test_families_come_in_the_order_asked_for(folder):
    strokes = load_strokes(("backhand", "forehand"), folder)
    assert strokes.names == ("backhand", "forehand")
    np.testing.assert_allclose(strokes.centre[0], family(seed=1)["centre"], rtol=1e-6)


def test_provenance_is_what_was_written(folder):
    assert provenance("forehand", folder) == SOURCE


def test_a_missing_family_is_named_with_those_there_are(folder):
    with pytest.raises(MotionError, match=r"serve_99\.npz: no such strokes.*has: forehand, backhand"):
        load_strokes(("serve_99",), folder)


def test_an_empty_folder_says_how_to_fill_it(tmp_path):
    with pytest.raises(MotionError, match=r"holds no strokes; rebuild them with python -m policies\.design"):
        load_strokes(folder=tmp_path)


def test_a_family_of_another_rate_is_refused(folder):
    with pytest.raises(MotionError, match=r"forehand\.npz: has 50 Hz; a player at 100 Hz"):
        load_strokes(folder=folder, dt=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joint_names": np.array(JOINT_NAMES[::-1])}, "joints or columns are not this robot's"),
        ({"columns": np.array(["torque", "root_pos"])}, "joints or columns are not this robot's"),
        ({"weights": np.zeros((6, FEATURES, 3))}, r"table of shape \(6, 73, 3\) is damaged"),
        ({"weights": np.full((6, FEATURES, NUM_COLUMNS), np.nan)}, "is damaged"),
        ({"weights": None}, "cannot be read.*weights.*rebuild it"),
        ({"centre": None}, "cannot be read.*centre.*rebuild it"),
    ],
)
def test_a_family_that_is_not_this_robots_is_refused(folder, change, message):
    file = folder / "backhand.npz"
    with np.load(file) as data:
        arrays = {**data, **change}
    np.savez(file, **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(MotionError, match=rf"backhand\.npz: .*{message}"):
        load_strokes(folder=folder)


@pytest.mark.parametrize("kept", [0, 10, 5000])
def test_half_a_file_is_refused(folder, kept):
    file = folder / "forehand.npz"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(MotionError, match=r"forehand\.npz: cannot be read .*fetch it anew"):
        load_strokes(folder=folder)


# What ships


def test_a_forehand_and_a_backhand_ship(strokes):
    assert strokes.names == ("forehand", "backhand")
    assert strokes.face.tolist() == [1.0, -1.0]
    assert ((strokes.strike > 0) & (strokes.strike < strokes.end)).all()
    assert (strokes.end < strokes.weights.shape[1]).all()


def test_forehands_are_on_the_right_and_backhands_on_the_left(strokes):
    assert strokes.high[0, 1] < 0 < strokes.low[1, 1]
    centre = strokes.centre[:, :3]
    assert ((centre > strokes.low) & (centre < strokes.high)).all()
    # Forward, and the face forward and open, as for a ball that shall rise over the net.
    assert (strokes.centre[:, 3] > 5.0).all()
    assert (strokes.centre[:, 7] > 0.0).all()


def test_every_stroke_begins_and_ends_at_rest_in_the_ready_pose(strokes):
    ends = strokes.weights[torch.arange(2)[:, None], torch.stack((torch.zeros(2).long(), strokes.end), 1)]
    assert (ends[:, :, 1:] == 0).all(), "whatever the goal"
    said = dict(zip(COLUMNS, ends[:, :, 0].split(list(COLUMNS.values()), dim=2), strict=True))
    for name in ("root_lin_vel", "heading_rate", "joint_vel"):
        assert (said[name] == 0).all(), name
    # Flat soles need a few degrees of the legs.
    ready = torch.as_tensor(READY_JOINT_POS.copy(), dtype=torch.float32)
    assert (said["joint_pos"] - ready).abs().max() < 0.06
    assert said["root_pos"][..., :2].abs().max() < 0.01
    assert said["heading"].abs().max() < 1e-3


@pytest.mark.parametrize("kind", [0, 1])
def test_velocities_are_those_of_the_positions(strokes, goals_of, kind):
    stroke, *goal = goals_of(2.0, 10)
    said = columns(strokes, kind, strokes.scaled(stroke, *goal)[stroke == kind])
    for value, rate in (
        ("joint_pos", "joint_vel"), ("heading", "heading_rate"), ("root_pos", "root_lin_vel")
    ):  # fmt: skip
        moved = (said[value][:, 2:] - said[value][:, :-2]) / (2 * strokes.dt)
        # The pelvis's velocity is that of a screw motion between two frames.
        assert (said[rate][:, 1:-1] - moved).abs().max() < 0.03


@pytest.mark.parametrize("kind", [0, 1])
def test_strokes_for_usual_goals_are_within_the_robots_limits(strokes, goals_of, kind):
    stroke, *goal = goals_of(1.5, 30)
    said = columns(strokes, kind, strokes.scaled(stroke, *goal)[stroke == kind])
    lower, upper, fastest = (torch.as_tensor(a.copy()).float() for a in (LOWER, UPPER, VELOCITY_LIMIT))
    assert (said["joint_pos"] - upper).max() < 0.05
    assert (lower - said["joint_pos"]).max() < 0.05
    assert (said["joint_vel"].abs() / fastest).max() < 1.0


@pytest.mark.parametrize("kind", [0, 1])
def test_strokes_for_usual_goals_keep_the_feet_where_they_are(strokes, goals_of, kind):
    stroke, *goal = goals_of(1.5, 30)
    said = columns(strokes, kind, strokes.scaled(stroke, *goal)[stroke == kind])
    heading, root = said["heading"][..., 0], said["root_pos"]
    for side in ("left", "right"):
        foot = foot_chain(side)
        x, y, z = foot.forward(said["joint_pos"].reshape(-1, NUM_JOINTS)[:, foot.index]).pos.unbind(1)
        x, y, z = (v.view(heading.shape) for v in (x, y, z))
        cos, sin = heading.cos(), heading.sin()
        place = root + torch.stack((cos * x - sin * y, sin * x + cos * y, z), dim=2)
        assert (place - place[:, :1]).norm(dim=2).max() < 0.03


@pytest.mark.parametrize("kind", [0, 1])
def test_the_racket_passes_near_the_goal(strokes, goals_of, kind):
    """Near, not through: a stroke asks for what it takes to deliver the goal in spite of lag."""
    stroke, pos, vel, normal = (value[5 * kind : 5 * kind + 5] for value in goals_of(1.5, 5))
    said = columns(strokes, kind, strokes.scaled(stroke, pos, vel, normal))
    chain, strike = racket_chain(), int(strokes.strike[kind])

    def racket(frame: int) -> tuple[torch.Tensor, torch.Tensor]:
        place = chain.forward(said["joint_pos"][:, frame, chain.index])
        heading = said["heading"][:, frame, 0]
        cos, sin, zero = heading.cos(), heading.sin(), torch.zeros(5)
        turn = torch.stack((cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1), dim=1).view(-1, 3, 3)
        at = said["root_pos"][:, frame] + (turn @ place.pos[..., None])[..., 0]
        return at, strokes.face[kind] * (turn @ place.rot)[..., 2]

    at, face = racket(strike)
    moving = (racket(strike + 1)[0] - racket(strike - 1)[0]) / (2 * strokes.dt)
    assert (at - pos).norm(dim=1).max() < 0.1
    assert (face * normal).sum(1).min() > np.cos(np.radians(12))
    assert (moving - vel).norm(dim=1).max() < 0.25 * vel.norm(dim=1).min()


# Goals drawn in


@pytest.fixture(scope="module")
def shipped():
    return load_strokes()


def scattered(strokes, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Families and scaled goals, `share` times as far as what a unit normal law gives."""
    generator = torch.Generator().manual_seed(3)
    goals = share * torch.randn(40, GOAL_SIZE, generator=generator)
    return torch.arange(40) % strokes.num_strokes, goals


def test_a_goal_within_the_limit_is_left_alone(shipped):
    stroke, goals = scattered(shipped, 0.1)
    limit = float(shipped.distance(stroke, goals).max()) + 0.1
    torch.testing.assert_close(shipped.within(stroke, goals, limit), goals)


def test_velocity_and_face_are_drawn_in_and_the_place_is_kept(shipped):
    stroke, goals = scattered(shipped, 1.0)
    goals[:, 3:] *= 5.0
    drawn = shipped.within(stroke, goals, 3.0)
    moderate = shipped.distance(stroke, shipped.within(stroke, goals, 0.0)) < 2.9
    assert moderate.sum() > 10
    torch.testing.assert_close(drawn[moderate, :3], goals[moderate, :3])
    torch.testing.assert_close(
        shipped.distance(stroke, drawn)[moderate], torch.full((int(moderate.sum()),), 3.0), atol=1e-3, rtol=0
    )


def test_the_place_decides_what_velocity_and_face_are_drawn_to(shipped):
    """The nearest goal with that place: any other velocity or face is farther."""
    stroke, goals = scattered(shipped, 1.0)
    nearest = shipped.within(stroke, goals, 0.0)
    least = shipped.distance(stroke, nearest)
    generator = torch.Generator().manual_seed(4)
    other = nearest.clone()
    other[:, 3:] += 2.0 * torch.randn(40, GOAL_SIZE - 3, generator=generator)
    assert (shipped.distance(stroke, other) > least - 0.05).all()


def test_no_goal_is_followed_beyond_all_places(shipped):
    stroke, goals = scattered(shipped, 30.0)
    assert shipped.distance(stroke, shipped.within(stroke, goals, 2.5)).max() < OUTERMOST + 0.2
