"""How much of a bare physics step's speed is left to the ball-return environment, and other clockings.

``python -m sim.env_bench --engine warp --num-envs 1024 4096`` clocks a physics engine at several batch sizes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import torch

from humanoid.joints import NUM_JOINTS
from humanoid.model import build_model
from sim.ball_sim import BallSim
from sim.engine import ENGINES, CpuEngine, Engine, make_engine
from sim.launcher import Launcher
from sim.return_episodes import RECYCLE, ReturnEpisodes
from sim.return_task import ReturnConfig, ReturnTask, ready_state

PLACE_EVERY = 10
"""Control steps after which robots are put back to their ready pose, so that both sides keep standing."""


@dataclass(frozen=True)
class EnvSpeed:
    """Times of one control step of all robots, on average.

    Attributes:
        num_envs: robots. threads: of the physics.
        env_s: of the environment: physics, balls, observation and rewards, s.
        bare_s: of `mujoco.batch` alone, all physics steps in one call, s.
        ball_s: of the environment's step without its physics calls, s.
        launch_s: share of drawing launches now and then, part of `env_s`, s.
        near: share of the robots that had a ball near their racket.
    """

    num_envs: int
    threads: int
    env_s: float
    bare_s: float
    ball_s: float
    launch_s: float
    near: float

    @property
    def ratio(self) -> float:
        """Environment steps a second over those of bare physics."""
        return self.bare_s / self.env_s


def benchmark_env(num_envs: int = 512, steps: int = 60, warm_up: int = 280, threads: int = 1) -> EnvSpeed:
    """Clock the ball-return environment against bare physics, step by step in turn.

    Both sides have the same model, the same number of robots, which stand in their ready pose, and as many
    physics steps. The robots' balls are in every phase of their flight. On one thread the clock is the
    process's own, which other work on the machine does not disturb; on several it is the wall's.

    Args:
        num_envs: robots on each side.
        steps: control steps clocked.
        warm_up: control steps of the balls alone before; a ball takes 150 to the robot.
        threads: of the physics, 0 for all cores.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    protocol = ReturnConfig()
    # A pool that lasts for the run; what drawing costs on average is added at the end.
    pool = min(2048, 8 * num_envs)
    episodes = ReturnEpisodes(num_envs, protocol, seed=0, threads=threads, pool=pool, recycle=1000)
    task = episodes.task
    begin = clock()
    task.launcher.draw(pool, torch.Generator().manual_seed(1))
    launch_s = (clock() - begin) / (pool * RECYCLE) * num_envs * protocol.control_dt / protocol.ball_interval
    model = build_model(timestep=protocol.timestep, friction=protocol.friction, self_collision=True)
    bare = CpuEngine(num_envs, model, threads)
    everyone = torch.arange(num_envs)
    interval = round(protocol.ball_interval / protocol.control_dt)
    task.clock.copy_(everyone * interval // num_envs)
    still = torch.zeros(num_envs, episodes.action.shape[1])
    targets = episodes.targets(still)
    physics = _Clock(task.engine, clock)
    physics.running = False
    for _ in range(warm_up):
        episodes.step(still)
    physics.running = True
    env_s = bare_s = physics_s = near = 0.0
    for step in range(-2, steps):
        if step % PLACE_EVERY == 0 or step == -2:
            task.place(everyone)
            qpos, qvel = task.ready_qpos.expand(num_envs, -1), task.ready_qvel.expand(num_envs, -1)
            bare.reset(everyone, qpos, qvel)
            bare.ctrl.copy_(targets)
        physics.seconds = 0.0
        begin = clock()
        episodes.step(still)
        episodes.observation()
        middle = clock()
        bare.batch.step(nstep=task.substeps)
        end = clock()
        if step < 0:
            continue
        env_s += middle - begin
        bare_s += end - middle
        physics_s += physics.seconds
        near += float(task._reachable().float().mean())
    return EnvSpeed(
        num_envs=num_envs,
        threads=bare.batch.nthread,
        env_s=env_s / steps + launch_s,
        bare_s=bare_s / steps,
        ball_s=(env_s - physics_s) / steps + launch_s,
        launch_s=launch_s,
        near=near / steps,
    )


class _Clock:
    """Adds up the time an engine's steps take; leaves them out unless `running`."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self.seconds = 0.0
        self.running = True
        self._clock = clock
        for name in ("step", "advance"):
            setattr(engine, name, self._timed(getattr(engine, name)))

    def _timed(self, call):
        def timed(*args, **kwargs):
            if not self.running:
                return
            begin = self._clock()
            call(*args, **kwargs)
            self.seconds += self._clock() - begin

        return timed


def benchmark_engine(
    num_envs: int = 512, steps: int = 40, threads: int = 0, kind: str = "cpu", device: str | None = None
) -> float:
    """Physics steps of one robot a second: `Engine.advance` of all robots, standing, four steps a call.

    Compiling kernels and recording graphs come before the clock starts. Arguments as in `sim.engine.make_engine`.
    """
    engine = make_engine(
        kind, num_envs, build_model(timestep=ReturnConfig().timestep, self_collision=True), device, threads
    )
    qpos, qvel = (part.to(engine.device) for part in ready_state((0.0, 0.0)))
    everyone = torch.arange(num_envs, device=engine.device)
    engine.reset(everyone, qpos.expand(num_envs, -1), qvel.expand(num_envs, -1))
    engine.advance(4)
    _wait(engine)
    begin = time.perf_counter()
    for _ in range(steps // 4):
        engine.advance(4)
    _wait(engine)
    return num_envs * 4 * (steps // 4) / (time.perf_counter() - begin)


def benchmark_return(
    num_envs: int = 512,
    steps: int = 40,
    threads: int = 0,
    kind: str = "cpu",
    device: str | None = None,
    warm_up: int = 280,
) -> float:
    """Physics steps of one robot a second with balls in play: `ReturnTask` as a player meets it.

    Robots stand; balls are launched, fly, bounce and are sensed, in every phase of their flight; what drawing launches
    costs is left out. Arguments as in `sim.engine.make_engine`.

    Args:
        steps: physics steps clocked, four a control step.
        warm_up: control steps of the balls alone before; a ball takes 150 to the robot.
    """
    protocol = ReturnConfig(balls_per_episode=1 << 30)
    model = build_model(timestep=protocol.timestep, friction=protocol.friction, self_collision=True)
    engine = make_engine(kind, num_envs, model, device, threads)
    physics = _Clock(engine, time.perf_counter)
    task = ReturnTask(num_envs, protocol, engine=engine, pool=min(2048, 8 * num_envs), recycle=1 << 30)
    everyone = torch.arange(num_envs, device=task.device)
    task.clock.copy_(everyone * round(protocol.ball_interval / protocol.control_dt) // num_envs)
    targets = task.ready_qpos[7:].expand(num_envs, NUM_JOINTS)
    physics.running = False
    for _ in range(warm_up):
        task.step(targets)
    physics.running = True
    rounds = max(steps // task.substeps, 1)
    begin = 0.0
    for step in range(-2, rounds):
        if step == 0:
            task.place(everyone)
            _wait(engine)
            begin = time.perf_counter()
        task.step(targets)
        task.observation()
    _wait(engine)
    return num_envs * task.substeps * rounds / (time.perf_counter() - begin)


def benchmark_warp(num_envs: int = 1024, steps: int = 40) -> dict[str, float | str] | None:
    """`benchmark_engine` of MuJoCo Warp where it runs best here: `steps_per_s`, `num_envs`, `device`; None where
    it is not installed."""
    try:
        from sim import warp_engine  # noqa: F401
    except ImportError:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    speed = benchmark_engine(num_envs, steps, kind="warp", device=device)
    return {"steps_per_s": speed, "num_envs": num_envs, "device": device}


def _wait(engine: Engine) -> None:
    """Until a GPU has done what it was told to do."""
    if engine.device.type == "cuda":
        torch.cuda.synchronize(engine.device)


_BALL_MODEL = """
<mujoco>
  <option timestep="0.00025" integrator="implicitfast" density="1.21" viscosity="1.8e-5"/>
  <worldbody>
    <geom type="plane" size="0 0 1" solref="-40000 -10"/>
    <body pos="0 0 1.5">
      <freejoint/>
      <geom type="ellipsoid" size="0.0335 0.0335 0.0335" mass="0.0577"
            fluidshape="ellipsoid" solref="-40000 -10"/>
    </body>
  </worldbody>
</mujoco>
"""
"""A ball by MuJoCo's own means: fluid forces with drag and Magnus lift, soft contact."""


def benchmark_ball_vs_mujoco(batch: int = 1024, seconds: float = 0.25) -> float:
    """How many times more simulated ball seconds a second of computing gives `BallSim` than MuJoCo.

    Both fly and bounce the same number of balls on as many cores as they like. MuJoCo steps a free body over
    a plane at 0.25 ms, which a contact of 5 ms needs; `BallSim` steps at 5 ms and finds contacts by event.

    Args:
        batch: balls.
        seconds: simulated time.
    """
    from mujoco.batch import Batch

    model = mujoco.MjModel.from_xml_string(_BALL_MODEL)
    bodies = Batch(model, batch, 0, persistent=True)
    table = Launcher("rally").draw(64, torch.Generator().manual_seed(0)).at(torch.arange(batch) % 64)
    bodies.bind("qpos")[:, :3] = table.pos.numpy()
    velocity = bodies.bind("qvel")
    velocity[:, :3], velocity[:, 3:] = table.vel.numpy(), table.spin.numpy()
    begin = time.perf_counter()
    bodies.step(nstep=round(seconds / model.opt.timestep))
    theirs = time.perf_counter() - begin
    balls = BallSim(batch)
    balls.reset(torch.arange(batch), table.pos, table.vel, table.spin)
    begin = time.perf_counter()
    # Ten times as long, to fly, bounce and bounce again.
    for _ in range(round(10 * seconds / 0.005)):
        balls.step(0.005)
    return theirs / ((time.perf_counter() - begin) / 10)


def main(arguments: list[str] | None = None) -> int:
    """Clock one engine at several batch sizes, alone and with balls; prints a table, or JSON with ``--json``."""
    parser = argparse.ArgumentParser(description="Physics steps of one robot a second, alone and with balls.")
    parser.add_argument("--engine", choices=ENGINES, default="cpu")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[256, 1024, 4096], help="batch sizes")
    parser.add_argument("--steps", type=int, default=200, help="physics steps clocked, a multiple of four")
    parser.add_argument("--device", help='of the warp engine: "cuda" or "cpu" (a GPU if there is one)')
    parser.add_argument("--threads", type=int, default=0, help="of the cpu engine (all cores)")
    parser.add_argument("--json", action="store_true", help="print a list of records")
    options = parser.parse_args(arguments)
    if min(options.num_envs) < 1 or options.steps < 4:
        parser.error("--num-envs needs at least 1 and --steps at least 4")
    rows = []
    for num_envs in options.num_envs:
        try:
            sizes = num_envs, options.steps, options.threads, options.engine, options.device
            bare, balls = benchmark_engine(*sizes), benchmark_return(*sizes)
        except (ImportError, ValueError) as error:
            print(error, file=sys.stderr)
            return 1
        speeds = {"steps_per_s": round(bare), "with_balls_per_s": round(balls)}
        rows.append({"engine": options.engine, "num_envs": num_envs, **speeds})
        if not options.json:
            print(
                f"{options.engine:>6} {num_envs:>8} robots {bare:>14,.0f} steps/s, with balls {balls:>14,.0f}",
                flush=True,
            )
    if options.json:
        print(json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
