from mocap.benchmark import benchmark_retarget


def test_the_benchmark_gives_frames_a_second():
    # The target of 500 is held by `make bench`; here only an order of magnitude, on whatever machine and
    # load.
    assert benchmark_retarget(seconds=4.0, repeats=1) > 50.0
