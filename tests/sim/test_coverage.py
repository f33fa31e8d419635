"""Coverage: figures with known answers, and the command."""

import numpy as np
import pytest
import torch
from scipy.stats import qmc

from sim.coverage import SPACES, coverage, discrepancy, main, survey, text
from sim.launch_distribution import DIMS, LaunchMixture
from sim.launcher import Launcher

GRID = np.stack(np.meshgrid(*[(np.arange(100) + 0.5) / 100] * 2), axis=-1).reshape(-1, 2)


@pytest.fixture(scope="module")
def found():
    return survey(Launcher("rally"), 200)


def test_draws_everywhere_cover_everything():
    found = coverage(GRID, GRID)
    assert (found.occupied, found.discrepancy) == (1.0, 0.0)


def test_draws_in_one_half_cover_half():
    half = GRID[GRID[:, 0] < 0.5]
    found = coverage(half, GRID)
    assert found.occupied == pytest.approx(0.5, abs=0.02)
    assert found.discrepancy == pytest.approx(0.5, abs=0.01)


def test_discrepancy_agrees_with_scipy():
    """In the unit square, where the reference is known, with the plain star discrepancy."""
    points = np.random.default_rng(3).random((60, 2))
    ours = discrepancy(points, GRID)
    # Exact: the corners that matter have coordinates of the points.
    xs, ys = np.meshgrid(np.append(points[:, 0], 1.0), np.append(points[:, 1], 1.0))
    closed = ((points[:, 0] <= xs[..., None]) & (points[:, 1] <= ys[..., None])).mean(axis=-1)
    opened = ((points[:, 0] < xs[..., None]) & (points[:, 1] < ys[..., None])).mean(axis=-1)
    exact = max(np.abs(closed - xs * ys).max(), np.abs(opened - xs * ys).max())
    assert 0.85 * exact < ours <= exact + 0.01


def test_a_sobol_sequence_is_more_even_than_chance():
    chance = np.random.default_rng(0).random((256, 2))
    sobol = qmc.Sobol(2, seed=0).random(256)
    ours, theirs = coverage(chance, GRID), coverage(sobol, GRID)
    assert theirs.discrepancy < 0.5 * ours.discrepancy
    assert theirs.occupied >= ours.occupied


def test_cells_without_feasible_balls_do_not_count():
    """Of ten by ten cells a disc leaves out the corners; a cell it cuts a little of may hold no draw."""
    disc = GRID[np.linalg.norm(GRID - 0.5, axis=1) < 0.5]
    found = coverage(np.random.default_rng(0).permutation(disc)[:400], disc)
    assert found.cells == 88
    assert coverage(np.random.default_rng(0).permutation(GRID)[:400], GRID).cells == 100


def test_too_few_draws_for_any_cell_have_no_share():
    points = np.random.default_rng(0).random((5000, 10))
    assert coverage(points[:100], points).occupied is None


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="draws"):
        coverage(np.zeros((0, 2)), GRID)


def test_even_launches_are_more_even_than_plain_ones(found):
    rows = found.rows()
    assert list(rows) == list(SPACES)
    for name in ("release point", "speed, spin"):
        plain, even = rows[name]
        assert even.discrepancy < 0.7 * plain.discrepancy
        assert even.occupied > 0.9


def test_plain_launches_fill_the_feasible_space(found):
    for plain, _ in found.rows().values():
        assert plain.occupied is None or plain.occupied > 0.7
        assert plain.discrepancy < 0.12


def test_a_narrow_distribution_shows(found):
    """Draws in a corner hold few cells: the figures can tell."""
    corner = LaunchMixture.around(torch.full((1, DIMS), 0.8), width=0.05, explore=0.0)
    drawn = Launcher("rally", distribution=corner).draw(200, torch.Generator().manual_seed(0))
    narrow = type(found)(drawn, found.even, found.reference).rows()
    assert narrow["meeting point"][0].occupied < 0.2
    assert narrow["release point"][0].discrepancy > 0.4


def test_the_tables_name_every_space(found):
    page = text(found)
    for name in (*SPACES, "release_x", "direction"):
        assert name in page
    assert "nan" not in page


def test_the_command_prints_and_draws(tmp_path, capsys):
    picture = tmp_path / "rally.png"
    assert main(["--level", "rally", "--balls", "40", "--plot", str(picture)]) == 0
    assert "bounce point" in capsys.readouterr().out
    assert picture.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("wrong", [["--balls", "0"], ["--launches", "none.npz"], ["--level", "odd"]])
def test_mistakes_end_with_one_line(wrong, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--balls", "8", *wrong])
    assert stop.value.code == 2
    assert wrong[1] in capsys.readouterr().err
