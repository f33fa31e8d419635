"""Court dimensions and who is in."""

import pytest
import torch

from sim import court


def test_the_court_has_the_itf_dimensions():
    assert court.LENGTH == 23.77
    assert court.SINGLES_WIDTH == 8.23
    assert court.DOUBLES_WIDTH == 10.97
    assert court.SERVICE_LINE == 6.40


def test_net_is_lowest_at_the_strap_and_full_height_at_the_sticks():
    y = torch.tensor([0.0, 0.5, -0.5, court.SINGLES_STICK, court.NET_END])
    height = court.net_height(y)
    assert height[0].item() == pytest.approx(0.914)
    assert height[1] == height[2]
    assert 0.914 < height[1] < 1.07
    assert height[3].item() == pytest.approx(1.07)
    assert height[4].item() == pytest.approx(1.07)


def test_lines_are_in_and_beyond_them_is_out():
    line_corner = [court.HALF_LENGTH, court.SINGLES_HALF_WIDTH]
    points = torch.tensor(
        [line_corner, [11.9, 0.0], [5.0, 4.2], [5.0, -4.0], [-5.0, 0.0]], dtype=torch.float64
    )
    assert court.in_singles_court(points, "far").tolist() == [True, False, False, True, False]
    assert court.in_doubles_court(points, "far").tolist() == [True, False, True, True, False]


def test_margin_counts_a_ball_that_touches_the_line_with_its_edge():
    point = torch.tensor([[-(court.HALF_LENGTH + 0.02), 0.0, 0.03]])
    assert not court.in_singles_court(point, "near").item()
    assert court.in_singles_court(point, "near", margin=0.03).item()


def test_halves_are_mirror_images():
    points = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * 8
    mirrored = points * torch.tensor([-1.0, -1.0, 1.0])
    assert torch.equal(court.in_singles_court(points, "far"), court.in_singles_court(mirrored, "near"))
    for side in ("deuce", "ad"):
        assert torch.equal(
            court.in_service_box(points, "far", side), court.in_service_box(mirrored, "near", side)
        )


def test_the_near_deuce_box_is_on_the_players_right():
    right = torch.tensor([[-3.0, -2.0]])
    assert court.in_service_box(right, "near", "deuce").item()
    assert not court.in_service_box(right, "near", "ad").item()
    assert not court.in_service_box(torch.tensor([[-6.5, -2.0]]), "near", "deuce").item()


def test_a_half_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="'left'"):
        court.in_singles_court(torch.zeros(1, 2), "left")  # type: ignore[arg-type]


def test_drawn_lines_bound_the_courts():
    lines = court.line_segments()
    assert lines["near baseline"][0] == (-court.HALF_LENGTH, -court.DOUBLES_HALF_WIDTH)
    assert lines["left singles sideline"] == (
        (-court.HALF_LENGTH, court.SINGLES_HALF_WIDTH),
        (court.HALF_LENGTH, court.SINGLES_HALF_WIDTH),
    )
