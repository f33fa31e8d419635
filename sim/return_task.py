"""Ball return: robots on a court, a ball every two seconds, one outcome a ball.

The batched core behind the Gymnasium environments, the trainer and the evaluator. An action is a joint
position target for each joint, held for one control period; everything a player may know comes as named
observation terms.

Robots, balls and outcomes live on the engine's device, a CPU or a GPU. What is random is drawn on the CPU and copied
there, so that a seed means the same balls anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from humanoid.joints import JOINT_NAMES, NUM_JOINTS, READY_JOINT_POS
from humanoid.model import build_model, touching_height
from sim.ball import BallParams
from sim.ball_sim import BallSim, RacketPose, StepEvents
from sim.court import HALF_LENGTH, SINGLES_HALF_WIDTH, in_singles_court
from sim.engine import CpuEngine, Engine
from sim.launch_distribution import DIMS, LaunchDistribution, LaunchMixture
from sim.launcher import Launcher, LauncherConfig, LaunchTable
from sim.observation_noise import NoisySenses
from sim.return_protocol import (
    FALL,
    MISS,
    NET,
    OUT,
    OUTCOMES,
    PENDING,
    RETURNED,
    BallRecord,
    ReturnConfig,
)
from sim.world import STREAM, World

__all__ = [
    "COURT_TARGETS", "FALL", "MISS", "NET", "OBSERVATION_SIZE", "OUT", "OUTCOMES", "PENDING", "RETURNED", "SLOTS",
    "TERMS", "BallRecord", "ReturnConfig", "ReturnTask", "ready_state",
]  # fmt: skip

TERMS: dict[str, int] = {
    "joint_pos": NUM_JOINTS,
    "joint_vel": NUM_JOINTS,
    "base_ang_vel": 3,
    "root_quat": 4,
    "root_pos": 3,
    "root_lin_vel": 3,
    "ball_pos": 3,
    "ball_vel": 3,
    "ball_valid": 1,
    "target": 2,
}
"""Observation terms and their sizes, in the order of the flat observation."""
OBSERVATION_SIZE = sum(TERMS.values())

BALL_RADIUS = 0.0335
RACKET_ACCELERATION = 500.0
"""No robot accelerates its racket faster, m/s²: strokes reach 150; see `ReturnTask._reachable`."""
CONTACT_REACH = 0.35
"""A ball farther from the string-bed centre does not touch the racket, with 12 cm to spare, m."""
LINGER = 1.0
"""Time that a ball stays on the court after its outcome at least, s."""
RETIRE_DISTANCE = 3.0
"""... and then until it is so far from the racket and recedes, or rolls, m."""

LARGEST_TARGET = 1e9
"""A joint's target beyond this is a mistake, rad; of a robot with one over 1e10 MuJoCo ignores all targets."""
LARGEST_MOVE = 1.0
"""No root moves so far in a control period, m: of a robot that did, the state was lost."""

SLOTS = 3
"""Balls of one environment in the air at once: slow feeds take 3 s to arrive and are launched every 2 s."""


