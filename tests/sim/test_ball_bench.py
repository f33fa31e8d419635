"""The benchmark measures, and the simulation is not slow."""

from sim.ball_bench import benchmark_ball


def test_benchmark_measures_a_vectorised_simulation():
    """A loop over balls would do some ten thousand a second; `make bench` holds the real figure, on a quiet machine."""
    assert benchmark_ball(batch=16384, steps=20) > 1e5
