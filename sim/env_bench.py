"""How much of a bare physics step's speed is left to the ball-return environment, and other clockings."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import torch

from humanoid.model import build_model
from sim.ball_sim import BallSim
from sim.engine import CpuEngine, Engine
from sim.launcher import Launcher
from sim.return_episodes import RECYCLE, ReturnEpisodes
from sim.return_task import ReturnConfig, ready_state

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
    model = build_model(timestep=protocol.timestep, friction=protocol.friction)
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


def benchmark_engine(num_envs: int = 512, steps: int = 40, threads: int = 0) -> float:
    """Physics steps of one robot a second, `CpuEngine.advance` of all robots standing."""
    engine = CpuEngine(num_envs, build_model(timestep=0.005), threads)
    qpos, qvel = ready_state((0.0, 0.0))
    everyone = torch.arange(num_envs)
    engine.reset(everyone, qpos.expand(num_envs, -1), qvel.expand(num_envs, -1))
    engine.advance(4)
    begin = time.perf_counter()
    for _ in range(steps // 4):
        engine.advance(4)
    return num_envs * 4 * (steps // 4) / (time.perf_counter() - begin)


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
