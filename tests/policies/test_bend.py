"""What waist and arm add to a stroke so that the racket is where it is wanted."""

import pytest
import torch

from humanoid.joints import READY_JOINT_POS
from humanoid.racket import ARM_JOINTS
from policies.bend import MOST_RAD, MOST_SPEED, SPAN_S, bend, bump
from policies.chain import racket_chain

CHAIN = racket_chain()
N = 40


@pytest.fixture(scope="module")
def arm():
    """Angles and speeds of a chain in full swing, (N, 10) each, around the ready pose."""
    generator = torch.Generator().manual_seed(0)
    ready = torch.as_tensor(READY_JOINT_POS[ARM_JOINTS].copy())
    return (
        ready + 0.4 * torch.randn(N, 10, generator=generator, dtype=torch.float64),
        4.0 * torch.randn(N, 10, generator=generator, dtype=torch.float64),
    )


def passes(angle, speed):
    """Place, velocity and face of the racket."""
    end, move, _ = CHAIN.jacobian(angle)
    return end.pos, (move @ speed[..., None])[..., 0], end.rot[..., 2]


def test_where_nothing_is_missed_nothing_is_added(arm):
    assert bend(CHAIN, *arm, *passes(*arm)).abs().max() < 1e-9


def test_small_misses_are_made_up_for(arm):
    generator = torch.Generator().manual_seed(1)

    def some(size):
        return size * torch.randn(N, 3, generator=generator, dtype=torch.float64)

    pos, vel, face = passes(*arm)
    wanted = pos + some(0.03), vel + some(0.5), torch.nn.functional.normalize(face + some(0.05), dim=1)
    more, quick = bend(CHAIN, *arm, *wanted).split(10, dim=1)
    now = passes(arm[0] + more, arm[1] + quick)
    for value, before, goal, share in zip(now, (pos, vel, face), wanted, (0.35, 0.5, 0.35), strict=True):
        assert (value - goal).norm(dim=1).median() < share * (before - goal).norm(dim=1).median()


def test_what_is_far_off_bends_no_joint_beyond_its_bounds(arm):
    pos, vel, face = passes(*arm)
    more, quick = bend(CHAIN, *arm, pos + 2.0, vel + 50.0, -face).split(10, dim=1)
    assert torch.isfinite(more).all()
    assert torch.isfinite(quick).all()
    assert more.abs().max() <= MOST_RAD
    assert quick.abs().max() <= MOST_SPEED


def test_the_trunk_bends_less_than_the_arm(arm):
    pos, vel, face = passes(*arm)
    more = bend(CHAIN, *arm, pos + 0.05, vel, face)[:, :10].abs().mean(0)
    assert more[:3].max() < 0.5 * more[3:].max()


def test_what_is_added_comes_and_goes_smoothly_around_the_strike():
    time = torch.linspace(-1.5 * SPAN_S, 1.5 * SPAN_S, 1201, dtype=torch.float64)
    share, lean, change, pace = bump(time)
    step = float(time[1] - time[0])
    for value, derivative in ((share, change), (lean, pace)):
        assert (value[time.abs() >= SPAN_S] == 0).all()
        assert (derivative[time.abs() >= SPAN_S].abs() < 1e-9).all()
        assert torch.allclose(
            torch.gradient(value, spacing=step)[0], derivative, atol=1e-2 * float(derivative.abs().max())
        )
    at = len(time) // 2
    # At the strike itself all of the angle and all of the speed, and neither changes the other.
    assert float(share[at]) == pytest.approx(1.0)
    assert float(pace[at]) == pytest.approx(1.0)
    assert abs(float(lean[at])) < 1e-9
    assert abs(float(change[at])) < 1e-9
