"""Noisy senses: sizes of the noise, latency, lost frames, and the velocity that is estimated."""

import pytest
import torch

from sim.observation_noise import (
    GRAVITY,
    BallTracker,
    DelayLine,
    NoiseConfig,
    NoisySenses,
    TrackerConfig,
    turn,
)
from sim.return_task import TERMS

DT = 0.02
QUIET = NoiseConfig(
    joint_pos=0.0,
    joint_vel=0.0,
    base_ang_vel=0.0,
    root_quat=0.0,
    root_pos=0.0,
    root_lin_vel=0.0,
    root_pos_bias=0.0,
    ball_pos=0.0,
    latency=(0.0, 0.0),
    dropout=0.0,
    min_frames=1,
)


def flight(t, speed=-15.0):
    """Position and velocity of a ball without drag at time t, s."""
    pos = torch.tensor([9.0 + speed * t, 0.5 * t, 1.5 + 4.0 * t - 0.5 * GRAVITY * t * t])
    return pos, torch.tensor([speed, 0.5, 4.0 - GRAVITY * t])


def terms(n=4, ball=None):
    result = {name: torch.zeros(n, size) for name, size in TERMS.items()}
    result["root_quat"][:, 0] = 1.0
    if ball is not None:
        result["ball_pos"], result["ball_vel"] = ball[0].repeat(n, 1), ball[1].repeat(n, 1)
        result["ball_valid"] = torch.ones(n, 1)
    return result


def senses(config, n=4, seed=0):
    return NoisySenses(n, DT, torch.Generator().manual_seed(seed), config)


def test_without_noise_everything_is_as_it_is():
    quiet = senses(QUIET)
    for step in range(20):
        true = terms(ball=flight(step * DT))
        seen = quiet(true)
    for name in TERMS:
        torch.testing.assert_close(seen[name], true[name], atol=2e-3, rtol=0.0)


@pytest.mark.parametrize("name", ["joint_pos", "joint_vel", "base_ang_vel", "root_lin_vel"])
def test_noise_has_the_size_asked_for(name):
    config = NoiseConfig(**{**vars(QUIET), name: 0.2})
    seen = senses(config, 4000)(terms(4000))
    assert seen[name].std() == pytest.approx(0.2, rel=0.05)
    assert abs(seen[name].mean()) < 0.01


def test_orientation_noise_is_a_small_rotation():
    config = NoiseConfig(**{**vars(QUIET), "root_quat": 0.05})
    quat = senses(config, 4000)(terms(4000))["root_quat"]
    torch.testing.assert_close(quat.norm(dim=1), torch.ones(4000))
    angle = 2 * quat[:, 1:].norm(dim=1)
    assert angle.square().mean().sqrt() == pytest.approx(0.05 * 3**0.5, rel=0.05)


def test_bias_stays_within_an_episode():
    config = NoiseConfig(**{**vars(QUIET), "root_pos_bias": 0.1})
    noisy = senses(config)
    first, second = noisy(terms())["root_pos"], noisy(terms())["root_pos"]
    torch.testing.assert_close(first, second)
    noisy.reset(torch.tensor([0]))
    third = noisy(terms())["root_pos"]
    assert not torch.allclose(third[0], first[0])
    torch.testing.assert_close(third[1:], first[1:])


def test_velocity_is_learned_from_noisy_positions():
    config = NoiseConfig(**{**vars(QUIET), "ball_pos": 0.01, "min_frames": 3})
    noisy = senses(config, 500)
    for step in range(15):
        ball = flight(step * DT)
        seen = noisy(terms(500, ball))
    error = (seen["ball_vel"] - ball[1]).norm(dim=1)
    assert error.mean() < 0.5  # differences of two frames would err by 0.01 √2 √3 / 0.02 = 1.2 m/s


