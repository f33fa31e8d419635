"""What the net does to a ball."""

import pytest
import torch

from sim.ball_sim import BallSim
from sim.court import NET_CENTRE_HEIGHT, NET_END
from sim.net import BAND_DEPTH, net_contact, net_gap

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


def rally_at_the_net(heights, speed=20.0, rise=0.0):
    """Balls that reach the middle of the net at `heights` of their centre over the cord: where they end up, m."""
    n = len(heights)
    sim = BallSim(n, dtype=F64)
    pos = torch.tensor([[-0.2, 0.0, 0.0]], dtype=F64).repeat(n, 1)
    pos[:, 2] = NET_CENTRE_HEIGHT + torch.tensor(heights, dtype=F64) - rise * 0.2 / speed
    sim.reset(torch.arange(n), pos, torch.tensor([[speed, 0.0, rise]], dtype=F64).repeat(n, 1))
    touched = torch.zeros(n, dtype=torch.bool)
    for _ in range(300):
        touched |= sim.step(0.005).net
    assert sim.unresolved.sum() == 0
    return touched, sim.state.pos[:, 0]


def test_mesh_band_and_cord_let_a_ball_go_ever_farther():
    """The same ball dies in the mesh, falls back from the band, goes over the cord and passes above it."""
    touched, x = rally_at_the_net([-0.3, -0.03, 0.031, 0.06])
    assert touched.tolist() == [True, True, True, False]
    assert -1.5 < x[0] < 0
    assert x[1] < 2 * x[0]
    assert x[2] > 3
    assert x[3] > x[2]


def test_a_let_cord_goes_over_the_higher_the_surer():
    heights = torch.linspace(0.005, 0.033, 15).tolist()
    touched, x = rally_at_the_net(heights)
    over = x > 0
    assert touched.all()
    assert not over[0]
    assert over[-1]
    first = int(over.to(torch.int8).argmax())
    assert over[first:].all()
    assert not over[:first].any()


@pytest.mark.parametrize("speed", [5.0, 15.0, 30.0, 60.0])
def test_no_ball_below_the_cord_goes_through_or_over(speed):
    heights = torch.linspace(-0.8, -0.04, 40).tolist()
    touched, x = rally_at_the_net(heights, speed)
    assert (x < 0).all()
    assert touched.all()


def test_the_band_is_livelier_than_the_mesh_and_deader_than_the_cord():
    speeds = []
    for above in (-BAND_DEPTH - 0.01, -BAND_DEPTH + 0.01, 1e-6):
        vel, _ = contact((-0.0335, 0.0, NET_CENTRE_HEIGHT + above), (20.0, 0.0, 0.0))
        speeds.append(-vel[0].item())
    assert 0 < speeds[0] < speeds[1] < speeds[2] < 20


def test_no_part_of_the_net_makes_energy():
    g = torch.Generator().manual_seed(0)
    n = 2000
    pos = torch.rand(n, 3, generator=g, dtype=F64) * torch.tensor([0.06, 10.0, 1.05]) - torch.tensor(
        [0.03, 5.0, 0.0]
    )
    vel, spin = (
        torch.randn(n, 3, generator=g, dtype=F64) * 15,
        torch.randn(n, 3, generator=g, dtype=F64) * 200,
    )
    after, turned = net_contact(pos, vel, spin)
    assert (after.norm(dim=-1) <= vel.norm(dim=-1) + 1e-9).all()
    assert (turned.norm(dim=-1) <= spin.norm(dim=-1)).all()