class ReturnTask:
    """N robots that return balls.

    A ball takes up to three seconds to the robot and as long to its outcome, so up to `SLOTS` of an
    environment are in the air at once, each in its own slot.

    Args:
        num_envs: N.
        config: protocol.
        seed: of everything random.
        engine: physics, on any device; default `CpuEngine`.
        physics: true ball physics, see `Launcher.draw`; default the world's.
        launcher: where balls come from and are met; default the benchmark's.
        world: how environments differ; default the protocol's `world` and `surface`.
        launches: distribution to draw launches from; default the protocol's `launches`.
        pool: number of launches drawn at once and shared out; `num_envs` at least.
        recycle: how often a pool is shared out, in another order each time, before new launches are drawn.
            Solving for a launch costs a millisecond.
        threads: of the default engine.

    Attributes:
        device: the engine's, where all tensors live, and must live that methods are given.
        valid: (N,) bool: a ball is coming and not yet struck.
        struck: (N,) bool: the racket met the ball in the last step.
        resolved: (N,) int: outcome decided in the last step (an index into `OUTCOMES`, PENDING for none).
        resolved_miss: (N,) distance of that outcome's landing from its target, m, NaN without landing.
        fallen: (N,) bool: fell in the last step.
        racket_vel: (N, 3), velocity of the string-bed centre over the last physics step, m/s.
        record: finished balls since `record` was last replaced.
        launcher: its `distribution` may be changed with `draw_from`.
        broken: (N,) int, how often a robot's state was lost (see `step`).

    Raises:
        ValueError: an impossible value in `config` or `world`, or an engine that the world's ranges cannot be given to;
            names the field.
    """

    def __init__(
        self,
        num_envs: int,
        config: ReturnConfig | None = None,
        seed: int = 0,
        engine: Engine | None = None,
        physics: BallParams | Callable | None = None,
        launcher: LauncherConfig | None = None,
        pool: int = 2048,
        threads: int = 0,
        recycle: int = 1,
        world: World | None = None,
        launches: LaunchDistribution | None = None,
    ) -> None:
        self.config = config = config or ReturnConfig()
        config.check()
        for name, value in (("num_envs", num_envs), ("pool", pool), ("recycle", recycle)):
            if value < 1:
                raise ValueError(f"{name} = {value}: give 1 or more")
        # All environments may launch in the same step.
        pool = max(pool, num_envs)
        self.world = world = world or config.make_world()
        world.check()
        if launches is None and config.launches is not None:
            launches = LaunchMixture.load(config.launches)
        self.num_envs = num_envs
        self.substeps = round(config.control_dt / config.timestep)
        if engine is None:
            model = build_model(timestep=config.timestep, friction=config.friction, self_collision=True)
            engine = CpuEngine(num_envs, model, threads)
        self.engine = engine
        self.device = device = engine.device
        self.generator = torch.Generator().manual_seed(seed)
        self._random = torch.Generator().manual_seed(seed + STREAM)
        launcher = launcher or LauncherConfig(start=config.start)
        self.launcher = Launcher(config.level, launcher, distribution=launches)
        self._physics = world.physics if physics is None else physics
        self._pool_size = pool
        self._pool: LaunchTable = self._draw_pool()
        self._pool_next = 0
        self._recycle, self._pool_uses = recycle, 1
        n = num_envs
        self.balls = BallSim(SLOTS * n, device=device, dtype=torch.float32)
        self._env = torch.arange(n, device=device)
        self.ready_qpos, self.ready_qvel = (part.to(device) for part in ready_state(config.start))
        bounds = torch.tensor([config.target_x, config.target_y], device=device)
        self._target_low, self._target_span = bounds[:, 0], bounds[:, 1] - bounds[:, 0]

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        whole, flag = torch.int64, torch.bool
        self.clock = zeros(n, dtype=whole)  # control steps into the episode
        self.launched = zeros(n, dtype=whole)  # balls launched in the episode
        self.slot = zeros(n, dtype=whole)  # of the ball to be struck next
        shape = (SLOTS, n)
        self.outcome = zeros(*shape, dtype=whole).fill_(RETURNED)  # nothing pending at the start
        self.contact = zeros(*shape, dtype=flag)
        self.bounced = zeros(*shape, dtype=flag)
        self.ball_number = zeros(*shape, dtype=whole)
        self.target = zeros(*shape, 2)
        self.speed_in = zeros(*shape)
        self.speed_out = zeros(*shape).fill_(math.nan)
        self.backhand = zeros(*shape, dtype=flag)
        self.forecourt = zeros(*shape, dtype=flag)
        self.valid = zeros(n, dtype=flag)
        self.struck = zeros(n, dtype=flag)
        self.resolved = zeros(n, dtype=whole)
        self.resolved_miss = zeros(n).fill_(math.nan)
        self.fallen = zeros(n, dtype=flag)
        self.racket_vel = torch.zeros_like(engine.racket_pos)
        self.record = BallRecord()
        self.falls = 0
        self.broken = zeros(n, dtype=whole)
        self._lost = zeros(n, dtype=flag)
        self._intervals = tuple(round(value / config.control_dt) for value in config.intervals)
        self._due = zeros(n, dtype=whole)  # control step of the next launch
        self._turns = zeros(n, dtype=whole)  # launches that were due in the episode
        self._point = zeros(*shape, DIMS)
        self._linger = round(LINGER / config.control_dt)
        self._decided = zeros(*shape, dtype=whole)  # control steps since the outcome
        self._pushed = zeros(n, dtype=flag)  # a ball's impulse awaits the next physics step
        self._racket_speed = torch.zeros_like(engine.racket_pos[:, 0])
        self._partial_steps = getattr(engine, "partial_steps", True)
        self.senses: NoisySenses | None = None
        self._observed: dict[str, Tensor] | None = None
        self.reset(self._env)
        self._differ()

    def _differ(self) -> None:
        """Draw what differs between environments."""
        self.world.vary(self.engine, self._random)
        racket = self.world.rackets(self.engine, self._random)
        if racket is not None:
            # Slot after slot, as the balls are.
            self.balls.set_racket(racket.at(torch.arange(self.num_envs).repeat(SLOTS)))
        self.senses = self.world.observers(self.num_envs, self.config.control_dt, self._random, self.device)
        self._observed = None

    # Robots

    def reset(self, ids: Tensor, qpos: Tensor | None = None, qvel: Tensor | None = None) -> None:
        """Begin new episodes: robots at the ready pose (or in given states), no ball in play.

        Args:
            ids: environments (n,).
            qpos, qvel: (n, 36), (n, 35), or None.
        """
        self.place(ids, qpos, qvel)
        self.clock[ids] = 0
        self._due[ids] = 0
        self._turns[ids] = 0
        self.launched[ids] = 0
        self.slot[ids] = 0
        self.outcome[:, ids] = RETURNED
        self.valid[ids] = False
        for slot in range(SLOTS):
            self.balls.active[slot * self.num_envs + ids] = False
        if self.senses is not None:
            self.senses.reset(ids)
            if self._observed is not None:
                # Of a new episode nothing was sensed yet: its first observation is the ready pose, without noise.
                truth = self.terms()
                for name, seen in self._observed.items():
                    self._observed[name] = seen.clone()
                    self._observed[name][ids] = truth[name][ids]

    def seed(self, seed: int) -> None:
        """Start everything random again, with launches yet to be drawn and robots that differ anew."""
        self.generator.manual_seed(seed)
        self._random.manual_seed(seed + STREAM)
        self._pool_next, self._pool_uses = self._pool_size, self._recycle
        self._differ()

    def draw_from(self, launches: LaunchDistribution | None) -> None:
        """Draw launches from a distribution from now on, or None for plain draws; those in flight fly on."""
        self.launcher.distribution = launches
        self._pool_next, self._pool_uses = self._pool_size, self._recycle

    @property
    def recovered(self) -> dict[str, Tensor]:
        """What went wrong and was put right so far, (N,) int each.

        robot_broken: see `step`. ball_not_finite, racket_pose, ball_overlap: see `sim.recovered.Recovered`.
        ball_unresolved: see `BallSim`.
        """

        def of_robots(value: Tensor) -> Tensor:
            return value.unflatten(0, (SLOTS, self.num_envs)).sum(0)

        kinds = self.balls.recovered
        return {
            "robot_broken": self.broken.clone(),
            "ball_not_finite": of_robots(kinds.not_finite),
            "racket_pose": of_robots(kinds.racket_pose),
            "ball_overlap": of_robots(kinds.overlap),
            "ball_unresolved": of_robots(self.balls.unresolved),
        }

    def place(self, ids: Tensor, qpos: Tensor | None = None, qvel: Tensor | None = None) -> None:
        """Put robots into states without touching the balls."""
        n = len(ids)
        # The racket's speed in a given state is not known: step it finely.
        self._racket_speed[ids] = 0.0 if qvel is None else math.inf
        self._pushed[ids] = False
        self.engine.reset(
            ids,
            self.ready_qpos.expand(n, -1) if qpos is None else qpos,
            self.ready_qvel.expand(n, -1) if qvel is None else qvel,
        )

    @property
    def finished(self) -> Tensor:
        """(N,) bool: the episode's last ball has its outcome."""
        served = self._turns >= self.config.balls_per_episode
        return served & (self.clock >= self._due) & ~(self.outcome == PENDING).any(dim=0)

    # Balls

    def launch(self, ids: Tensor) -> None:
        """Launch the next ball of environments `ids`."""
        if len(ids) == 0:
            return
        slot = self.launched[ids] % SLOTS
        # A ball still in the air when its slot is needed again, six seconds later, left the court for good.
        still = self.outcome[slot, ids] == PENDING
        for struck, outcome in ((True, OUT), (False, MISS)):
            late = still & (self.contact[slot, ids] == struck)
            self._decide(slot[late], ids[late], outcome)
        if self._pool_next + len(ids) > self._pool_size:
            if self._pool_uses < self._recycle and len(ids) <= self._pool_size:
                order = torch.randperm(self._pool_size, generator=self.generator)
                self._pool = self._pool.at(order.to(self.device))
                self._pool_uses += 1
            else:
                self._pool = self._draw_pool()
                self._pool_uses = 1
            self._pool_next = 0
        rows = torch.arange(self._pool_next, self._pool_next + len(ids), device=self.device)
        self._pool_next += len(ids)
        table = self._pool.at(rows)
        balls = slot * self.num_envs + ids
        self.balls.set_params(table.params, balls)
        self.balls.reset(balls, table.pos, table.vel, table.spin)
        self.ball_number[slot, ids] = self.launched[ids]
        self.launched[ids] += 1
        self.outcome[slot, ids] = PENDING
        self.contact[slot, ids] = False
        self.bounced[slot, ids] = False
        share = torch.rand(len(ids), 2, generator=self.generator).to(self.device)
        self.target[slot, ids] = self._target_low + self._target_span * share
        self.speed_in[slot, ids] = torch.linalg.vector_norm(table.vel, dim=-1)
        self.speed_out[slot, ids] = math.nan
        self._point[slot, ids] = table.point
        self.backhand[slot, ids] = table.backhand
        self.forecourt[slot, ids] = table.forecourt

    def serve(self, table: LaunchTable) -> None:
        """Launch these from now on, in their order; when they are used up, new ones are drawn.

        Raises:
            ValueError: fewer launches than environments.
        """
        if len(table) < self.num_envs:
            raise ValueError(
                f"{len(table)} launches for {self.num_envs} environments: give one each at least"
            )
        self._pool, self._pool_size = table.to(self.device), len(table)
        self._pool_next, self._pool_uses = 0, self._recycle

    def _draw_pool(self) -> LaunchTable:
        return self.launcher.draw(self._pool_size, self.generator, self._physics).to(self.device)

    def settle(self) -> None:
        """Decide every ball that is still in the air: out if it was struck, else missed."""
        for slot in range(SLOTS):
            for struck, outcome in ((True, OUT), (False, MISS)):
                waiting = (self.outcome[slot] == PENDING) & (self.contact[slot] == struck)
                ids = waiting.nonzero().squeeze(1)
                self._decide(torch.full_like(ids, slot), ids, outcome)

    # One control period

    def step(self, targets: Tensor) -> None:
        """Advance by one control period.

        A robot whose state is lost (not finite, or out of bounds so that the engine started it anew elsewhere) fell: it
        is put at its start at once, and counted in `broken`.

        Args:
            targets: joint position targets, (N, 29), rad.

        Raises:
            ValueError: targets of another shape, or not finite; names the environment and the joint.
        """
        self.check_targets(targets)
        if self.senses is not None:
            self.observed()  # cameras see every step, whether they are asked or not
            self._observed = None
        self.resolved.fill_(PENDING)
        self.resolved_miss.fill_(math.nan)
        self.struck.fill_(False)
        due = (self.clock >= self._due) & (self._turns < self.config.balls_per_episode)
        ids = due.nonzero().squeeze(1)
        self.launch(ids)
        self._due[ids] += self._draw_intervals(len(ids))
        self._turns[ids] += 1
        self._choose_ball()
        self.engine.ctrl.copy_(targets)
        before = self.engine.qpos[:, :3].clone()
        self._advance()
        self.clock += 1
        self._mend(before)
        self._check_falls()
        self._choose_ball()
        self._retire()

    def check_targets(self, targets: Tensor, name: str = "target") -> None:
        """Raise ValueError, naming environment and joint, unless `targets` are (N, 29) and finite.

        Args:
            targets: of joints, or actions. name: what the message calls one of them.
        """
        if targets.shape != (self.num_envs, NUM_JOINTS):
            raise ValueError(
                f"{name}s have shape {tuple(targets.shape)}, expected {(self.num_envs, NUM_JOINTS)}, one row a robot"
            )
        # The largest of some numbers is no number if one of them is none.
        if not targets.abs().max().item() < LARGEST_TARGET:
            env, joint = (~(targets.abs() < LARGEST_TARGET)).nonzero()[0].tolist()
            value = float(targets[env, joint])
            raise ValueError(
                f"{name} of {JOINT_NAMES[joint]} in environment {env} is {value}: give a finite number"
            )

    def _draw_intervals(self, n: int) -> Tensor | int:
        """Control steps to the next launch, (n,), or one number for all."""
        low, high = self._intervals
        if low == high:
            return low
        return torch.randint(low, high + 1, (n,), generator=self.generator).to(self.device)

    def _mend(self, before: Tensor) -> None:
        """Robots whose state was lost in this step are back at their start; `before`: their root then, (N, 3)."""
        qpos = self.engine.qpos
        # MuJoCo restarts a robot whose state exceeds its bounds at the world's origin, without a word.
        moved = (qpos[:, :3] - before).abs().amax(dim=1)
        self._lost = ~(moved < LARGEST_MOVE) | ~torch.isfinite(qpos.sum(1) + self.engine.qvel.sum(1))
        if bool(self._lost.any()):
            ids = self._lost.nonzero().squeeze(1)
            self.broken[ids] += 1
            self.place(ids)
            self.racket_vel[ids] = 0.0

    def _advance(self) -> None:
        """Robots and balls, one physics step after the other.

        Robots that no ball can reach within the period take it in one call, which is cheaper than step by
        step and comes to the same; but not where the engine always steps them all.
        """
        engine, substeps = self.engine, self.substeps
        near = self._reachable() if substeps > 1 and self._partial_steps else None
        ids = None if near is None or bool(near.all()) else near.nonzero().squeeze(1)
        before = engine.racket_pos.clone()
        start = _poses(before, engine.racket_rot)
        if ids is not None and near is not None:
            engine.advance(substeps, (~near).nonzero().squeeze(1))
            self.racket_vel = (engine.racket_pos - before) / self.config.control_dt
        for _ in range(substeps):
            if ids is None:
                last = engine.racket_pos.clone()
                engine.step()
                self.racket_vel = (engine.racket_pos - last) / engine.timestep
            elif len(ids):
                last = engine.racket_pos[ids]
                engine.step(ids)
                self.racket_vel[ids] = (engine.racket_pos[ids] - last) / engine.timestep
            end = _poses(engine.racket_pos, engine.racket_rot)
            speed = self.balls.state.vel.clone()
            events = self.balls.step(engine.timestep, start, end)
            self._pushed = self._handle(events, speed)
            start = end
        self._racket_speed = torch.linalg.vector_norm(self.racket_vel, dim=1)

    def _reachable(self) -> Tensor:
        """Robots (N,) whose racket some ball may come near within the next control period: misses none."""
        n, duration = self.num_envs, self.config.control_dt
        state = self.balls.state
        offset = state.pos.T.unflatten(1, (SLOTS, n)) - self.engine.racket_pos.T.float().unsqueeze(1)
        distance = offset.square().sum(0).sqrt()
        # A bounce may turn spin into speed.
        speed = state.vel.square().sum(1).sqrt() + BALL_RADIUS * state.spin.square().sum(1).sqrt()
        reach = speed.unflatten(0, (SLOTS, n)) * duration + (
            self._racket_speed.float() * duration + RACKET_ACCELERATION * duration**2 + CONTACT_REACH
        )
        close = (distance < reach) & self.balls.active.unflatten(0, (SLOTS, n))
        return close.any(dim=0) | self._pushed

    def _retire(self) -> None:
        """Take balls off the court a while after their outcome, when they roll or are out of reach."""
        self._decided = torch.where(self.outcome == PENDING, 0, self._decided + 1)
        over = self._decided >= self._linger
        if not bool(over.any()):
            return
        shape, state = (SLOTS, self.num_envs), self.balls.state
        racket = self.engine.racket_pos.T.float().unsqueeze(1)
        away = state.pos.T.unflatten(1, shape)[:2] - racket[:2]
        recedes = (away * state.vel.T.unflatten(1, shape)[:2]).sum(0) > 0
        gone = recedes & (away.square().sum(0) > RETIRE_DISTANCE**2)
        self.balls.retire((over & (gone | self.balls.rolling.unflatten(0, shape))).flatten())

    def _choose_ball(self) -> None:
        """The ball to be struck next is the oldest that is in the air and not yet struck."""
        waiting = (self.outcome == PENDING) & ~self.contact
        order = torch.where(waiting, self.ball_number, torch.iinfo(torch.int64).max)
        self.slot = order.argmin(dim=0)
        self.valid = waiting.any(dim=0)

    def _handle(self, events: StepEvents, before: Tensor) -> Tensor:
        """Outcomes of a physics step's events; `before` are the balls' velocities before it.

        Returns:
            The robots whose racket was pushed, (N,) bool.
        """
        n = self.num_envs
        pushed = torch.zeros(n, dtype=torch.bool, device=self.device)
        if bool(events.hit.any()):
            for slot in range(SLOTS):
                ids = events.hit[slot * n : (slot + 1) * n].nonzero().squeeze(1)
                if len(ids) == 0:
                    continue
                balls = slot * n + ids
                pushed[ids] = True
                self.engine.push_racket(ids, events.impulse[balls], events.hit_pos[balls])
                first = ids[~self.contact[slot, ids] & (self.outcome[slot, ids] == PENDING)]
                rows = slot * n + first
                self.contact[slot, first] = True
                self.bounced[slot, first] = False
                self.speed_in[slot, first] = torch.linalg.vector_norm(before[rows], dim=-1)
                self.speed_out[slot, first] = torch.linalg.vector_norm(self.balls.state.vel[rows], dim=-1)
                self.struck[first] = True
        if bool(events.net.any()):
            balls = events.net.nonzero().squeeze(1)
            # A cord that lets the ball over is no fault; a ball that fell back is.
            state = self.balls.state
            balls = balls[(state.pos[balls, 0] < 0.05) & (state.vel[balls, 0] < 2.0)]
            slot, ids = balls // n, balls % n
            stopped = self.contact[slot, ids] & (self.outcome[slot, ids] == PENDING)
            self._decide(slot[stopped], ids[stopped], NET)
        if bool(events.bounced.any()):
            balls = events.bounced.nonzero().squeeze(1)
            balls = balls[self.outcome.view(-1)[balls] == PENDING]
            if len(balls) == 0:
                return pushed
            slot, ids = balls // n, balls % n
            landing = events.bounce_pos[balls]
            struck = self.contact[slot, ids]
            twice = ~struck & self.bounced[slot, ids]
            self._decide(slot[twice], ids[twice], MISS)
            self.bounced[slot, ids] = True
            inside = in_singles_court(landing, "far", margin=BALL_RADIUS)
            own_side = landing[:, 0] < 0
            for mask, outcome in (
                (struck & inside, RETURNED),
                (struck & ~inside & ~own_side, OUT),
                (struck & ~inside & own_side, NET),
            ):
                self._decide(slot[mask], ids[mask], outcome, landing[mask, :2])
        return pushed

    def _check_falls(self) -> None:
        qpos = self.engine.qpos
        upright = 1 - 2 * (qpos[:, 4] ** 2 + qpos[:, 5] ** 2)
        self.fallen = (qpos[:, 2] < self.config.fall_height) | (upright < math.cos(self.config.fall_tilt))
        self.fallen |= self._lost
        if bool(self.fallen.any()):
            ids = self.fallen.nonzero().squeeze(1)
            self.falls += len(ids)
            slot = self.slot[ids]
            # Not a ball that was decided earlier in this control step: one outcome a ball.
            coming = self.valid[ids] & (self.outcome[slot, ids] == PENDING)
            self._decide(slot[coming], ids[coming], FALL)

    def _decide(self, slot: Tensor, ids: Tensor, outcome: int, landing: Tensor | None = None) -> None:
        if len(ids) == 0:
            return
        self.outcome[slot, ids] = outcome
        self.resolved[ids] = outcome
        target = self.target[slot, ids]
        if landing is None:
            landing = torch.full_like(target, math.nan)
        self.resolved_miss[ids] = torch.linalg.vector_norm(landing - target, dim=-1)
        record = self.record
        record.env += ids.tolist()
        record.ball += self.ball_number[slot, ids].tolist()
        record.outcome += [outcome] * len(ids)
        record.contact += self.contact[slot, ids].tolist()
        record.landing += [(x, y) for x, y in landing.tolist()]
        record.target += [(x, y) for x, y in target.tolist()]
        record.speed_in += self.speed_in[slot, ids].tolist()
        record.speed_out += self.speed_out[slot, ids].tolist()
        record.point += self._point[slot, ids].tolist()
        record.backhand += self.backhand[slot, ids].tolist()
        record.forecourt += self.forecourt[slot, ids].tolist()

    # What a player may know

    def terms(self) -> dict[str, Tensor]:
        """Observation terms, see `TERMS`, each (N, size) float32. Ball terms are 0 without a ball in play."""
        engine, n = self.engine, self.num_envs
        rows = self.slot * n + self._env
        seen = self.valid.unsqueeze(1)
        zero = torch.zeros((), device=self.device)
        return {
            **robot_terms(engine),
            "ball_pos": torch.where(seen, self.balls.state.pos[rows], zero),
            "ball_vel": torch.where(seen, self.balls.state.vel[rows], zero),
            "ball_valid": seen.float(),
            "target": self.target[self.slot, self._env],
        }

    def observed(self) -> dict[str, Tensor]:
        """`terms` as the world's senses have them: the truth in a nominal world; the same until the next step."""
        if self.senses is None:
            return self.terms()
        if self._observed is None:
            self._observed = self.senses(self.terms())
        return self._observed

    def observation(self) -> Tensor:
        """All observed terms side by side, (N, OBSERVATION_SIZE) float32."""
        return torch.cat(list(self.observed().values()), dim=1)


