"""Learning to strike: imitation of strokes, conditioned on strike goals, without a ball in the air.

The robot stands in its ready pose; again and again a stroke begins with a goal from a pool that the planner made
from launched balls; the reward asks for the racket where, when, as fast and facing as the goal says, and the
impact with the ball that belongs to the goal is computed at the strike, so that a return counts as a return.
Balls do not fly and plans do not change under way, which makes a step cost little more than the robot's physics.

Everything lives on the engine's device, a CPU or a GPU. What is random is drawn on the CPU and copied there, so that a
seed means the same anywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import cast

import mujoco
import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict
from torch import Tensor

from humanoid.joints import EFFORT_LIMIT, KD, KP, LOWER, NUM_JOINTS, UPPER
from humanoid.model import build_model
from policies.goal_pool import GoalPool
from policies.player import MEMORY_SIZE, Player, Reference
from policies.steps import led
from policies.strokes import turned, wrapped
from sim.ball import BallState
from sim.court import in_singles_court, net_height
from sim.engine import BatchEngine, CpuEngine
from sim.observation_noise import NoiseConfig, turn
from sim.predict import predict
from sim.return_task import ready_state, robot_terms
from sim.stringbed import impact
from sim.sweep import pose_at, rotation_vector


@dataclass(frozen=True)
class RewardConfig:
    """Weights, by term. A term's value is between 0 and 1 unless said otherwise.

    Attributes:
        alive: every step. imitate: joints near the reference. balance: pelvis near the reference, and facing as it
            does. landing: feet that stepped stand where they should.
        approach: racket near its line to the goal in the last 0.12 s, every step.
        reach: racket near the goal at the strike. face, speed: its normal and velocity there.
        touch: the ball meets the string bed. net: the return clears the net. land: it lands in court.
        target: it lands near the wanted point.
        rate: mean square change of the action (a cost). saturation: torque beyond the motors' (a cost).
        limits: joint angle beyond its limits, rad (a cost). fall: once (a cost).
    """

    alive: float = 0.05
    imitate: float = 0.1
    balance: float = 0.4
    landing: float = 2.0
    approach: float = 0.2
    reach: float = 3.0
    face: float = 2.0
    speed: float = 1.0
    touch: float = 1.0
    net: float = 1.0
    land: float = 4.0
    target: float = 2.0
    rate: float = -0.02
    saturation: float = -0.01
    limits: float = -1.0
    fall: float = -8.0


@dataclass(frozen=True)
class Struck:
    """The strikes of a control step: robots (n,), rows of their goals in the pool (n,), whether the ball met the
    strings, cleared the net and landed in court (n,) bool, and where, court frame, (n, 2), m."""

    ids: Tensor
    rows: Tensor
    touch: Tensor
    clears: Tensor
    lands: Tensor
    landing: Tensor


@dataclass(frozen=True)
class StrikeTaskConfig:
    """The training task.

    Attributes:
        num_envs: robots.
        episode_s: time limit, s.
        pause: range of what passes, s, from when a stroke or a step may begin until one does.
        step_share: share of the pauses that end in a step of random way instead of a stroke.
        timestep: physics step, s. control_dt: control period, s.
        solid: limbs and trunk do not pass through each other.
        joint_noise, velocity_noise: of the start, rad, rad/s.
        push: standard deviation of random changes of the pelvis's velocity, m/s. push_interval: mean time between
            them, s.
        fall_height, fall_tilt: what counts as fallen, m, rad.
        observation_noise: of the robot's own senses, as a share of the benchmark's under `real`.
        reward: weights.
    """

    num_envs: int = 512
    episode_s: float = 8.0
    pause: tuple[float, float] = (0.0, 0.4)
    step_share: float = 0.5
    timestep: float = 0.005
    control_dt: float = 0.02
    solid: bool = True
    joint_noise: float = 0.03
    velocity_noise: float = 0.2
    push: float = 0.15
    push_interval: float = 1.0
    fall_height: float = 0.42
    fall_tilt: float = 1.0
    observation_noise: float = 0.5
    reward: RewardConfig = field(default_factory=RewardConfig)


def task_model(config: StrikeTaskConfig) -> mujoco.MjModel:
    """The robot of a training task."""
    return build_model(timestep=config.timestep, self_collision=config.solid)


class StrikeTask(VecEnv):
    """RSL-RL environment; see the module.

    Args:
        player: planner, strokes and controller around the network; a copy on the engine's device is used.
        pool: goals to train on, likewise.
        config: see `StrikeTaskConfig`.
        seed: of everything random.
        threads: of the default engine, 0 for all cores.
        engine: physics with the config's number of robots and step; default `CpuEngine`.

    Raises:
        ValueError: the engine has another number of robots or another step.
    """

    def __init__(
        self,
        player: Player,
        pool: GoalPool,
        config: StrikeTaskConfig | None = None,
        seed: int = 0,
        threads: int = 0,
        engine: BatchEngine | None = None,
    ) -> None:
        self.config = config = config or StrikeTaskConfig()
        if engine is None:
            engine = CpuEngine(config.num_envs, task_model(config), threads)
        for name, given in (("num_envs", engine.num_envs), ("timestep", engine.timestep)):
            if given != getattr(config, name):
                raise ValueError(f"engine with {name} = {given}: the task's is {getattr(config, name)}")
        self.engine = engine
        self.num_envs, self.num_actions, self.device = config.num_envs, NUM_JOINTS, engine.device
        device, n = engine.device, config.num_envs
        self.player, self.pool = player.to(device), pool.to(device)
        self.max_episode_length = round(config.episode_s / config.control_dt)
        self.episode_length_buf = torch.zeros(n, dtype=torch.long, device=device)
        self.cfg = {"task": "strike"}
        self.generator = torch.Generator().manual_seed(seed)
        self.substeps = round(config.control_dt / config.timestep)
        self.ready_qpos = ready_state((0.0, 0.0))[0].to(device)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, device=device)

        self.memory = zeros(n, MEMORY_SIZE)
        self.pause = zeros(n)
        self.goal = torch.zeros(n, dtype=torch.long, device=device)
        self.previous = zeros(n, NUM_JOINTS)
        self.kp, self.kd, self.effort, self.lower, self.upper = (
            torch.as_tensor(table.copy(), device=device) for table in (KP, KD, EFFORT_LIMIT, LOWER, UPPER)
        )
        self.racket_vel, self.racket_ang = zeros(n, 3), zeros(n, 3)
        self.landed = zeros(n)
        """How well feet that have just stepped stand, 0–1."""
        self._hit: tuple[Tensor, Tensor, Tensor] | None = None
        self.struck: Struck | None = None
        """What came of the strikes of the last step, if there were any."""
        self._blank = {
            "ball_pos": zeros(n, 3), "ball_vel": zeros(n, 3), "ball_valid": zeros(n, 1), "target": zeros(n, 2)
        }  # fmt: skip
        self._reset(torch.arange(n, device=device))
        length = torch.randint(0, self.max_episode_length, (n,), generator=self.generator)
        self.episode_length_buf = length.to(device)
        self._terms: dict[str, Tensor] = {}
        self._ref: Reference | None = None
        """Of the present memory, if it is known."""
        self._observation = self._look()

    # RSL-RL's contract

    def get_observations(self) -> TensorDict:
        """Observations for actor and critic, (N, observation_size)."""
        return TensorDict({"policy": self._observation}, batch_size=[self.num_envs])

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict]:
        """One control period."""
        targets, self.memory = self.player.act(self._terms, self.memory, actions, self._ref)
        engine = self.engine
        engine.ctrl.copy_(targets)
        if self._hit is not None:
            # The ball's push on the racket takes the first physics step.
            engine.push_racket(*self._hit)
            engine.step()
            engine.advance(self.substeps - 2)
        else:
            engine.advance(self.substeps - 1)
        self._hit = None
        pos, rot = engine.racket_pos.clone(), engine.racket_rot.clone()
        engine.step()
        self.racket_vel = ((engine.racket_pos - pos) / engine.timestep).float()
        self.racket_ang = (rotation_vector(rot, engine.racket_rot) / engine.timestep).float()
        self.episode_length_buf += 1
        rewards, log = self._reward(actions)
        fallen = self._fallen()
        rewards = rewards + self.config.reward.fall * fallen
        log["fall_per_100"] = 100 * fallen.float().mean()
        late = self.episode_length_buf >= self.max_episode_length
        dones = fallen | late
        ids = dones.nonzero().squeeze(1)
        self.previous = actions.clone()
        if len(ids):
            self._reset(ids)
        # Set by the rewards, which the checker does not see.
        recoil = cast("tuple[Tensor, Tensor, Tensor] | None", self._hit)
        if recoil is not None:
            stays = ~dones[recoil[0]]
            hit, impulse, point = (value[stays] for value in recoil)
            self._hit = (hit, impulse, point) if len(hit) else None
        self._push()
        self._observation = self._look()
        extras = {"time_outs": late & ~fallen, "log": {f"/strike/{k}": v for k, v in log.items()}}
        return self.get_observations(), rewards, dones, extras

    def state_dict(self) -> dict:
        """Everything that changes from step to step."""
        return {
            "physics": self.engine.state(),
            **{name: getattr(self, name).clone() for name in self._STATE},
            "terms": {key: value.clone() for key, value in self._terms.items()},
            "random": self.generator.get_state(),
            "hit": [] if self._hit is None else [value.clone() for value in self._hit],
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from a `state_dict`, exactly (on a GPU nearly). It may lie on another device."""
        self.engine.restore(state["physics"].to(self.device))
        for name in self._STATE:
            setattr(self, name, state[name].to(self.device, copy=True))
        self._terms = {key: value.to(self.device, copy=True) for key, value in state["terms"].items()}
        self.generator.set_state(state["random"].cpu())
        hit = [value.to(self.device) for value in state["hit"]]
        self._hit = (hit[0], hit[1], hit[2]) if hit else None
        self._ref = None

    _STATE = (
        "memory",
        "pause",
        "goal",
        "previous",
        "episode_length_buf",
        "racket_vel",
        "racket_ang",
        "landed",
        "_observation",
    )

    # Inside

    def _uniform(self, low: float, high: float, n: int) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=self.generator).to(self.device)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator).to(self.device)

    def _reset(self, ids: Tensor) -> None:
        n, config = len(ids), self.config
        qpos = self.ready_qpos.repeat(n, 1)
        qpos[:, 7:] += config.joint_noise * self._normal(n, NUM_JOINTS)
        qvel = qpos.new_zeros(n, 35)
        qvel[:, 6:] = config.velocity_noise * self._normal(n, NUM_JOINTS)
        self.engine.reset(ids, qpos, qvel)
        self.memory[ids] = 0.0
        self.previous[ids] = 0.0
        self.pause[ids] = self._uniform(*config.pause, n) + 0.1
        self.episode_length_buf[ids] = 0

    def _push(self) -> None:
        config = self.config
        hit = torch.rand(self.num_envs, generator=self.generator) < config.control_dt / config.push_interval
        ids = hit.nonzero().squeeze(1).to(self.device)
        if len(ids) and config.push > 0:
            self.engine.qvel[ids, :2] += config.push * self._normal(len(ids), 2)

    def _look(self) -> Tensor:
        """Clock, new strokes, and the observation."""
        noise, real = self.config.observation_noise, NoiseConfig()
        self._terms = {**robot_terms(self.engine), **self._blank}
        for name in ("joint_pos", "joint_vel", "base_ang_vel", "root_pos", "root_lin_vel"):
            term = self._terms[name]
            self._terms[name] = term + noise * getattr(real, name) * self._normal(*term.shape)
        self._terms["root_quat"] = turn(
            self._terms["root_quat"], noise * real.root_quat * self._normal(self.num_envs, 3)
        )
        player = self.player
        before = player.unpack(self.memory)
        self.memory, ref = player.advance(self._terms, self.memory, replan=False)
        m = player.unpack(self.memory)
        if player.steps is not None:
            off = m["stance"] - before["stance"]
            close = torch.exp(-(off[:, :2] / 0.04).square().sum(1) - (wrapped(off[:, 2]) / 0.1).square())
            over = m["walked"][:, 0] > player.steps.duration - 0.5 * player.dt
            self.landed = close * (over & (before["stepping"][:, 0] > 0.5))
        may_strike, may_step = player.may_strike(m), player.may_step(m)
        self.pause = torch.where(may_strike | may_step, self.pause - player.dt, self.pause)
        steps = torch.rand(self.num_envs, generator=self.generator).to(self.device) < self.config.step_share
        due = self.pause <= 0
        go = due & may_step & (steps | ~may_strike) & (player.steps is not None)
        strike = (due & may_strike & ~go).nonzero().squeeze(1)
        go = go.nonzero().squeeze(1)
        m = {key: value.clone() for key, value in m.items()}
        self._begin(strike, m)
        self._step_out(go, m)
        for ids in (strike, go):
            if len(ids):
                self.pause[ids] = self._uniform(*self.config.pause, len(ids))
        self.memory = player.pack(m)
        ids = torch.cat((strike, go))
        if len(ids):
            changed = player.reference({key: value[ids] for key, value in m.items()})
            for f in fields(ref):
                getattr(ref, f.name)[ids] = getattr(changed, f.name)
        self._ref = ref
        return player.observe(self._terms, self.memory, self._ref)

    def _begin(self, ids: Tensor, m: dict[str, Tensor]) -> None:
        if len(ids) == 0:
            return
        rows = torch.randint(0, len(self.pool), (len(ids),), generator=self.generator).to(self.device)
        self.goal[ids] = rows
        self.player.begin(m, ids, self.pool.at(rows))

    def _step_out(self, ids: Tensor, m: dict[str, Tensor]) -> None:
        """Begin steps of any way; most turn back to where the robot faced at first."""
        steps = self.player.steps
        if steps is None or len(ids) == 0:
            return
        # A little longer than any that will be asked for.
        longest = steps.longest.clone()
        stride = longest.new_tensor(self.player.planner.config.stride)
        longest[:2] = torch.minimum(1.2 * stride, longest[:2])
        way = (2 * torch.rand(len(ids), 3, generator=self.generator) - 1).to(self.device) * longest
        way[:, 2] = (0.5 * way[:, 2] - m["stance"][ids, 2]).clamp(-steps.longest[2], steps.longest[2])
        m["stance"][ids] = led(m["stance"][ids], way)
        m["way"][ids], m["walked"][ids], m["stepping"][ids] = way, 0.0, 1.0

    def _fallen(self) -> Tensor:
        qpos = self.engine.qpos
        upright = 1 - 2 * (qpos[:, 4] ** 2 + qpos[:, 5] ** 2)
        return (qpos[:, 2] < self.config.fall_height) | (upright < math.cos(self.config.fall_tilt))

    def _reward(self, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        w, player, engine = self.config.reward, self.player, self.engine
        # Memory's clock stands at the state before this step.
        m = player.unpack(self.memory)
        left = m["time"][:, 0] - player.dt
        begun = m["begun"][:, 0] > 0.5
        qpos = engine.qpos.float()
        ref = self._ref or player.reference(m)
        dt, turning = player.dt, m["stance"][:, 2]
        error = (qpos[:, 7:] - ref.joint_pos - dt * ref.joint_vel) ** 2
        origin = torch.cat((m["stance"][:, :2], torch.zeros_like(m["started"])), dim=1)
        root = ((qpos[:, :3] - origin - turned(ref.root_pos + dt * ref.root_lin_vel, turning)) ** 2).sum(1)
        tilt = 2 * (qpos[:, 4] ** 2 + qpos[:, 5] ** 2)
        w_, x_, y_, z_ = qpos[:, 3:7].unbind(1)
        facing = torch.atan2(2 * (w_ * z_ + x_ * y_), 1 - 2 * (y_ * y_ + z_ * z_))
        turn = wrapped(facing - turning - torch.atan2(ref.root_rot[:, 1, 0], ref.root_rot[:, 0, 0]))
        pos, vel = engine.racket_pos.float(), self.racket_vel
        line = m["goal_pos"] - m["goal_vel"] * left[:, None]
        off = torch.linalg.vector_norm(pos - line, dim=1)
        torque = (self.kp * (engine.ctrl - engine.qpos[:, 7:]) - self.kd * engine.qvel[:, 6:]) / self.effort
        beyond = (torque.abs() - 1.0).clamp(0.0, 2.0).float()
        over = (
            (engine.qpos[:, 7:] - self.upper).clamp(min=0) + (self.lower - engine.qpos[:, 7:]).clamp(min=0)
        ).float()
        near = begun & (left > -0.001) & (left < 0.12)
        reward = (
            w.alive
            + w.imitate * torch.exp(-error.mean(1) / 0.02)
            + w.balance * torch.exp(-root / 0.01 - tilt / 0.02 - turn**2 / 0.02)
            + w.landing * self.landed
            + w.approach * near * torch.exp(-((off / 0.15) ** 2))
            + w.rate * ((actions - self.previous) ** 2).mean(1)
            + w.saturation * beyond.sum(1)
            + w.limits * over.sum(1)
        )
        log = {
            "reward": reward.mean(),
            "joint_error": error.mean(1).sqrt().mean(),
            "root_error": root.sqrt().mean(),
            "turn_error": turn.square().mean().sqrt(),
        }
        self.struck = None
        now = begun & (left <= 0.5 * player.dt) & (left > -0.5 * player.dt)
        ids = now.nonzero().squeeze(1)
        if len(ids):
            bonus, more = self._judge(ids, left[ids], pos[ids], vel[ids], m)
            reward[ids] += bonus
            log.update(more)
        return reward, log

    def _judge(self, ids, left, pos, vel, m) -> tuple[Tensor, dict[str, Tensor]]:
        """Rewards of the strike: the goal, and what becomes of the ball."""
        w, player = self.config.reward, self.player
        # The strike falls between two control periods: until then the racket flies and turns on.
        spin = self.racket_ang[ids]
        motion = (pos, self.engine.racket_rot[ids].float(), vel, spin)
        at_strike, rot = pose_at(motion, left)
        face = player.strokes.face[m["stroke"][ids, 0].long()][:, None]
        normal = face * rot[..., 2]
        off = torch.linalg.vector_norm(at_strike - m["goal_pos"][ids], dim=1)
        turn = torch.acos((normal * m["goal_normal"][ids]).sum(1).clamp(-1 + 1e-6, 1 - 1e-6))
        slow = torch.linalg.vector_norm(vel - m["goal_vel"][ids], dim=1)
        close = torch.exp(-((off / 0.25) ** 2))
        reward = w.reach * (0.3 * torch.exp(-((off / 0.4) ** 2)) + 0.7 * torch.exp(-((off / 0.1) ** 2)))
        reward += (
            w.face * close * (0.4 * torch.exp(-((turn / 0.6) ** 2)) + 0.6 * torch.exp(-((turn / 0.15) ** 2)))
        )
        reward += w.speed * close * torch.exp(-((slow / 3.0) ** 2))
        # The ball flies through the plane of the strings when its distance along the normal vanishes.
        goal = self.pool.at(self.goal[ids])
        stance = m["stance"][ids]
        at = torch.cat((stance[:, :2], torch.zeros_like(stance[:, :1])), dim=1)
        ball_pos, ball_vel, ball_spin = (
            turned(value, stance[:, 2]) for value in (goal.ball_pos, goal.ball_vel, goal.ball_spin)
        )
        ball_pos = ball_pos + at
        gap = ((ball_pos - at_strike) * normal).sum(1) - 0.0335
        closing = ((vel - ball_vel) * normal).sum(1).clamp(min=1.0)
        later = (gap / closing).clamp(-0.04, 0.04)
        ball_pos = ball_pos + ball_vel * later[:, None]
        centre, rot = pose_at(motion, left + later)
        normal = face * rot[..., 2]
        local = (rot.transpose(-1, -2) @ (ball_pos - centre).unsqueeze(-1))[..., 0]
        touch = ((local[:, 0] / 0.165) ** 2 + (local[:, 1] / 0.13) ** 2 < 1) & (gap.abs() < 0.3)
        hit = impact(
            ball_vel, ball_spin, normal, ball_pos - 0.0335 * normal, centre, rot, vel, spin,
            player.planner.racket, player.planner.params,
        )  # fmt: skip
        if bool(touch.any()):
            self._hit = (ids[touch], hit.impulse[touch], (ball_pos - 0.0335 * normal)[touch])
        # It flies as if the robot stood where the goals were drawn.
        start, hit_vel, hit_spin = (
            turned(value, -stance[:, 2]) for value in (ball_pos - at, hit.vel, hit.spin)
        )
        start[:, 0] += goal.start_x
        flight = predict(BallState(start, hit_vel, hit_spin), player.planner.params, 3.0, 0.05)
        # Height over the cord where the path crosses the net.
        x = flight.pos[..., 0]
        crosses = (x[:, :-1] < 0) & (x[:, 1:] >= 0)
        index = crosses.int().argmax(dim=1, keepdim=True)
        x0, x1 = x.gather(1, index), x.gather(1, index + 1)
        share = (-x0 / (x1 - x0).clamp(min=1e-6)).clamp(0, 1)[..., None]
        both = [flight.pos.gather(1, (index + k)[..., None].expand(-1, 1, 3)) for k in (0, 1)]
        over = (both[0] + share * (both[1] - both[0]))[:, 0]
        first = flight.bounce_time[:, None] > (index + share[..., 0]) * 0.05
        clears = touch & crosses.any(1) & first[:, 0] & (over[:, 2] > net_height(over[:, 1]) + 0.0335)
        lands = clears & in_singles_court(flight.bounce_pos, "far", margin=0.03)
        landing = flight.bounce_pos[:, :2]
        self.struck = Struck(ids, self.goal[ids], touch, clears, lands, landing)
        miss = torch.linalg.vector_norm(landing - goal.aim, dim=1)
        reward += w.touch * touch + w.net * clears + w.land * lands
        reward += w.target * touch * torch.exp(-((miss / 3.0) ** 2))
        log = {
            "racket_error": off.median(),
            "face_error_deg": torch.rad2deg(turn.median()),
            "speed_error": slow.median(),
            "racket_speed": torch.linalg.vector_norm(vel, dim=1).mean(),
            "touch": touch.float().mean(),
            "clear": clears.float().mean(),
            "in_court": lands.float().mean(),
            "near": (touch & (miss < 2.5)).float().mean(),
        }
        return reward, log
