"""Balls in play: batched stepping by event.

A step is one integration of the free flight and a few comparisons. Only balls that come near the ground, the
net or the racket are looked at again: for these the time of the first contact inside the step is found, the
ball flies to it, the contact is resolved, and it flies on, up to four contacts a step in the order of time.
No ball passes through a racket, however fast either moves.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from sim.ball import BallParams, BallState, aero, fly_midpoint
from sim.bounce import bounce
from sim.court import NET_POST_HEIGHT
from sim.stringbed import SEMI_LONG, Racket, impact, rotation_matrix
from sim.sweep import (
    angular_velocity,
    ground_fraction,
    net_fraction,
    net_gap,
    path,
    pose_between,
    racket_fraction,
    string_bed_contact,
)

MAX_EVENTS = 4
"""Contacts resolved within one step; time left after the last is dropped (see `BallSim.unresolved`)."""
REST_SPEED = 0.05
"""A ball that would rebound slower than this rolls from then on, m/s."""
ROLLING_RESISTANCE = 0.03
"""Deceleration of a rolling ball over g. No published source; a ball rolls to rest within tens of metres."""
REFRACTORY = 0.02
"""After a hit the racket cannot touch the same ball for this time, s: its recoil reaches the ball
simulation with the next pose, one step late, and must not count as a second hit. Longer than the 3–7 ms
of a contact, shorter than any return."""
MESH_REBOUND = 0.1
"""Share of the speed into the mesh that the net gives back. No published source: a dead ball."""
MESH_SLIDE = 0.3
"""Share of the speed along the mesh, and of the spin, that the net leaves. No published source."""
CORD_RESTITUTION = 0.4
"""Normal restitution of a ball on the cord's band. No published source."""
CORD_SLIDE = 0.85
"""Share of the speed across the cord's normal, and of the spin, that the cord leaves. No published source."""


class RacketPose(NamedTuple):
    """A racket at one moment: string bed centre (N, 3) m and rotation of the racket frame, as unit
    quaternions (N, 4), w first, or matrices (N, 3, 3). Frame: see `sim.stringbed`."""

    pos: Tensor
    rot: Tensor


@dataclass
class StepEvents:
    """What happened in the last step. Live tensors, overwritten by the next step; N environments.

    Where nothing happened, the masks are False and the vectors zero. Times count from the step's start.

    Attributes:
        bounced: the ball hit the ground, (N,) bool. The first bounce of the step is recorded.
        bounce_pos: ball centre at that moment, (N, 3), m. bounce_time: (N,), s.
        net: the ball touched net or cord, (N,) bool. net_pos: ball centre, (N, 3), m.
        hit: the racket touched the ball, (N,) bool. frame: with its frame, (N,) bool.
        hit_pos: contact point, (N, 3), m. hit_time: (N,), s.
        impulse: on the racket at `hit_pos`, (N, 3), N s, world frame.
    """

    bounced: Tensor
    bounce_pos: Tensor
    bounce_time: Tensor
    net: Tensor
    net_pos: Tensor
    hit: Tensor
    frame: Tensor
    hit_pos: Tensor
    hit_time: Tensor
    impulse: Tensor

    @classmethod
    def empty(cls, n: int, device: torch.device | str, dtype: torch.dtype) -> StepEvents:
        """No events for `n` environments."""

        def mask() -> Tensor:
            return torch.zeros(n, dtype=torch.bool, device=device)

        def zeros(*tail: int) -> Tensor:
            return torch.zeros(n, *tail, dtype=dtype, device=device)

        return cls(mask(), zeros(3), zeros(), mask(), zeros(3), mask(), mask(), zeros(3), zeros(), zeros(3))

    def clear(self) -> None:
        """Back to no events, in place."""
        for field in fields(self):
            getattr(self, field.name).zero_()