def robot_terms(engine: Engine) -> dict[str, Tensor]:
    """The terms of `TERMS` that are the robot's own, each (N, size) float32: copies, free to be changed."""
    # Of an engine in float32, `float()` would be the live tensors themselves.
    qpos, qvel = (part.to(torch.float32, copy=True) for part in (engine.qpos, engine.qvel))
    return {
        "joint_pos": qpos[:, 7:],
        "joint_vel": qvel[:, 6:],
        "base_ang_vel": qvel[:, 3:6],
        "root_quat": qpos[:, 3:7],
        "root_pos": qpos[:, :3],
        "root_lin_vel": qvel[:, :3],
    }


def ready_state(start: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Robot in its ready pose at `start`, soles on the ground, facing +x: qpos (36,), qvel (35,), on the CPU."""
    qpos = torch.zeros(36, dtype=torch.float64)
    qpos[0], qpos[1], qpos[2], qpos[3] = start[0], start[1], touching_height(), 1.0
    qpos[7:] = torch.as_tensor(np.array(READY_JOINT_POS))
    return qpos, torch.zeros(35, dtype=torch.float64)


def _poses(pos: Tensor, rot: Tensor) -> RacketPose:
    return RacketPose(pos.float().repeat(SLOTS, 1), rot.float().repeat(SLOTS, 1, 1))


COURT_TARGETS = ((0.0, HALF_LENGTH), (-SINGLES_HALF_WIDTH, SINGLES_HALF_WIDTH))
"""Bounds of sensible landing targets, x and y, m."""