def test_velocity_comes_back_after_a_bounce():
    tracker = BallTracker(1, DT, TrackerConfig(noise=0.001))
    pos, vel = torch.tensor([[0.0, 0.0, 0.5]]), torch.tensor([[-14.0, 0.0, -6.0]])
    for _ in range(12):
        pos, vel = pos + DT * vel, vel - DT * torch.tensor([0.0, 0.0, GRAVITY])
        if pos[0, 2] < 0.0:
            vel = vel * torch.tensor([0.7, 1.0, -0.75])
            bounced = 0
        tracker.update(pos + 0.0, torch.tensor([True]))
    assert bounced == 0
    torch.testing.assert_close(tracker.vel, vel, atol=0.5, rtol=0.0)


def test_another_ball_is_learned_from_its_start():
    tracker = BallTracker(1, DT)
    yes = torch.tensor([True])
    for step in range(10):
        tracker.update(flight(step * DT)[0][None], yes)
    tracker.update(torch.tensor([[9.0, 0.0, 2.0]]), yes)
    assert tracker.frames.item() == 1
    tracker.update(torch.tensor([[8.7, 0.0, 2.0]]), yes)
    assert tracker.vel[0, 0] == pytest.approx(-15.0, abs=0.5)


def test_lost_frames_leave_the_prediction():
    tracker = BallTracker(1, DT)
    for step in range(12):
        pos, vel = flight(step * DT)
        tracker.update(pos[None], torch.tensor([step < 10]))
    torch.testing.assert_close(tracker.pos[0], pos, atol=0.02, rtol=0.0)
    torch.testing.assert_close(tracker.vel[0], vel, atol=0.3, rtol=0.0)


def test_dropout_loses_whole_frames():
    config = NoiseConfig(**{**vars(QUIET), "dropout": 0.3, "min_frames": 1})
    noisy = senses(config, 2000)
    for step in range(4):
        noisy(terms(2000, flight(step * DT)))
    assert noisy.tracker.frames.float().mean() == pytest.approx(4 * 0.7, rel=0.05)


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.03, 0.05])
def test_latency_shows_the_past(delay):
    line = DelayLine(1, DT, 0.05)
    line.delay[:] = delay
    for step in range(10):
        seen, there = line.push(torch.tensor([[-15.0 * step * DT, 0.0, 1.0]]), torch.tensor([True]))
    assert there.all()
    assert seen[0, 0] == pytest.approx(-15.0 * (9 * DT - delay), abs=1e-4)


def test_a_late_ball_appears_late():
    line = DelayLine(1, DT, 0.05)
    line.delay[:] = 0.04
    there = [bool(line.push(torch.zeros(1, 3), torch.tensor([True]))[1]) for _ in range(4)]
    assert there == [False, False, True, True]


def test_latencies_fill_their_range():
    noisy = senses(NoiseConfig(), 2000)
    assert 0.0 <= noisy.line.delay.min() < 0.002
    assert 0.048 < noisy.line.delay.max() <= 0.05


def test_a_ball_counts_after_its_first_frames():
    noisy = senses(NoiseConfig(**{**vars(QUIET), "min_frames": 3}))
    valid = [bool(noisy(terms(ball=flight(step * DT)))["ball_valid"].all()) for step in range(5)]
    assert valid == [False, False, True, True, True]
    assert not noisy(terms())["ball_valid"].any()
    assert not noisy(terms())["ball_pos"].any()


def test_true_terms_stay_true():
    true = terms(ball=flight(0.1))
    before = {name: value.clone() for name, value in true.items()}
    senses(NoiseConfig())(true)
    for name in TERMS:
        torch.testing.assert_close(true[name], before[name], atol=0.0, rtol=0.0)


def test_turn_composes_rotations():
    quarter = torch.tensor([[0.0, 0.0, torch.pi / 2]])
    once = turn(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), quarter)
    half = 0.5**0.5
    torch.testing.assert_close(once, torch.tensor([[half, 0.0, 0.0, half]]))
    torch.testing.assert_close(turn(once, quarter), torch.tensor([[0.0, 0.0, 0.0, 1.0]]), atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("change", [{"latency": (0.05, 0.0)}, {"latency": (-0.1, 0.0)}, {"dropout": 1.0}])
def test_impossible_values_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        senses(NoiseConfig(**{**vars(QUIET), **change}))
