"""What the net does to a ball."""

import pytest
import torch

from sim.court import NET_END
from sim.net import net_contact, net_gap

F64 = torch.float64


def contact(pos, vel):
    out, spin = net_contact(
        torch.tensor([pos], dtype=F64), torch.tensor([vel], dtype=F64), torch.ones(1, 3, dtype=F64)
    )
    return out[0], spin[0]


def test_distance_is_from_the_sheet_below_the_cord_and_from_the_cord_above_it():
    points = torch.tensor(
        [[-0.5, 0.0, 0.4], [-0.3, 0.0, 0.914 + 0.4], [0.0, 0.0, 1.0], [0.0, NET_END + 0.1, 0.5]], dtype=F64
    )
    distance, above = net_gap(points)
    assert distance[:3].tolist() == pytest.approx([0.5, 0.5, 0.086])
    assert torch.isinf(distance[3])
    assert (above > 0).tolist() == [False, True, True, False]


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_ball_in_the_mesh_dies_on_its_own_side(side):
    vel, spin = contact((side * 0.0335, 1.0, 0.5), (-side * 30.0, 2.0, 3.0))
    assert 0 < side * vel[0].item() < 3.0
    assert vel.norm() < 3.5
    assert spin.norm() < 1


def test_the_cord_sends_a_ball_off_along_its_normal_and_takes_energy():
    vel, _ = contact((-0.02, 0.0, 0.914 + 0.0269), (20.0, 0.0, 0.0))
    assert vel[2] > 2, "clipped from below its centre, it hops up"
    assert 0 < vel.norm() < 20


def test_a_ball_that_leaves_is_not_held():
    vel, _ = contact((-0.0335, 0.0, 0.5), (-5.0, 0.0, 0.0))
    assert vel[0].item() == pytest.approx(-5.0)
