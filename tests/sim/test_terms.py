"""Terms by name: what is wrong is named."""

from types import SimpleNamespace

import pytest
import torch

from sim import return_terms, tracking_terms
from sim.terms import ObservationTerms, RewardTerms, TermError, TerminationTerms, TermTable


@pytest.fixture
def table():
    table = TermTable("test term")

    @table
    def one(state):
        """One."""
        return torch.ones(state.num_envs)

    @table
    def column(state):
        return torch.full((state.num_envs, 2), 3.0)

    @table
    def broken(state):
        value = torch.zeros(state.num_envs)
        value[2] = torch.nan
        return value

    @table
    def ended(state):
        return torch.arange(state.num_envs) == 1

    return table


STATE = SimpleNamespace(num_envs=4)


def test_rewards_are_a_weighted_sum(table):
    rewards = RewardTerms(table, {"one": 2.0})
    assert rewards(STATE).tolist() == [2.0] * 4
    assert rewards.values["one"].tolist() == [1.0] * 4


def test_weights_come_back_as_plain_values(table):
    assert RewardTerms(table, {"one": 2}).weights == {"one": 2.0}


def test_weight_zero_leaves_a_term_out(table):
    assert RewardTerms(table, {"one": 1.0, "broken": 0.0})(STATE).tolist() == [1.0] * 4


def test_an_unknown_term_is_named_with_the_known_ones(table):
    with pytest.raises(TermError, match=r"unknown test term 'two'; known are .*one"):
        RewardTerms(table, {"two": 1.0})


@pytest.mark.parametrize("weight", [float("nan"), "1", True, None])
def test_a_weight_must_be_a_number(table, weight):
    with pytest.raises(TermError, match="'one': weight"):
        RewardTerms(table, {"one": weight})


def test_a_wrong_shape_is_named(table):
    with pytest.raises(TermError, match=r"'column' returned shape \(4, 2\) .*expected \(4,\)"):
        RewardTerms(table, {"column": 1.0})(STATE)


def test_a_value_that_is_not_finite_is_named(table):
    with pytest.raises(TermError, match="'broken' is not finite in environment 2"):
        RewardTerms(table, {"one": 1.0, "broken": 1.0})(STATE)


def test_observations_stand_side_by_side(table):
    observations = ObservationTerms(table, ["column"])
    assert observations(STATE).shape == (4, 2)
    assert observations.sizes == {"column": 2}


def test_an_observation_without_columns_is_refused(table):
    with pytest.raises(TermError, match=r"'one' returned shape \(4,\)"):
        ObservationTerms(table, ["one"])(STATE)


def test_an_observation_cannot_be_named_twice(table):
    with pytest.raises(TermError, match="none twice"):
        ObservationTerms(table, ["column", "column"])


def test_any_termination_ends(table):
    terms = TerminationTerms(table, ["ended"])
    assert terms(STATE).tolist() == [False, True, False, False]


def test_a_termination_must_be_a_mask(table):
    with pytest.raises(TermError, match="'one' returned shape"):
        TerminationTerms(table, ["one"])(STATE)


def test_a_term_is_defined_once(table):
    with pytest.raises(TermError, match="twice"):
        table(table["one"])


@pytest.mark.parametrize("module", [tracking_terms, return_terms])
def test_every_term_says_what_it_is(module):
    for kind in ("REWARDS", "TERMINATIONS"):
        assert all(getattr(module, kind).describe().values())


def test_rotation_between_is_the_turn():
    half = torch.tensor(0.3)
    turned = torch.stack((torch.cos(half), torch.sin(half), torch.tensor(0.0), torch.tensor(0.0)))
    level = torch.tensor([1.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(tracking_terms.rotation_between(level, turned), torch.tensor([0.6, 0.0, 0.0]))
    torch.testing.assert_close(tracking_terms.rotation_between(level, -turned), torch.tensor([0.6, 0.0, 0.0]))


def test_turn_into_undoes_the_pelvis_rotation():
    half = torch.tensor(torch.pi / 4)
    yawed = torch.stack((torch.cos(half), torch.tensor(0.0), torch.tensor(0.0), torch.sin(half)))
    torch.testing.assert_close(
        tracking_terms.turn_into(yawed, torch.tensor([0.0, 1.0, 0.0])),
        torch.tensor([1.0, 0.0, 0.0]),
        atol=1e-6,
        rtol=0,
    )
