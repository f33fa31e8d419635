"""The player: planner, reference stroke, model-based control, and the observation of the policy network.

Written in torch without branches on values, so that the same code runs in training and, exported with the
network in its middle, on the robot: raw observations and a memory in, joint position targets and the next memory
out.

    plan      ball and robot state → strike goal, stroke, phase
    observe   what the network sees
    act       reference + feed-forward + balance feedback + the network's residual → joint position targets
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from humanoid.balance import balance_gain
from humanoid.joints import JOINT_NAMES, KD, KP, LOWER, NUM_JOINTS, READY_JOINT_POS, UPPER
from humanoid.racket import ARM_JOINTS
from policies.ball_filter import MEMORY as FILTER_MEMORY
from policies.ball_filter import BallFilter, FilterConfig
from policies.bend import bump
from policies.chain import foot_chain, racket_chain
from policies.goal_pool import GoalPool
from policies.latency import MEMORY as LATENCY_MEMORY
from policies.latency import LatencyConfig, LatencyEstimator
from policies.planner import Planner, PlannerConfig
from policies.steps import led, load_steps
from policies.strokes import COLUMNS, GOAL_SIZE, StrokeSet, features, turned, wrapped
from sim.return_task import TERMS
from sim.stringbed import rotation_matrix

ARM = len(ARM_JOINTS)
"""Joints of the racket's chain: waist (3) and right arm (7)."""

MEMORY: dict[str, int] = {
    "started": 1,
    "stance": 3,
    "stroke": 1,
    "phase": 1,
    "rate": 1,
    "begun": 1,
    "time": 1,
    "since": 1,
    "stepping": 1,
    "way": 3,
    "walked": 1,
    "bounced": 1,
    "ball_vz": 1,
    "option": 1,
    **FILTER_MEMORY,
    **LATENCY_MEMORY,
    "goal_pos": 3,
    "goal_vel": 3,
    "goal_normal": 3,
    "asked": GOAL_SIZE,
    "bent": 2 * ARM,
    "offset": NUM_JOINTS,
    "offset_vel": NUM_JOINTS,
    "ref_pos": NUM_JOINTS,
    "ref_vel": NUM_JOINTS,
    "action": NUM_JOINTS,
}
"""The player's memory by name and size. All zeros: not started."""
MEMORY_SIZE = sum(MEMORY.values())
STEP_SIZE = 4 + 6
"""What the network sees of a step: whether there is one, its way, and its clock as bumps 0.12 s apart."""


OBSERVED = (
    ("pelvis off the reference", 6),
    ("pelvis's velocity off it", 6),
    ("joints off it", NUM_JOINTS),
    ("joint velocities off it", NUM_JOINTS),
    ("reference of waist and arm", 2 * ARM),
    ("racket to goal", 3),
    ("goal's velocity", 3),
    ("goal's face", 3),
    ("racket's face", 3),
    ("racket's axis", 3),
    ("clock of the stroke", 6),
    ("last output", NUM_JOINTS),
)
"""What the network sees, in the order of `Player.observe`; after these the stroke, one entry each, and the step."""


@dataclass(frozen=True)
class PlayerConfig:
    """Constants of the player.

    Attributes:
        strokes: names of the planted strokes it plays; none: all that ship.
        action_scale_legs, action_scale_arms: target correction of a network output of 1, rad.
        early: a stroke may begin so long before the way back from the last one is over, s.
        rest: a step begins no sooner than so long after the way back from a stroke would be over, s; below zero it
            goes together with the end of the way back.
        join: time in which what went before a stroke fades out, s.
        hurry: the wind-up of a stroke that is late, and the way back from one, run up to so many times as fast.
        quiet: time before the strike from which on only a share of the network's output is used, s.
        quiet_legs, quiet_arms: that share, 0–1.
        swing: what comes before the strike and keeps its own time, s.
        feedback: share of the balance regulator's correction that is used, 0–1.
        steps: whether it takes steps between strokes.
        prior: whether it follows strokes. Without, the reference is the ready pose whatever is planned, and the network
            finds its own way to the goal: the baseline that shows what the strokes are worth.
        foot_hold: share of the pelvis's turn that a foot in the air does not follow.
        stance_rate: how fast the stance follows the feet if they slip, 1/s.
        planner: see `PlannerConfig`. filter: see `FilterConfig`. latency: see `LatencyConfig`.
    """

    strokes: tuple[str, ...] = ()
    action_scale_legs: float = 0.15
    action_scale_arms: float = 0.1
    early: float = 0.2
    rest: float = -0.1
    join: float = 0.4
    hurry: float = 1.2
    quiet: float = 0.45
    quiet_legs: float = 0.5
    quiet_arms: float = 0.25
    swing: float = 0.36
    feedback: float = 0.65
    steps: bool = True
    prior: bool = True
    foot_hold: float = 1.0
    stance_rate: float = 12.0
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    latency: LatencyConfig = field(default_factory=LatencyConfig)


