"""Observation layouts: known terms, complete columns, refusals by name."""

import numpy as np
import pytest

from humanoid.observation import TERMS, Layout, ObservationError, neutral_values


def test_columns_follow_the_order_of_the_names():
    layout = Layout.of(["ball_pos", "joint_pos", "ball_valid"])
    assert [(term.name, term.start, term.size) for term in layout.terms] == [
        ("ball_pos", 0, 3),
        ("joint_pos", 3, 29),
        ("ball_valid", 32, 1),
    ]
    assert layout.size == 33


def test_layout_survives_its_json_form():
    layout = Layout.of(list(TERMS), {"joint_vel": 0.05})
    assert Layout.from_dict(layout.to_dict()) == layout


def test_assemble_puts_scaled_values_into_their_columns():
    layout = Layout.of(["ball_vel", "target"], {"ball_vel": 0.1})
    values = {"ball_vel": np.array([[10.0, 20.0, 30.0]]), "target": np.array([[8.0, -1.0]]), "spare": None}
    observation = layout.assemble(values)
    assert observation.dtype == np.float32
    np.testing.assert_allclose(observation, [[1.0, 2.0, 3.0, 8.0, -1.0]], rtol=1e-6)


def test_neutral_values_fill_every_known_term():
    values = neutral_values(3)
    assert Layout.of(list(TERMS)).assemble(values).shape == (3, sum(term.size for term in TERMS.values()))


def test_missing_names_what_the_robot_does_not_supply():
    assert Layout.of(["joint_pos", "ball_pos"]).missing(["joint_pos"]) == ("ball_pos",)


def test_unknown_term_is_refused_by_name():
    with pytest.raises(ObservationError, match="'ball_spin'"):
        Layout.of(["joint_pos", "ball_spin"])


def test_scale_for_a_term_not_there_is_refused():
    with pytest.raises(ObservationError, match="ball_vel"):
        Layout.of(["joint_pos"], {"ball_vel": 0.1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 28}, "'joint_pos' has size 28"),
        ({"start": 1}, "starts at column 1, expected 0"),
        ({"history": 3}, "history of 3"),
        ({"scale": float("nan")}, "scale nan"),
        ({"scale": "big"}, "term 0 is malformed"),
        ({"unit": "deg"}, "unit 'deg'"),
        ({"name": "joint_angles"}, "'joint_angles'"),
        ({"size": True}, "malformed"),
    ],
)
def test_wrong_entries_are_refused_with_the_reason(change, message):
    data = Layout.of(["joint_pos", "target"]).to_dict()
    data["terms"][0] |= change
    with pytest.raises(ObservationError, match=message):
        Layout.from_dict(data)


def test_total_size_must_match_the_terms():
    data = Layout.of(["joint_pos"]).to_dict() | {"size": 160}
    with pytest.raises(ObservationError, match=r"160.*29"):
        Layout.from_dict(data)


def test_repeated_term_is_refused():
    with pytest.raises(ObservationError, match="twice"):
        Layout.of(["target", "target"])


@pytest.mark.parametrize("data", [None, [], {"size": 1}, {"terms": {}}, {"size": 29, "terms": [None]}])
def test_malformed_layouts_are_refused(data):
    with pytest.raises(ObservationError):
        Layout.from_dict(data)


def test_values_that_are_missing_or_misshapen_are_refused_by_name():
    layout = Layout.of(["target", "ball_pos"])
    with pytest.raises(ObservationError, match="'ball_pos' is not supplied"):
        layout.assemble({"target": np.zeros((1, 2))})
    with pytest.raises(ObservationError, match="'ball_pos' has shape"):
        layout.assemble({"target": np.zeros((1, 2)), "ball_pos": np.zeros((2, 3))})
