"""How fast the ball simulation is: ``python -m sim.ball_bench`` prints what docs/ball.md quotes.

`make bench` holds the figures that are compared between versions (see `policies.bench`).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import torch

from sim.ball_sim import BallSim, RacketPose
from sim.launcher import Launcher

SLOTS = 3
"""Balls in the air at once in one environment, as in `sim.return_task`."""


def balls_in_play(batch: int, dt: float = 0.005, rackets: bool = True) -> tuple[BallSim, RacketPose | None]:
    """Rally launches released over one flight's time, and the rackets that stand at the player's place.

    At any step a fair share of the balls bounces, passes the net or comes near the racket.

    Args:
        batch: balls.
        dt: step, s.
        rackets: whether there are rackets.
    """
    table = Launcher("rally").draw(64, torch.Generator().manual_seed(0))
    ids = torch.arange(batch)
    sim = BallSim(batch)
    pose = None
    if rackets:
        # One place and one rotation for all: a million of each would be most of the memory.
        centre = torch.tensor([-11.5, 0.0, 0.95]).expand(batch, 3)
        pose = RacketPose(centre, torch.eye(3).expand(batch, 3, 3))
    phases = 8
    spacing = round(2.0 / dt / phases)
    for phase in range(phases):
        group = ids[ids % phases == phase]
        launch = table.at(group % len(table))
        sim.reset(group, launch.pos, launch.vel, launch.spin)
        for _ in range(spacing if phase < phases - 1 else 5):
            sim.step(dt, pose, pose)
    return sim, pose


def benchmark_ball(batch: int = 16384, steps: int = 200, dt: float = 0.005, rackets: bool = True) -> float:
    """Ball steps per second of `BallSim` in play, on the threads torch is set to.

    Args:
        batch: balls at once.
        steps: steps timed.
        dt: step, s.
        rackets: whether rackets are looked for.

    Returns:
        batch × steps / wall time.
    """
    sim, pose = balls_in_play(batch, dt, rackets)
    began = time.perf_counter()
    for _ in range(steps):
        sim.step(dt, pose, pose)
    return batch * steps / (time.perf_counter() - began)


@dataclass(frozen=True)
class Share:
    """Time of one physics step of all environments, s of one core: of the robots, and of their balls."""

    robots_s: float
    balls_s: float

    @property
    def share(self) -> float:
        """Ball's time over the robots'."""
        return self.balls_s / self.robots_s


def benchmark_share(num_envs: int = 1024, steps: int = 20) -> Share:
    """What balls and rackets cost beside the robots' physics, clocked in turn on one core.

    Each environment has `SLOTS` balls in play, whose rackets are where the standing robots hold them.

    Args:
        num_envs: robots.
        steps: physics steps clocked of each.
    """
    from humanoid.model import build_model
    from sim.engine import CpuEngine
    from sim.return_task import ready_state

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        engine = CpuEngine(num_envs, build_model(timestep=0.005), 1)
        qpos, qvel = ready_state((-11.9, 0.0))
        engine.reset(torch.arange(num_envs), qpos.expand(num_envs, -1), qvel.expand(num_envs, -1))
        sim, _ = balls_in_play(SLOTS * num_envs)
        robots = balls = 0.0

        def poses() -> RacketPose:
            rot = engine.racket_rot.float().repeat(SLOTS, 1, 1)
            return RacketPose(engine.racket_pos.float().repeat(SLOTS, 1), rot)

        start = poses()
        for step in range(-3, steps):
            one = time.process_time()
            engine.step()
            two = time.process_time()
            end = poses()
            sim.step(0.005, start, end)
            three = time.process_time()
            start = end
            if step >= 0:
                robots, balls = robots + two - one, balls + three - two
    finally:
        torch.set_num_threads(threads)
    return Share(robots / steps, balls / steps)


def memory_per_ball(batch: int) -> float:
    """Bytes that `BallSim` keeps for one ball between steps."""
    sim = BallSim(batch)
    parts = [sim.state, sim.params, sim.racket, sim.events, sim.recovered, sim]
    tensors = {id(v): v for part in parts for v in vars(part).values() if isinstance(v, torch.Tensor)}
    return sum(v.numel() * v.element_size() for v in tensors.values()) / batch


def peak_memory() -> float | None:
    """Most memory this process has had so far, bytes; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast the ball simulation is on this machine.")
    parser.add_argument("--balls", type=int, default=1_000_000, help="how many fly at once")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--robots", type=int, default=1024)
    options = parser.parse_args()
    from sim.env_bench import benchmark_ball_vs_mujoco

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    share = benchmark_share(options.robots)
    print(
        f"{options.robots} robots, {SLOTS * options.robots} balls: a physics step {1e3 * share.robots_s:.1f} ms, "
        f"its balls {1e3 * share.balls_s:.2f} ms, {share.share:.1%}"
    )
    ratio = benchmark_ball_vs_mujoco()
    print(
        f"a simulated second costs MuJoCo's free ball at 0.25 ms on all cores {ratio:.0f} times ours on one"
    )
    before = peak_memory()
    rate = benchmark_ball(options.balls, options.steps)
    after = peak_memory()
    print(f"{options.balls:,} balls on one core: {rate / 1e6:.1f} million ball steps a second", end="")
    print(
        f", {options.balls / rate * 1e3:.0f} ms a step; {memory_per_ball(1000):.0f} bytes kept a ball", end=""
    )
    if before is not None and after is not None:
        print(f", peak memory {after / 2**30:.2f} GiB ({(after - before) / 2**30:.2f} for them)")
    else:
        print()


if __name__ == "__main__":
    main()
