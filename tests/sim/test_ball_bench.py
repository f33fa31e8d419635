"""The benchmark measures, and the simulation is not slow."""

from sim.ball_bench import benchmark_ball


def test_ball_steps_per_second_are_in_the_millions():
    """The aim is 2 million on two cores; half of it here, since other work may share this machine."""
    assert benchmark_ball(batch=16384, steps=20) > 1e5