@dataclass
class Reference:
    """What the robot should do now, in the stance frame. Fields (N, …), see `StrokeSet`."""

    root_pos: Tensor
    root_rot: Tensor
    root_lin_vel: Tensor
    root_ang_vel: Tensor
    joint_pos: Tensor
    joint_vel: Tensor
    torque: Tensor


@dataclass
class State:
    """The robot in the stance frame: pelvis pose and velocity (N, …), joints (N, 29), tilt error etc."""

    root_pos: Tensor
    root_rot: Tensor
    root_lin_vel: Tensor
    root_ang_vel: Tensor
    joint_pos: Tensor
    joint_vel: Tensor


class Player:
    """See the module. All methods take and return batches of N; memory is (N, MEMORY_SIZE).

    Args:
        strokes: the strokes named in the config, in that order.
        config: constants.
        control_dt: control period, s; the strokes' rate.
    """

    def __init__(
        self, strokes: StrokeSet, config: PlayerConfig | None = None, control_dt: float = 0.02
    ) -> None:
        self.config = config = config or PlayerConfig()
        self.strokes = strokes
        self.dt = control_dt
        self.steps = load_steps(dt=control_dt) if config.steps else None
        self.planner = Planner(strokes, config.planner, steps=self.steps)
        self.filter = BallFilter(self.planner.params, control_dt, config.filter)
        self.latency = LatencyEstimator(control_dt, float(self.planner.params.radius), config.latency)
        self.racket = racket_chain()
        self.feet = (foot_chain("left"), foot_chain("right"))
        self.arm = self.racket.index
        self.gain = torch.as_tensor(balance_gain(control_dt).copy(), dtype=torch.float32)
        self.kp, self.kd, self.lower, self.upper, self.ready = (
            torch.as_tensor(a.copy(), dtype=torch.float32) for a in (KP, KD, LOWER, UPPER, READY_JOINT_POS)
        )
        scale = torch.full((NUM_JOINTS,), config.action_scale_arms)
        scale[:12] = config.action_scale_legs
        self.action_scale = scale
        loud = torch.full((NUM_JOINTS,), config.quiet_arms)
        loud[:12] = config.quiet_legs
        self.loud = loud
        self.legs, self.hip_yaws = (torch.zeros(2, NUM_JOINTS) for _ in range(2))
        for row, side in enumerate(("left", "right")):
            for joint, name in enumerate(JOINT_NAMES[:12]):
                self.legs[row, joint] = float(name.startswith(side))
                self.hip_yaws[row, joint] = float(name == f"{side}_hip_yaw_joint")
        feet = [foot.forward(self.ready[foot.index][None]) for foot in self.feet]
        middle = 0.5 * (feet[0].pos + feet[1].pos)[0]
        self._feet_ahead = float(middle[0])
        """Middle of the soles ahead of the pelvis in the ready pose, m."""
        self.observation_size = sum(size for _, size in OBSERVED) + strokes.num_strokes + STEP_SIZE

    def to(self, device: torch.device | str) -> Player:
        """The same player with its constants on a device, for training; play and export are on the CPU."""
        moved = copy(self)
        for name, value in vars(self).items():
            if hasattr(value, "to"):
                setattr(moved, name, value.to(device))
        moved.feet = (self.feet[0].to(device), self.feet[1].to(device))
        return moved

    # Memory

    @staticmethod
    def unpack(memory: Tensor) -> dict[str, Tensor]:
        """Memory (N, MEMORY_SIZE) by name."""
        return dict(zip(MEMORY, memory.split(list(MEMORY.values()), dim=1), strict=True))

    @staticmethod
    def pack(parts: dict[str, Tensor]) -> Tensor:
        """Inverse of `unpack`."""
        return torch.cat([parts[name] for name in MEMORY], dim=1)

    # Planning

    def plan(self, terms: dict[str, Tensor], memory: Tensor, replan: bool = True) -> Tensor:
        """`advance` without the reference."""
        return self.advance(terms, memory, replan)[0]

    def advance(
        self, terms: dict[str, Tensor], memory: Tensor, replan: bool = True
    ) -> tuple[Tensor, Reference]:
        """Move the clock on and plan the strike.

        Args:
            terms: raw observation terms, see `sim.return_task.TERMS`.
            memory: (N, MEMORY_SIZE).
            replan: look at the ball; otherwise the last plan stands (training skips steps to save time).

        Returns:
            Memory with this step's stance, stroke, phase and goal, and the reference that belongs to it.
        """
        config, m = self.config, self.unpack(memory)
        started = m["started"] > 0.5
        m = self._walk(m)
        stance = self._stance(terms, m, started)
        stepping = m["stepping"][:, 0] > 0.5
        m["ref_pos"] = torch.where(started, m["ref_pos"], self.ready)
        stroke = m["stroke"][:, 0].round().to(torch.int64)
        strike_s = self.strokes.strike.float() * self.dt
        end_s = self.strokes.end.float() * self.dt

        begun = m["begun"][:, 0] > 0.5
        time = torch.where(started[:, 0], m["time"][:, 0] - self.dt, -torch.ones_like(m["time"][:, 0])).clamp(
            min=-1.0
        )
        phase = torch.where(started[:, 0], m["phase"][:, 0] + m["rate"][:, 0] * self.dt, end_s[stroke])
        phase = torch.minimum(phase, end_s[stroke])
        since = m["since"][:, 0] + self.dt
        # The strike is over a moment after its time.
        struck = begun & (time < -0.5 * self.dt)
        begun = begun & ~struck
        begin = torch.zeros_like(begun)
        back = phase >= end_s[stroke] - config.early - 0.5 * self.dt
        free = ~begun & back & (self._left(m) <= 0.5 * self.dt)
        may_step = ~begun & ~stepping
        # Time left for the way back before the next stroke must begin.
        spare = torch.full_like(time, 10.0)
        goal = {name: m[f"goal_{name}"] for name in ("pos", "vel", "normal")}
        late, spin = torch.zeros_like(time), torch.zeros_like(terms["ball_vel"])
        if replan:
            ball = (terms["ball_pos"], terms["ball_vel"], terms["ball_valid"] > 0.5, m["bounced"] > 0.5)
            pos, vel, spin, exact = self.filter.update(*ball, m)
            other = m["seen"] < 1.5 * self.dt
            planned = (goal["pos"], goal["vel"], goal["normal"])
            self.latency.update(pos, vel, ball[2], other, begun[:, None], time[:, None], planned, m)
            late = torch.where(exact, torch.zeros_like(time), self.latency.mean(m))
            terms = {**terms, "ball_pos": pos, "ball_vel": vel}
            # Another ball: nothing is known of its bounce yet.
            known = (~other).float()
            m["bounced"], m["ball_vz"] = known * m["bounced"], known * m["ball_vz"]
        # A ball has bounced on this side when it turns from falling to rising there.
        near = terms["ball_pos"][:, :1] < 0.0
        seen_ball = terms["ball_valid"] > 0.5
        turned = (m["ball_vz"] < -0.3) & (terms["ball_vel"][:, 2:] > 0.3)
        bounced = seen_ball & near & ((m["bounced"] > 0.5) | turned)
        m["bounced"] = bounced.float()
        m["ball_vz"] = torch.where(seen_ball, terms["ball_vel"][:, 2:], torch.zeros_like(m["ball_vz"]))
        option = m["option"][:, 0].round().to(torch.int64)
        if replan:
            back = (end_s[stroke] - config.early - phase).clamp(min=0.0) / config.hurry
            # A step wants a robot that stands; a stroke may follow the last one sooner.
            standing = (config.rest + (end_s - strike_s)[stroke] + time).clamp(min=0.0)
            standing = torch.where(stepping, self._left(m, 0.0), standing)
            plan = self.planner.plan(
                terms["ball_pos"],
                terms["ball_vel"],
                terms["target"],
                stance,
                stroke,
                time,
                begun,
                bounced[:, 0],
                torch.maximum(self._left(m), back),
                standing,
                option,
                m["drag"][:, 0],
                late,
                spin,
            )
            seen = terms["ball_valid"][:, 0] > 0.5
            usable = plan.feasible & seen
            begin = usable & free & (plan.goal.time <= strike_s[plan.stroke] + 0.5 * self.dt)
            spare = torch.where(usable & ~begun, plan.goal.time - strike_s[plan.stroke], spare)
            # A step is taken first where one is in time and brings the ball into better reach.
            away = torch.linalg.vector_norm(plan.way, dim=1) > 0.0
            stepping_out = seen & may_step & away & (standing <= 0.5 * self.dt)
            begin = begin & ~stepping_out
            # From now on the stance is where the step leads to.
            stance = torch.where(stepping_out[:, None], led(stance, plan.way), stance)
            m["way"] = torch.where(stepping_out[:, None], plan.way, m["way"])
            m["walked"] = torch.where(stepping_out[:, None], torch.zeros_like(m["walked"]), m["walked"])
            m["stepping"] = torch.where(stepping_out[:, None], torch.ones_like(m["stepping"]), m["stepping"])
            follow = usable & begun & (time > self.planner.config.freeze)
            update = begin | follow
            stroke = torch.where(begin, plan.stroke, stroke)
            option = torch.where(begin, plan.option, option)
            time = torch.where(update, plan.goal.time, time)
            for name, value in (("pos", plan.goal.pos), ("vel", plan.goal.vel), ("normal", plan.goal.normal)):
                goal[name] = torch.where(update[:, None], value, goal[name])
            since = torch.where(begin, torch.zeros_like(since), since)
            begun = begun | begin
        phase = torch.where(begin, torch.zeros_like(phase), phase)
        # The clock runs so that the stroke strikes on time, and is over when the next one must begin.
        # What is late is made up for before the swing; the swing itself has its own time.
        swing = torch.where(strike_s[stroke] - phase > config.swing + self.dt, config.swing, 0.0)
        ahead = (strike_s[stroke] - phase - swing) / (time - swing).clamp(min=0.5 * self.dt)
        back = (end_s[stroke] - phase) / spare.clamp(min=self.dt)
        rate = torch.where(begun, ahead.clamp(min=0.7), back.clamp(min=1.0)).clamp(max=config.hurry)
        rate = torch.where(begun & (time < 0.5 * self.dt), torch.ones_like(rate), rate)
        m.update(
            started=torch.ones_like(m["started"]),
            stance=stance,
            stroke=stroke[:, None].float(),
            option=option[:, None].float(),
            phase=phase[:, None],
            rate=rate[:, None],
            begun=begun[:, None].float(),
            time=time[:, None],
            since=since[:, None],
            goal_pos=goal["pos"],
            goal_vel=goal["vel"],
            goal_normal=goal["normal"],
        )
        # What has been struck is done with, wherever the feet go from there.
        if replan:
            for name, value in self.ask(m).items():
                m[name] = torch.where(m["begun"] > 0.5, value, m[name])
        else:
            ids = begun.nonzero().squeeze(1)
            for name, value in self.ask({key: value[ids] for key, value in m.items()}).items():
                m[name] = m[name].index_copy(0, ids, value)
        clip = self._clip(m, 0.0)
        m["offset"] = torch.where(begin[:, None], m["ref_pos"] - clip["joint_pos"], m["offset"])
        m["offset_vel"] = torch.where(begin[:, None], m["ref_vel"] - clip["joint_vel"], m["offset_vel"])
        ref = self.reference(m, clip=clip)
        m["ref_pos"], m["ref_vel"] = ref.joint_pos, ref.joint_vel
        return self.pack(m), ref

    def begin(self, m: dict[str, Tensor], ids: Tensor, goals: GoalPool) -> None:
        """Let robots `ids` begin the strokes of `goals`, one each, as seen from their stance; changes `m` in place."""
        stance = m["stance"][ids]
        at = torch.cat((stance[:, :2], torch.zeros_like(stance[:, :1])), dim=1)
        m["goal_pos"][ids] = at + turned(goals.pos, stance[:, 2])
        m["goal_vel"][ids] = turned(goals.vel, stance[:, 2])
        m["goal_normal"][ids] = turned(goals.normal, stance[:, 2])
        m["stroke"][ids] = goals.stroke.float()[:, None]
        m["time"][ids] = goals.time[:, None]
        m["begun"][ids] = 1.0
        m["phase"][ids] = 0.0
        m["rate"][ids] = 1.0
        for name, value in self.ask({key: value[ids] for key, value in m.items()}).items():
            m[name][ids] = value
        self.join(m, ids)

    def join(self, m: dict[str, Tensor], ids: Tensor) -> None:
        """Let what robots `ids` did before fade out from now on; changes `m` in place."""
        m["since"][ids] = 0.0
        own = {key: value[ids] for key, value in m.items()}
        clip = self._clip(own, 0.0)
        m["offset"][ids] = own["ref_pos"] - clip["joint_pos"]
        m["offset_vel"][ids] = own["ref_vel"] - clip["joint_vel"]

    def may_step(self, m: dict[str, Tensor]) -> Tensor:
        """Whether a step may begin now, (N,) bool."""
        stroke = m["stroke"][:, 0].round().to(torch.int64)
        since = (self.strokes.end - self.strokes.strike)[stroke].float() * self.dt + m["time"][:, 0]
        over = self.config.rest + since <= 0.5 * self.dt
        return over & (m["begun"][:, 0] < 0.5) & (m["stepping"][:, 0] < 0.5)

    def may_strike(self, m: dict[str, Tensor]) -> Tensor:
        """Whether a stroke may begin now, (N,) bool."""
        stroke = m["stroke"][:, 0].round().to(torch.int64)
        over = self.strokes.end[stroke].float() * self.dt - self.config.early - 0.5 * self.dt
        return (m["begun"][:, 0] < 0.5) & (m["phase"][:, 0] >= over) & (self._left(m) <= 0.5 * self.dt)

    def _left(self, m: dict[str, Tensor], settle: float | None = None) -> Tensor:
        """Time until a stroke may begin beside the step that is under way, or `settle` after its end, (N,), s."""
        if self.steps is None:
            return torch.zeros_like(m["walked"][:, 0])
        settle = self.planner.config.settle if settle is None else settle
        left = (self.steps.duration + settle - m["walked"][:, 0]).clamp(min=0.0)
        return torch.where(m["stepping"][:, 0] > 0.5, left, torch.zeros_like(left))

    def _walk(self, m: dict[str, Tensor]) -> dict[str, Tensor]:
        """Move the clock of a step on."""
        if self.steps is None:
            return m
        m = dict(m)
        on = m["stepping"] > 0.5
        m["walked"] = torch.where(on, m["walked"] + self.dt, m["walked"])
        rest = max(0.0, self.planner.config.settle)
        over = on & (m["walked"] > self.steps.duration + rest - 0.5 * self.dt)
        m["stepping"] = torch.where(over, torch.zeros_like(m["stepping"]), m["stepping"])
        m["landed"] = (on & (m["walked"] > self.steps.duration - 0.5 * self.dt)).float()
        return m

    def _stance(self, terms: dict[str, Tensor], m: dict[str, Tensor], started: Tensor) -> Tensor:
        """Where the feet stand: x, y of the ready pose's pelvis over them and their heading, (N, 3)."""
        pos = terms["root_pos"]
        rot = rotation_matrix(terms["root_quat"])
        soles = [foot.forward(terms["joint_pos"][:, foot.index]) for foot in self.feet]
        middle = 0.5 * (soles[0].pos + soles[1].pos)
        middle = pos + (rot @ middle.unsqueeze(-1))[..., 0]
        ahead = [(rot @ sole.rot[..., :1])[..., 0] for sole in soles]
        ahead = ahead[0] + ahead[1]
        heading = torch.atan2(ahead[:, 1], ahead[:, 0])
        x = middle[:, 0] - self._feet_ahead * heading.cos()
        y = middle[:, 1] - self._feet_ahead * heading.sin()
        now = torch.stack((x, y, heading), dim=1)
        follow = self.config.stance_rate * self.dt
        moved = torch.cat((now[:, :2] - m["stance"][:, :2], wrapped(now[:, 2:] - m["stance"][:, 2:])), dim=1)
        if self.steps is not None:
            # Feet that step tell nothing; where they landed they stand.
            follow = torch.full_like(m["landed"], follow)
            follow = torch.where(m["stepping"] > 0.5, torch.zeros_like(follow), follow)
            follow = torch.where(m["landed"] > 0.5, torch.ones_like(follow), follow)
        return torch.where(started, m["stance"] + follow * moved, now)

    # Reference

    def _clip(self, m: dict[str, Tensor], ahead: float) -> dict[str, Tensor]:
        """The stroke for the goal, `ahead` s after the present phase, by column, with the step that is under way."""
        s = self.strokes
        stroke = m["stroke"][:, 0].round().to(torch.int64)
        end = s.end[stroke].float()
        frame = torch.minimum((m["phase"][:, 0] + ahead * m["rate"][:, 0]) / self.dt, end)
        low = frame.floor().clamp(max=float(s.weights.shape[1] - 2))
        u = (frame - low)[:, None, None]
        row = stroke * s.weights.shape[1] + low.to(torch.int64)
        table = s.weights.flatten(0, 1)
        weights = torch.lerp(table[row], table[row + 1], u)
        values = (features(m["asked"]).unsqueeze(1) @ weights)[:, 0]
        if not self.config.prior:
            values = s.weights[0, 0, 0].expand_as(values)
        out = dict(zip(COLUMNS, values.split(list(COLUMNS.values()), dim=1), strict=True))
        if self.config.prior:
            # Near the strike waist and arm bend to where the racket is wanted.
            parts = bump((frame - s.strike[stroke].float()) * self.dt)
            share, lean, change, pace = (value[:, None] for value in parts)
            bent, quick = m["bent"].split(ARM, dim=1)
            out["joint_pos"] = out["joint_pos"].index_add(1, self.arm, share * bent + lean * quick)
            out["joint_vel"] = out["joint_vel"].index_add(1, self.arm, change * bent + pace * quick)
        moving = (frame < end - 1e-2).float()[:, None] * m["rate"]
        for name in ("root_lin_vel", "heading_rate", "joint_vel"):
            out[name] = out[name] * moving
        if self.steps is not None:
            # A step and the beginning of a stroke may go together: each is what it adds to the ready pose.
            going = m["stepping"]
            step = self.steps.at(m["way"], m["walked"][:, 0] + ahead)
            step = dict(zip(COLUMNS, step.split(list(COLUMNS.values()), dim=1), strict=True))
            out = {name: value + going * step[name] for name, value in out.items()}
        return out

    def ask(self, m: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the stroke's family is \"asked\" for so that it delivers the goal, (N, GOAL_SIZE), and how waist and arm
        are \"bent\" for the rest of it, (N, 2 ARM)."""
        stroke = m["stroke"][:, 0].round().to(torch.int64)
        goal = [self.to_stance(m, name) for name in ("pos", "vel", "normal")]
        scaled = self.strokes.scaled(stroke, *goal)
        scaled = self.strokes.within(stroke, scaled, self.planner.config.strain)
        wanted = self.strokes.wanted(stroke, scaled)
        asked = self.strokes.asked(stroke, wanted, self.racket)
        return {"asked": asked, "bent": self.strokes.bend(stroke, asked, wanted, self.racket)}

    def reference(
        self, m: dict[str, Tensor], ahead: float = 0.0, clip: dict[str, Tensor] | None = None
    ) -> Reference:
        """The stroke for the goal, `ahead` s after the present phase, in the stance frame; `clip`: the stroke alone."""
        config = self.config
        clip = self._clip(m, ahead) if clip is None else clip
        # Join: what the last reference was off the stroke at its beginning fades out.
        x = ((m["since"] + ahead) / config.join).clamp(0.0, 1.0)
        off, gone = m["offset"], config.join * m["offset_vel"]
        joint_pos = clip["joint_pos"] + (1 - x) ** 2 * ((1 + 2 * x) * off + x * gone)
        joint_vel = clip["joint_vel"] + (1 - x) * ((1 - 3 * x) * gone - 6 * x * off) / config.join
        joint_pos = torch.minimum(torch.maximum(joint_pos, self.lower), self.upper)
        cos, sin = clip["heading"].cos(), clip["heading"].sin()
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        rot = torch.cat((cos, -sin, zero, sin, cos, zero, zero, zero, one), dim=-1).unflatten(-1, (3, 3))
        return Reference(
            root_pos=clip["root_pos"],
            root_rot=rot,
            root_lin_vel=clip["root_lin_vel"],
            root_ang_vel=torch.cat((zero, zero, clip["heading_rate"]), dim=1),
            joint_pos=joint_pos,
            joint_vel=joint_vel,
            torque=clip["torque"],
        )

    def to_stance(self, m: dict[str, Tensor], name: str) -> Tensor:
        """The goal's \"pos\", \"vel\" or \"normal\" in the stance frame, (N, 3)."""
        value = m[f"goal_{name}"]
        cos, sin = m["stance"][:, 2].cos(), m["stance"][:, 2].sin()
        x, y, z = value.unbind(1)
        if name == "pos":
            x, y = x - m["stance"][:, 0], y - m["stance"][:, 1]
        return torch.stack((cos * x + sin * y, cos * y - sin * x, z), dim=1)

    # State and control

    def state(self, terms: dict[str, Tensor], m: dict[str, Tensor]) -> State:
        """The robot in the stance frame."""
        cos, sin = m["stance"][:, 2].cos(), m["stance"][:, 2].sin()
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        turn = torch.stack((cos, sin, zero, -sin, cos, zero, zero, zero, one), dim=-1).unflatten(-1, (3, 3))
        origin = torch.cat((m["stance"][:, :2], torch.zeros_like(m["started"])), dim=1)

        def seen(vector: Tensor) -> Tensor:
            return (turn @ vector.unsqueeze(-1))[..., 0]

        return State(
            root_pos=seen(terms["root_pos"] - origin),
            root_rot=turn @ rotation_matrix(terms["root_quat"]),
            root_lin_vel=seen(terms["root_lin_vel"]),
            root_ang_vel=terms["base_ang_vel"],
            joint_pos=terms["joint_pos"],
            joint_vel=terms["joint_vel"],
        )

    def deviation(self, state: State, ref: Reference) -> tuple[Tensor, Tensor]:
        """Deviation from the reference: configuration (N, 35) and velocity (N, 35)."""
        rotation = rotation_vector(ref.root_rot.transpose(-1, -2) @ state.root_rot)
        q = torch.cat((state.root_pos - ref.root_pos, rotation, state.joint_pos - ref.joint_pos), dim=1)
        v = torch.cat(
            (
                state.root_lin_vel - ref.root_lin_vel,
                state.root_ang_vel - ref.root_ang_vel,
                state.joint_vel - ref.joint_vel,
            ),
            dim=1,
        )
        return q, v

    def observe(self, terms: dict[str, Tensor], memory: Tensor, ref: Reference | None = None) -> Tensor:
        """Observation of the network, (N, observation_size), all entries of order one; `ref`: the present reference."""
        m = self.unpack(memory)
        ref, state = ref or self.reference(m), self.state(terms, m)
        q, v = self.deviation(state, ref)
        racket = self.racket.forward(state.joint_pos[:, self.arm])
        pos = state.root_pos + (state.root_rot @ racket.pos.unsqueeze(-1))[..., 0]
        rot = state.root_rot @ racket.rot
        stroke = m["stroke"][:, 0].round().to(torch.int64)
        face = self.strokes.face[stroke][:, None]
        goal_pos, goal_vel, goal_normal = (self.to_stance(m, name) for name in ("pos", "vel", "normal"))
        begun, time = m["begun"], m["time"].clamp(-1.0, 1.6)
        left = self.strokes.end[stroke].float()[:, None] * self.dt - m["phase"]
        kind = torch.nn.functional.one_hot(stroke, self.strokes.num_strokes).float()
        clock = m["walked"] / 0.12 - torch.arange(STEP_SIZE - 4, device=begun.device)
        return torch.cat(
            (
                10.0 * q[:, :6],
                v[:, :3],
                0.5 * v[:, 3:6],
                5.0 * q[:, 6:],
                0.2 * v[:, 6:],
                ref.joint_pos[:, self.arm],
                0.2 * ref.joint_vel[:, self.arm],
                begun * (goal_pos - pos).clamp(-1.5, 1.5) * 2.0,
                begun * 0.1 * goal_vel,
                begun * goal_normal,
                face * rot[..., 2],
                rot[..., 0],
                begun,
                begun * time,
                begun * torch.exp(-5.0 * time.clamp(min=0.0)),
                begun * torch.exp(-20.0 * time.clamp(min=0.0)),
                left,
                m["since"].clamp(max=1.0),
                m["action"],
                kind,
                m["stepping"],
                m["stepping"] * 5.0 * m["way"],
                m["stepping"] * (1.0 - clock.abs()).clamp(min=0.0),
            ),
            dim=1,
        )

    def act(
        self, terms: dict[str, Tensor], memory: Tensor, action: Tensor, ref: Reference | None = None
    ) -> tuple[Tensor, Tensor]:
        """Joint position targets (N, 29), rad, from the network's output (N, 29), and the next memory; `ref`: the
        present reference, if it is known already."""
        m = self.unpack(memory)
        ref, state = ref or self.reference(m), self.state(terms, m)
        q, v = self.deviation(state, ref)
        feedback = torch.cat((q, v), dim=1) @ self.gain.T
        if self.steps is not None:
            # The regulator knows standing feet. One in the air turns with the pelvis, and must not.
            air = m["stepping"] * self.steps.in_swing(m["way"], m["walked"][:, 0])
            feedback = feedback * (1 - air @ self.legs)
            hold = self.config.foot_hold * q[:, 5:6] * (air @ self.hip_yaws)
        else:
            hold = torch.zeros_like(feedback)
        # The stroke is nearly exact as it is: in the swing the network has less to say than before and after it.
        time, ramp = m["time"], 0.1
        loud = torch.maximum((time - self.config.quiet) / ramp, -time / ramp).clamp(0.0, 1.0)
        action = torch.maximum(loud, self.loud) * action.clamp(-3.0, 3.0)
        # Targets are held for a control period: what they ask for belongs to its middle.
        drive = self.reference(m, 0.5 * self.dt)
        targets = (
            drive.joint_pos
            + (self.kd / self.kp) * drive.joint_vel
            + drive.torque / self.kp
            - self.config.feedback * feedback.clamp(-0.6, 0.6)
            - hold
            + self.action_scale * action
        )
        m["action"] = action
        return targets, self.pack(m)


def rotation_vector(rot: Tensor) -> Tensor:
    """Rotation vector (N, 3) of matrices (N, 3, 3), for turns below about 2 rad."""
    skew = torch.stack(
        (rot[..., 2, 1] - rot[..., 1, 2], rot[..., 0, 2] - rot[..., 2, 0], rot[..., 1, 0] - rot[..., 0, 1]),
        dim=-1,
    )
    sine = 0.5 * skew.norm(dim=-1)
    cosine = 0.5 * (rot.diagonal(dim1=-2, dim2=-1).sum(-1) - 1)
    angle = torch.atan2(sine, cosine)
    return skew * (0.5 * angle / sine.clamp(min=1e-6)).unsqueeze(-1)


def split_terms(observation: Tensor) -> dict[str, Tensor]:
    """Raw observation (N, OBSERVATION_SIZE) by term."""
    return dict(zip(TERMS, observation.split(list(TERMS.values()), dim=1), strict=True))