class BallSim:
    """N balls, each with its own physics, racket and court.

    Attributes:
        state: live tensors (N, 3); write them through `reset`.
        active: (N,) bool, live: inactive balls are not stepped and have no events.
        rolling: (N,) bool, live: the ball lies or rolls on the ground.
        events: of the last step, see `StepEvents`.
        unresolved: (N,) int, how often a ball ran out of contacts in a step and lost the rest of its time.
    """

    def __init__(
        self,
        num_envs: int,
        params: BallParams | None = None,
        racket: Racket | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.dtype = dtype
        self.state = BallState(*(torch.zeros(3, num_envs, device=device, dtype=dtype).T for _ in range(3)))
        self.state.pos[:, 2] = 1.0
        self.active = torch.zeros(num_envs, dtype=torch.bool, device=device)
        self.rolling = torch.zeros_like(self.active)
        self.unresolved = torch.zeros(num_envs, dtype=torch.int32, device=device)
        self.events = StepEvents.empty(num_envs, device, dtype)
        self.params = (params or BallParams()).expand(num_envs, device, dtype)
        self.racket = (racket or Racket.from_specs()).expand(num_envs, device, dtype)
        self._air = aero(self.params, self.state.pos)
        self._refractory = torch.zeros(num_envs, device=device, dtype=dtype)
        self._any_rolling = False
        self._events_set = False

    def set_params(self, params: BallParams, ids: Tensor | None = None) -> None:
        """Change the balls' physics, of all or of the environments `ids` (n,) (fields numbers or (n,))."""
        self._assign(self.params, params.expand(self._count(ids), self.device, self.dtype), ids)
        self._air = aero(self.params, self.state.pos)

    def set_racket(self, racket: Racket, ids: Tensor | None = None) -> None:
        """Change the rackets, of all or of the environments `ids`."""
        self._assign(self.racket, racket.expand(self._count(ids), self.device, self.dtype), ids)

    def _count(self, ids: Tensor | None) -> int:
        return self.num_envs if ids is None else len(ids)

    @staticmethod
    def _assign(target: BallParams | Racket, source: BallParams | Racket, ids: Tensor | None) -> None:
        for field in fields(target):
            getattr(target, field.name)[slice(None) if ids is None else ids] = getattr(source, field.name)

    def reset(
        self, ids: Tensor, pos: Tensor, vel: Tensor, spin: Tensor | None = None, active: bool | Tensor = True
    ) -> None:
        """Put balls into play (or out of it).

        Args:
            ids: environments, (n,) indices.
            pos, vel, spin: (n, 3), m, m/s, rad/s; no spin by default. A centre below the ball's radius is
                lifted onto the ground.
            active: whether they are stepped from now on, one for all or (n,).

        Raises:
            ValueError: a value is not finite; the message names the environment and the field.
        """
        if spin is None:
            spin = torch.zeros_like(pos)
        for name, value in (("pos", pos), ("vel", vel), ("spin", spin)):
            bad = ~torch.isfinite(value).all(dim=-1)
            if bool(bad.any()):
                env = int(torch.as_tensor(ids)[bad][0])
                raise ValueError(f"ball {name} in environment {env} is not finite: {value[bad][0].tolist()}")
        radius = torch.as_tensor(self.params.radius)[ids]
        self.state.pos[ids] = pos.to(self.dtype)
        self.state.pos[ids, 2] = torch.maximum(self.state.pos[ids, 2], radius)
        self.state.vel[ids] = vel.to(self.dtype)
        self.state.spin[ids] = spin.to(self.dtype)
        self.active[ids] = active
        self.rolling[ids] = False
        self._refractory[ids] = 0.0

    def step(self, dt: float, start: RacketPose | None = None, end: RacketPose | None = None) -> StepEvents:
        """Advance all active balls by `dt`.

        Args:
            dt: s, up to about 10 ms for flight accurate to a millimetre over seconds.
            start, end: the rackets at the step's start and end; its motion within the step, and its velocity
                at a contact, follow from the two. None: no rackets.

        Returns:
            `events`, the same object each step.
        """
        if (start is None) != (end is None):
            raise ValueError("give the racket's pose at both the start and the end of the step, or neither")
        if self._events_set:
            self.events.clear()
            self._events_set = False
        h = self.active * dt
        old = self.state
        pos, vel, spin = fly_midpoint(old.pos, old.vel, old.spin, self._air, h)
        near = self._near(old.pos, pos, torch.as_tensor(self.params.radius), start, end)
        near &= self.active
        if start is not None:
            self._refractory -= h
        if not bool(near.any()):
            old.pos.copy_(pos)
            old.vel.copy_(vel)
            old.spin.copy_(spin)
            return self.events
        ids = near.nonzero().squeeze(1)
        before = old.at(ids)
        old.pos.copy_(pos)
        old.vel.copy_(vel)
        old.spin.copy_(spin)
        poses = None
        if start is not None and end is not None:
            rot0, rot1 = rotation_matrix(start.rot[ids]), rotation_matrix(end.rot[ids])
            poses = (start.pos[ids], rot0, end.pos[ids], rot1)
        self._resolve(ids, before, dt, poses)
        return self.events

    def _near(
        self, pos: Tensor, end: Tensor, radius: Tensor, racket0: RacketPose | None, racket1: RacketPose | None
    ) -> Tensor:
        """Balls that may touch something between `pos` and `end`, (N,): never misses one."""
        z0, z1 = pos[:, 2], end[:, 2]
        near = z1 < radius
        if self._any_rolling:
            near |= self.rolling
        x1 = end[:, 0]
        at_net = (x1 - pos[:, 0]).abs() + radius > x1.abs()
        near |= at_net & (torch.minimum(z0, z1) < NET_POST_HEIGHT + radius)
        if racket0 is not None and racket1 is not None:
            near |= self._near_racket(pos - racket0.pos, end - racket1.pos, radius) & (self._refractory <= 0)
        return near

    @staticmethod
    def _near_racket(from_centre0: Tensor, from_centre1: Tensor, radius: Tensor) -> Tensor:
        moved = from_centre1 - from_centre0
        # 2 cm more than the geometry needs: the paths bend by less within a step.
        reach = radius + (SEMI_LONG + 0.02) + (moved * moved).sum(-1).sqrt()
        return (from_centre1 * from_centre1).sum(-1) < reach * reach

    def _resolve(
        self, ids: Tensor, ball: BallState, dt: float, poses: tuple[Tensor, Tensor, Tensor, Tensor] | None
    ) -> None:
        """Step the balls `ids` from `ball` again, contact by contact, and write them back."""
        params, racket = self.params.at(ids), self.racket.at(ids)
        radius = torch.as_tensor(params.radius)
        air = type(self._air)(*(value[ids] for value in self._air))
        rolling = self.rolling[ids]
        refractory = self._refractory[ids]
        pos, vel, spin = ball.pos, ball.vel, ball.spin
        left = torch.full_like(radius, dt)
        for _ in range(MAX_EVENTS):
            end, _, _ = fly_midpoint(pos, vel, spin, air, left)
            arc = path(pos, vel, end, left)
            never = torch.full_like(left, torch.inf)
            ground = torch.where((end[:, 2] < radius) & ~rolling, ground_fraction(arc, radius), never)
            # Rising out of the ground (an overlap at reset) is no bounce.
            ground = torch.where((pos[:, 2] < radius) & (vel[:, 2] >= 0), never, ground)
            net = net_fraction(arc, radius)
            bat = never
            since = 1 - left / dt
            if poses is not None:
                bat = racket_fraction(arc, *poses, since, radius)
                bat = torch.where(refractory <= 0, bat, never)
            first = torch.minimum(torch.minimum(ground, net), bat)
            contact = (first <= 1) & (left > 0)
            go = torch.where(contact, first, torch.ones_like(first)) * left
            pos, vel, spin = fly_midpoint(pos, vel, spin, air, go)
            left = left - go
            if not bool(contact.any()):
                break
            time = dt - left
            hits = contact & (bat == first)
            nets = contact & (net == first) & ~hits
            grounds = contact & ~hits & ~nets
            if bool(grounds.any()):
                pos, vel, spin, rolling = self._bounce(ids, grounds, time, pos, vel, spin, rolling, params)
            if bool(nets.any()):
                vel, spin = self._net(ids, nets, pos, vel, spin)
            if poses is not None and bool(hits.any()):
                pos, vel, spin, struck = self._hit(ids, hits, time, dt, pos, vel, spin, poses, racket, params)
                refractory = torch.where(struck, REFRACTORY - left, refractory)
                rolling = rolling & ~struck
        else:
            self.unresolved[ids] += (left > 0).to(torch.int32)
        vel, spin, pos, rolling = self._roll(rolling, pos, vel, spin, params, dt)
        self.state.pos[ids] = pos
        self.state.vel[ids] = vel
        self.state.spin[ids] = spin
        self.rolling[ids] = rolling
        self._refractory[ids] = refractory
        self._any_rolling = bool(self.rolling.any())

    def _bounce(
        self,
        ids: Tensor,
        mask: Tensor,
        time: Tensor,
        pos: Tensor,
        vel: Tensor,
        spin: Tensor,
        rolling: Tensor,
        params: BallParams,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        after_vel, after_spin = bounce(vel, spin, params)
        rests = mask & (after_vel[:, 2] < REST_SPEED)
        after_vel[:, 2] = torch.where(rests, torch.zeros_like(after_vel[:, 2]), after_vel[:, 2])
        height = torch.where(mask, torch.as_tensor(params.radius), pos[:, 2])
        pos = torch.stack((pos[:, 0], pos[:, 1], height), dim=-1)
        events = self.events
        fresh = mask & ~events.bounced[ids]
        where = ids[fresh]
        events.bounced[where] = True
        events.bounce_pos[where] = pos[fresh]
        events.bounce_time[where] = time[fresh]
        self._events_set = True
        pick = mask.unsqueeze(-1)
        return pos, torch.where(pick, after_vel, vel), torch.where(pick, after_spin, spin), rolling | rests

    def _net(
        self, ids: Tensor, mask: Tensor, pos: Tensor, vel: Tensor, spin: Tensor
    ) -> tuple[Tensor, Tensor]:
        distance, above = net_gap(pos)
        cord = above > 0
        zero = torch.zeros_like(above)
        normal = torch.stack((pos[:, 0], zero, above.clamp(min=0.0)), dim=-1)
        normal = normal / distance.clamp(1e-9, 1e3).unsqueeze(-1)
        into = (vel * normal).sum(-1, keepdim=True).clamp(max=0.0)
        along = vel - into * normal
        e = torch.where(cord, CORD_RESTITUTION, MESH_REBOUND).to(vel.dtype).unsqueeze(-1)
        keep = torch.where(cord, CORD_SLIDE, MESH_SLIDE).to(vel.dtype).unsqueeze(-1)
        pick = mask.unsqueeze(-1)
        where = ids[mask]
        self.events.net[where] = True
        self.events.net_pos[where] = pos[mask]
        self._events_set = True
        return torch.where(pick, keep * along - e * into * normal, vel), torch.where(pick, keep * spin, spin)

    def _hit(
        self,
        ids: Tensor,
        mask: Tensor,
        time: Tensor,
        dt: float,
        pos: Tensor,
        vel: Tensor,
        spin: Tensor,
        poses: tuple[Tensor, Tensor, Tensor, Tensor],
        racket: Racket,
        params: BallParams,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        centre, rot = pose_between(*poses, time / dt)
        local = ((pos - centre).unsqueeze(-1) * rot).sum(-2)
        distance, local_normal, strings = string_bed_contact(local)
        normal = (rot * local_normal.unsqueeze(-2)).sum(-1)
        radius = torch.as_tensor(params.radius)
        contact = pos - distance.unsqueeze(-1) * normal
        pos0, rot0, pos1, rot1 = poses
        e_strings, e_frame = torch.as_tensor(racket.restitution), torch.as_tensor(racket.frame_restitution)
        result = impact(
            vel,
            spin,
            normal,
            contact,
            centre,
            rot,
            (pos1 - pos0) / dt,
            angular_velocity(rot0, rot1, dt),
            racket,
            params,
            torch.where(strings, e_strings, e_frame),
        )
        struck = mask & (result.impulse != 0).any(dim=-1)
        where = ids[struck]
        events = self.events
        events.hit[where] = True
        events.frame[where] = ~strings[struck]
        events.hit_pos[where] = contact[struck]
        events.hit_time[where] = time[struck]
        events.impulse[where] += result.impulse[struck]
        self._events_set = True
        pick = mask.unsqueeze(-1)
        # A ball found inside the racket (an overlap at reset) is put on its surface.
        out = (radius - distance).clamp(min=0.0).unsqueeze(-1) * normal
        return (
            torch.where(pick, pos + out, pos),
            torch.where(pick, result.vel, vel),
            torch.where(pick, result.spin, spin),
            struck,
        )

    @staticmethod
    def _roll(
        rolling: Tensor, pos: Tensor, vel: Tensor, spin: Tensor, params: BallParams, dt: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Hold rolling balls on the ground: the ground's impulse in the step is what stops their fall."""
        if not bool(rolling.any()):
            return vel, spin, pos, rolling
        rolling = rolling & (vel[:, 2] <= 0)
        held, held_spin = bounce(vel, spin, params, torch.zeros_like(vel[:, 2]))
        speed = torch.hypot(held[:, 0], held[:, 1])
        slow = 1 - (ROLLING_RESISTANCE * 9.81 * dt / speed.clamp(min=1e-9)).clamp(max=1.0)
        pick = rolling.unsqueeze(-1)
        radius = torch.as_tensor(params.radius)
        height = torch.where(rolling, radius, pos[:, 2])
        return (
            torch.where(pick, held * slow.unsqueeze(-1), vel),
            torch.where(pick, held_spin * slow.unsqueeze(-1), spin),
            torch.stack((pos[:, 0], pos[:, 1], height), dim=-1),
            rolling,
        )
