"""What a robot on a real court knows: noisy sensors, and a ball that a camera saw a moment ago.

The robot's own sensors (joints, gyro, orientation, pelvis position and velocity) are noisy and prompt. The
ball comes from cameras: its position is noisy and late, whole frames are lost, and nobody measures its
velocity: a small Kalman filter estimates it from the positions. The landing target is the player's own choice
and stays exact.

None of the figures has a published source unless it says so; they are of the size that motion capture
rooms and the G1's sensors are commonly simulated with.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

GRAVITY = 9.81


@dataclass(frozen=True)
class NoiseConfig:
    """Standard deviations of Gaussian noise, drawn anew every control step, unless said otherwise.

    Attributes:
        joint_pos: rad. joint_vel: rad/s.
        base_ang_vel: rad/s. root_quat: rad, about each axis.
        root_pos: m. root_lin_vel: m/s.
        root_pos_bias: constant error of the pelvis position over an episode, each axis, m.
        ball_pos: m.
        latency: range of the age of camera frames, drawn for an episode, s (the benchmark's 0–50 ms).
        dropout: share of camera frames that are lost whole.
        min_frames: camera frames of a ball that are needed before it counts as observed.
    """

    joint_pos: float = 0.005
    joint_vel: float = 0.3
    base_ang_vel: float = 0.05
    root_quat: float = 0.01
    root_pos: float = 0.003
    root_lin_vel: float = 0.05
    root_pos_bias: float = 0.01
    ball_pos: float = 0.01
    latency: tuple[float, float] = (0.0, 0.05)
    dropout: float = 0.02
    min_frames: int = 3

    def check(self) -> None:
        """Raise ValueError naming the figure that no sensor has."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "latency":
                if len(value) != 2 or not 0.0 <= value[0] <= value[1] <= 10.0:
                    raise ValueError(
                        f"latency {value}: give a range from 0 to at most 10 s, smaller bound first"
                    )
            elif field.name == "dropout":
                if not 0.0 <= value < 1.0:
                    raise ValueError(f"dropout {value}: give a share from 0 to below 1")
            elif field.name == "min_frames":
                if value < 1:
                    raise ValueError(f"min_frames {value}: give 1 or more camera frames")
            elif not 0.0 <= value <= 100.0:
                raise ValueError(f"noise of {field.name} {value}: give a standard deviation from 0 to 100")


@dataclass(frozen=True)
class TrackerConfig:
    """The ball tracker.

    Attributes:
        noise: expected standard deviation of a measured position, m.
        acceleration: expected size of accelerations besides gravity (drag, spin), m/s².
        first_speed: expected size of the velocity of a new ball, m/s.
        gate: a measurement further from the prediction than so many standard deviations is taken for a
            bounce: the velocity is learned anew.
        jump: a measurement further from the prediction than this is another ball, m.
    """

    noise: float = 0.01
    acceleration: float = 12.0
    first_speed: float = 20.0
    gate: float = 5.0
    jump: float = 1.0


class BallTracker:
    """Kalman filters of N balls: position and velocity under gravity, from positions alone.

    The three axes share one covariance. A bounce, which the filter does not model, opens its gate, and
    within about three frames the velocity is known again.

    Args:
        num_envs: N.
        dt: time between frames, s.
        config: see `TrackerConfig`. device: where its tensors live.

    Attributes:
        pos, vel: estimates, (N, 3), m, m/s.
        frames: measurements of the present ball, (N,).
    """

    def __init__(
        self,
        num_envs: int,
        dt: float,
        config: TrackerConfig | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = c = config or TrackerConfig()
        self.dt = dt
        self.pos = torch.zeros(num_envs, 3, device=device)
        self.vel = torch.zeros_like(self.pos)
        self.frames = torch.zeros(num_envs, dtype=torch.int64, device=device)
        # Entries of the symmetric covariance: position, position-velocity, velocity.
        self._p = torch.zeros_like(self.pos)
        self._first = torch.tensor([c.noise**2, 0.0, c.first_speed**2], device=device)
        self._gravity = torch.tensor([0.0, 0.0, -GRAVITY], device=device)
        self._still = torch.zeros(3, device=device)

    def reset(self, ids: Tensor) -> None:
        """Forget the balls of environments `ids`, (n,) indices or (N,) bool."""
        self.frames[ids] = 0

    def update(self, measured: Tensor, seen: Tensor) -> None:
        """Advance by one frame.

        Args:
            measured: positions, (N, 3), m.
            seen: whether there is a measurement in this frame, (N,) bool. Without one the estimate flies on.
        """
        c, dt, gravity = self.config, self.dt, self._gravity
        pos = self.pos + dt * self.vel + 0.5 * dt * dt * gravity
        vel = self.vel + dt * gravity
        q = (c.acceleration * dt) ** 2
        a, b, d = self._p.unbind(1)
        a, b, d = a + 2 * dt * b + dt * dt * d + 0.25 * q * dt * dt, b + dt * d + 0.5 * q * dt, d + q
        off = measured - pos
        distance = torch.linalg.vector_norm(off, dim=1)
        known = self.frames > 0
        new = seen & (~known | ((distance > c.jump) & (self.frames > 1)))
        second = seen & (self.frames == 1)
        bounce = seen & known & ~new & ~second & (distance > c.gate * (a + c.noise**2).sqrt())
        # After a bounce the ball is where it was measured, at an unknown speed.
        d = torch.where(bounce, d + (0.5 * c.first_speed) ** 2, d)
        a = torch.where(bounce, a + (0.5 * c.first_speed * dt) ** 2, a)
        b = torch.where(bounce, b + 0.25 * c.first_speed**2 * dt, b)
        inverse = 1.0 / (a + c.noise**2)
        gain_pos, gain_vel = (a * inverse)[:, None], (b * inverse)[:, None]
        measured_pos, measured_vel = pos + gain_pos * off, vel + gain_vel * off
        covariance = torch.stack((a - a * a * inverse, b - a * b * inverse, d - b * b * inverse), dim=1)
        use, keep = seen[:, None], torch.stack((a, b, d), dim=1)
        self.pos = torch.where(new[:, None], measured, torch.where(use, measured_pos, pos))
        self.vel = torch.where(new[:, None], self._still, torch.where(use, measured_vel, vel))
        self._p = torch.where(new[:, None], self._first, torch.where(use, covariance, keep))
        self.frames = torch.where(new, torch.ones_like(self.frames), self.frames + seen.long())


class DelayLine:
    """The ball as cameras saw it a while ago: positions between frames by straight lines.

    Args:
        num_envs: N.
        dt: time between calls, s.
        longest: longest delay, s. device: where its tensors live.
    """

    def __init__(self, num_envs: int, dt: float, longest: float, device: torch.device | str = "cpu") -> None:
        self.dt = dt
        length = int(longest / dt) + 2
        self._pos = torch.zeros(length, num_envs, 3, device=device)
        self._valid = torch.zeros(length, num_envs, dtype=torch.bool, device=device)
        self._env = torch.arange(num_envs, device=device)
        self.delay = torch.zeros(num_envs, device=device)
        """(N,), s."""

    def reset(self, ids: Tensor) -> None:
        """Nothing was seen yet by environments `ids`."""
        self._valid[:, ids] = False

    def push(self, pos: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Take in the present positions (N, 3) and whether there is a ball (N,); give those `delay` old."""
        self._pos = torch.cat((pos[None].float(), self._pos[:-1]))
        self._valid = torch.cat((valid[None], self._valid[:-1]))
        frames = self.delay / self.dt
        newer = frames.floor().long().clamp(max=len(self._pos) - 2)
        share = (frames - newer)[:, None]
        late, early = self._pos[newer, self._env], self._pos[newer + 1, self._env]
        same = self._valid[newer + 1, self._env] & (torch.linalg.vector_norm(late - early, dim=1) < 1.5)
        between = torch.where(same[:, None], late + share * (early - late), late)
        # A ball that has only just appeared was not there yet, seen from between the frames.
        return between, self._valid[newer, self._env] & (same | (share[:, 0] < 1e-6))


class NoisySenses:
    """Observation terms as a real robot would have them; see the module.

    Args:
        num_envs: N.
        dt: control period, s.
        generator: source of all randomness, on the CPU, so that a seed means the same anywhere.
        config: see `NoiseConfig`. tracker: see `TrackerConfig`.
        device: where the terms live.
    """

    def __init__(
        self,
        num_envs: int,
        dt: float,
        generator: torch.Generator,
        config: NoiseConfig | None = None,
        tracker: TrackerConfig | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config = config or NoiseConfig()
        config.check()
        self.generator = generator
        self.device = torch.device(device)
        self.tracker = BallTracker(num_envs, dt, tracker, device)
        self.line = DelayLine(num_envs, dt, config.latency[1], device)
        self._bias = torch.zeros(num_envs, 3, device=device)
        self.reset(torch.arange(num_envs, device=device))

    def reset(self, ids: Tensor) -> None:
        """New episodes of environments `ids` (n,): new latency and bias, no ball seen yet."""
        low, high = self.config.latency
        self.line.reset(ids)
        delay = low + (high - low) * torch.rand(len(ids), generator=self.generator)
        self.line.delay[ids] = delay.to(self.device)
        self.tracker.reset(ids)
        bias = self.config.root_pos_bias * torch.randn(len(ids), 3, generator=self.generator)
        self._bias[ids] = bias.to(self.device)

    def __call__(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Observed terms of this control step from the true ones, see `sim.return_task.TERMS`.

        To be called once a control step. The true terms stay as they are.
        """
        c = self.config

        def noise(name: str, like: Tensor) -> Tensor:
            return getattr(c, name) * torch.randn(like.shape, generator=self.generator).to(self.device)

        observed = dict(terms)
        for name in ("joint_pos", "joint_vel", "base_ang_vel", "root_lin_vel"):
            observed[name] = terms[name] + noise(name, terms[name])
        observed["root_pos"] = terms["root_pos"] + noise("root_pos", terms["root_pos"]) + self._bias
        quat = terms["root_quat"]
        observed["root_quat"] = turn(quat, noise("root_quat", quat[:, :3]))
        pos, there = self.line.push(terms["ball_pos"], terms["ball_valid"][:, 0] > 0.5)
        self.tracker.reset(~there)
        kept = (torch.rand(len(pos), generator=self.generator) >= c.dropout).to(self.device)
        self.tracker.update(pos + noise("ball_pos", pos), there & kept)
        valid = (there & (self.tracker.frames >= c.min_frames))[:, None]
        zero = torch.zeros((), device=self.device)
        observed["ball_pos"] = torch.where(valid, self.tracker.pos, zero)
        observed["ball_vel"] = torch.where(valid, self.tracker.vel, zero)
        observed["ball_valid"] = valid.float()
        return observed


def turn(quat: Tensor, vector: Tensor) -> Tensor:
    """Unit quaternions w, x, y, z (N, 4), turned in their own frame by rotation vectors (N, 3), rad."""
    half = 0.5 * torch.linalg.vector_norm(vector, dim=1, keepdim=True)
    xyz = 0.5 * vector * torch.sinc(half / torch.pi)
    w, x, y, z = quat.unbind(1)
    b = half.cos()[:, 0]
    c, d, e = xyz.unbind(1)
    product = torch.stack(
        (
            w * b - x * c - y * d - z * e,
            w * c + x * b + y * e - z * d,
            w * d - x * e + y * b + z * c,
            w * e + x * d - y * c + z * b,
        ),
        dim=1,
    )
    return product / torch.linalg.vector_norm(product, dim=1, keepdim=True)
