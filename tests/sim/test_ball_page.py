"""The ball's page: its plots can be drawn, are there, and are small."""

from pathlib import Path

import pytest

from sim import ball_page
from sim.bounce import SURFACES, measured_pace, on_surface

DOCS = Path(ball_page.__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", ["strings", "returns"])
def test_a_plot_can_be_drawn_anew(tmp_path, name, monkeypatch, capsys):
    monkeypatch.setattr(ball_page, "DPI", 20)
    assert ball_page.main(["--output", str(tmp_path), "--only", name]) == 0
    assert (tmp_path / f"{name}.png").stat().st_size > 1000
    assert f"{name}.png" in capsys.readouterr().out


def test_the_page_shows_every_plot_and_they_are_small():
    text = (DOCS / "ball.md").read_text(encoding="utf-8")
    for name in ball_page.PAGES:
        assert f"(ball/{name}.png)" in text
    assert sum(path.stat().st_size for path in (DOCS / "ball").glob("*.png")) < 300_000


def test_the_pages_table_of_courts_is_the_codes():
    text = (DOCS / "ball.md").read_text(encoding="utf-8")
    for name, surface in SURFACES.items():
        line = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        cells = [cell.strip() for cell in line.split("|")][2:-1]
        assert float(cells[0]) == surface.pace
        assert float(cells[2]) == surface.restitution
        assert float(cells[3]) == pytest.approx(surface.friction, abs=1e-9)
        found = measured_pace(on_surface(ball_page.PARAMS, name)).item()
        assert float(cells[4]) == pytest.approx(found, abs=0.05)


def test_the_default_ball_passes_the_drop_test_as_the_page_says():
    assert ball_page.drop_rebound(0.77) == pytest.approx(1.39, abs=0.005)
