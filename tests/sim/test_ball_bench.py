"""The benchmark measures, and the simulation is not slow."""

from sim.ball_bench import benchmark_ball, benchmark_share, memory_per_ball


def test_benchmark_measures_a_vectorised_simulation():
    """A loop over balls would do some ten thousand a second; `make bench` holds the real figure, on a quiet machine."""
    assert benchmark_ball(batch=16384, steps=20) > 1e5


def test_share_of_the_balls_is_clocked_beside_the_robots():
    found = benchmark_share(num_envs=8, steps=2)
    assert found.robots_s > 0
    assert found.balls_s > 0
    assert found.share == found.balls_s / found.robots_s


def test_a_million_balls_fit_in_a_laptop():
    """State, physics, racket and events of a ball, between steps: a quarter of a gigabyte a million."""
    assert memory_per_ball(100) < 260
