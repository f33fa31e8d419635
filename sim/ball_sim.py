"""Balls in play: batched stepping by event.

A step is one integration of the free flight and a few comparisons. Only balls that come near the ground, the
net or the racket are looked at again: for these the time of the first contact inside the step is found, the
ball flies to it, the contact is resolved, and it flies on, up to four contacts a step in the order of time.
No ball passes through a racket, however fast either moves.
"""

from __future__ import annotations

import functools
import math
from dataclasses import fields

import torch
from torch import Tensor

from sim.ball import Aero, BallParams, BallState, aero, by_component, fly_midpoint
from sim.bounce import bounce, roll
from sim.events import RacketPose, StepEvents
from sim.net import net_contact
from sim.recovered import Recovered
from sim.stringbed import Racket, impact, rotation_matrix
from sim.sweep import (
    GROUND,
    NET,
    RACKET,
    Motion,
    first_contact,
    may_touch_racket,
    near_contacts,
    pose_at,
    rotation_vector,
    string_bed_contact,
)

__all__ = ["BallSim", "RacketPose", "Recovered", "StepEvents"]

MAX_EVENTS = 4
"""Contacts resolved within one step; time left after the last is dropped (see `BallSim.unresolved`)."""
REST_SPEED = 0.05
"""A ball that would rebound slower than this rolls from then on, m/s."""
REFRACTORY = 0.02
"""After a hit the racket cannot touch the same ball for this time, s: its recoil reaches the ball
simulation with the next pose, one step late, and must not count as a second hit. Longer than the 3–7 ms
of a contact, shorter than any return."""
TINY = 1e-9
OVERLAP = 0.008
"""A ball found deeper than this inside racket or ground did not get there by itself, m: a contact is placed
within millimetres."""


class BallSim:
    """N balls, each with its own physics, racket and court.

    Attributes:
        state: live tensors (N, 3); write them through `reset`.
        active: (N,) bool, live: inactive balls are not stepped and have no events.
        rolling: (N,) bool, live: the ball lies or rolls on the ground.
        events: of the last step, see `StepEvents`.
        unresolved: (N,) int, how often a ball ran out of contacts in a step and lost the rest of its time.
        recovered: what else went wrong and was put right, see `Recovered`.
    """

    _may_touch = staticmethod(may_touch_racket)
    """The shortcut past the racket search; tests take it out to show that it changes nothing."""

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
        self.recovered = Recovered.none(num_envs, device)
        self.events = StepEvents.empty(num_envs, device, dtype)
        self.params = (params or BallParams()).expand(num_envs, device, dtype)
        self.racket = (racket or Racket.from_specs()).expand(num_envs, device, dtype)
        self._air = aero(self.params, self.state.pos)
        self._radius = torch.as_tensor(self.params.radius, device=device)
        self._refractory = torch.zeros(num_envs, device=device, dtype=dtype)
        self._any_rolling = False
        self._events_set = False

    def set_params(self, params: BallParams, ids: Tensor | None = None) -> None:
        """Change the balls' physics, of all or of the environments `ids` (n,) (fields numbers or (n,))."""
        self._assign(self.params, params.expand(self._count(ids), self.device, self.dtype, ids), ids)
        self._air = aero(self.params, self.state.pos)

    def set_racket(self, racket: Racket, ids: Tensor | None = None) -> None:
        """Change the rackets, of all or of the environments `ids`."""
        self._assign(self.racket, racket.expand(self._count(ids), self.device, self.dtype, ids), ids)

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
            ValueError: a value is not finite or has another shape; the message names the field and, if it is a
                value, the environment.
        """
        if spin is None:
            spin = torch.zeros_like(pos)
        for name, value in (("pos", pos), ("vel", vel), ("spin", spin)):
            if value.shape != (len(ids), 3):
                raise ValueError(
                    f"ball {name}: shape {tuple(value.shape)}, expected {(len(ids), 3)}, one row an id"
                )
            bad = ~torch.isfinite(value).all(dim=-1)
            if bool(bad.any()):
                env = int(ids[bad][0])
                raise ValueError(f"ball {name} in environment {env} is not finite: {value[bad][0].tolist()}")
        radius = self._radius[ids]
        self.recovered.overlap[ids] += (radius - pos[:, 2] > OVERLAP).to(torch.int32)
        self.state.pos[ids] = pos.to(self.dtype)
        self.state.pos[ids, 2] = torch.maximum(self.state.pos[ids, 2], radius)
        self.state.vel[ids] = vel.to(self.dtype)
        self.state.spin[ids] = spin.to(self.dtype)
        self.active[ids] = active
        self.rolling[ids] = False
        self._refractory[ids] = 0.0

    def retire(self, mask: Tensor) -> None:
        """Take the balls of a mask (N,) bool out of play, where they are."""
        self.active &= ~mask
        self.rolling &= ~mask
        self._any_rolling = bool(self.rolling.any())

    def step(self, dt: float, start: RacketPose | None = None, end: RacketPose | None = None) -> StepEvents:
        """Advance all active balls by `dt`.

        Args:
            dt: s, up to about 10 ms for flight accurate to a millimetre over seconds.
            start, end: the rackets at the step's start and end; its motion within the step, and its velocity
                at a contact, follow from the two. None: no rackets.

        Returns:
            `events`, the same object each step.

        Raises:
            ValueError: dt is not a positive time, only one pose is given, or a pose has another shape. Poses and
                states that are not numbers raise nothing: see `Recovered`.
        """
        if not 0 < dt < math.inf:
            raise ValueError(f"ball step dt = {dt} s: must be positive and finite")
        if (start is None) != (end is None):
            raise ValueError("give the racket's pose at both the start and the end of the step, or neither")
        for name, pose in (("start", start), ("end", end)):
            if pose is not None and (pose.pos.shape != (self.num_envs, 3) or len(pose.rot) != self.num_envs):
                raise ValueError(
                    f"racket pose at the {name}: shapes {tuple(pose.pos.shape)} and {tuple(pose.rot.shape)}, "
                    f"expected one row for each of {self.num_envs} environments"
                )
        if self._events_set:
            self.events.clear()
            self._events_set = False
        h = self.active.to(self.dtype) * dt
        live = self.state
        new = BallState(*fly_midpoint(live.pos, live.vel, live.spin, self._air, h))
        # A sum is finite only if all its parts are, and is one pass over the memory.
        if not math.isfinite((new.pos.sum() + new.vel.sum()).item()):
            new = self._put_to_rest(slice(None), new, live)
        if start is not None:
            self._refractory -= h
        rackets = None if start is None or end is None else (start.pos, end.pos)
        near = near_contacts(live.pos, new.pos, self._radius, self.rolling, self._refractory, rackets)
        which = functools.reduce(torch.logical_or, near).logical_and_(self.active)
        if self._any_rolling:
            which |= self.rolling & self.active
        ids = which.nonzero().squeeze(1)
        racket: Motion | None = None
        if start is not None and end is not None and len(ids):
            other = near[0][ids] | near[1][ids] | self.rolling[ids]
            path = live.pos[ids], new.pos[ids]
            first, last = self._real_poses(ids, start.at(ids), end.at(ids))
            if self._may_touch(*path, other, self._radius[ids], first, last):
                rot = rotation_matrix(first.rot)
                turn = rotation_vector(rot, rotation_matrix(last.rot))
                racket = (first.pos, rot, last.pos - first.pos, turn)
            else:
                near = near[:2]
                if not bool(other.any()):
                    ids = ids[:0]
        before = live.at(ids) if len(ids) else None
        live.pos.copy_(new.pos)
        live.vel.copy_(new.vel)
        live.spin.copy_(new.spin)
        if before is not None:
            self._resolve(ids, before, new.at(ids), tuple(mask[ids] for mask in near), dt, racket)
        return self.events

    def _put_to_rest(self, ids: Tensor | slice, state: BallState, last: BallState) -> BallState:
        """`state` of the balls `ids`, with those that are not finite at rest where they were in `last`, retired."""
        parts = torch.cat((state.pos, state.vel, state.spin), dim=-1)
        bad = ~torch.isfinite(parts).all(dim=-1)
        spare = torch.zeros_like(state.pos)
        spare[:, 2] = 1.0
        known = torch.isfinite(last.pos).all(dim=-1, keepdim=True)
        rest = torch.zeros_like(state.pos)
        self.recovered.not_finite[ids] += bad.to(torch.int32)
        self.active[ids] &= ~bad
        self.rolling[ids] &= ~bad
        return _choose(bad, BallState(torch.where(known, last.pos, spare), rest, rest), state)

    def _real_poses(self, ids: Tensor, start: RacketPose, end: RacketPose) -> tuple[RacketPose, RacketPose]:
        """The poses of the rackets `ids` with those that are no poses replaced by a racket far away."""
        real = torch.ones_like(ids, dtype=torch.bool)
        for pose in (start, end):
            rot = pose.rot.flatten(1)
            # A unit quaternion has length 1, a rotation matrix 3 unit rows; what is not a number has none.
            wanted = 1.0 if rot.shape[1] == 4 else 3.0
            real &= torch.isfinite(pose.pos).all(dim=-1) & ((rot * rot).sum(-1) - wanted).abs().lt(0.05)
        if bool(real.all()):
            return start, end
        self.recovered.racket_pose[ids] += (~real).to(torch.int32)
        away = torch.tensor([0.0, 0.0, -1e4], device=self.device, dtype=self.dtype)
        level = torch.eye(3, device=self.device, dtype=self.dtype)

        def replaced(pose: RacketPose) -> RacketPose:
            rot = torch.where(real[:, None, None], rotation_matrix(pose.rot), level)
            return RacketPose(torch.where(real.unsqueeze(-1), pose.pos, away), rot)

        return replaced(start), replaced(end)

    def _resolve(
        self,
        ids: Tensor,
        ball: BallState,
        end: BallState,
        near: tuple[Tensor, ...],
        dt: float,
        racket: Motion | None,
    ) -> None:
        """Step the balls `ids` again from `ball`, contact by contact, and write them back.

        `end` is where they would be without contacts, `near` what they may touch (see `_near`).
        """
        radius, rolling, refractory = self._radius[ids], self.rolling[ids], self._refractory[ids]
        air = Aero(*(value[ids] for value in self._air))
        params: BallParams | None = None
        begin = ball
        left = torch.full_like(radius, dt)
        for _ in range(MAX_EVENTS):
            first, kind = first_contact(ball, end, near, left, radius, 1 - left / dt, racket)
            if kind is None:
                ball = end
                break
            if params is None:
                params = self.params.at(ids)
            contact = first <= 1
            go = torch.where(contact, first, torch.ones_like(first)) * left
            ball = BallState(*fly_midpoint(ball.pos, ball.vel, ball.spin, air, go))
            left = left - go
            grounds, nets, hits = (contact & (kind == number) for number in (GROUND, NET, RACKET))
            if bool(grounds.any()):
                ball, rests = self._bounce(ids, grounds, dt - left, ball, radius, params)
                rolling = rolling | rests
            if bool(nets.any()):
                ball = self._net(ids, nets, ball)
            if racket is not None and bool(hits.any()):
                ball, struck = self._hit(ids, hits, dt - left, dt, ball, racket, params)
                refractory = torch.where(struck, REFRACTORY - left, refractory)
                # Touched but not approached (grazed to rounding): no more contact in this step.
                refractory = torch.where(hits & ~struck, TINY, refractory)
                rolling = rolling & ~struck
            end = BallState(*fly_midpoint(ball.pos, ball.vel, ball.spin, air, left))
            moving = left > 0
            rackets = None
            if racket is not None:
                done = (1 - left / dt).unsqueeze(-1)
                rackets = (racket[0] + done * racket[2], racket[0] + racket[2])
            near = near_contacts(ball.pos, end.pos, radius, rolling, refractory, rackets)
            near = tuple(mask & moving for mask in near)
        else:
            self.unresolved[ids] += (left > 0).to(torch.int32)
        if bool(rolling.any()):
            ball, rolling = self._roll(ball, rolling, radius, self.params.at(ids), dt)
        if not math.isfinite((ball.pos.sum() + ball.vel.sum() + ball.spin.sum()).item()):
            ball = self._put_to_rest(ids, ball, begin)
        self.state.pos[ids] = ball.pos
        self.state.vel[ids] = ball.vel
        self.state.spin[ids] = ball.spin
        self._refractory[ids] = refractory
        self.rolling[ids] = rolling
        self._any_rolling = bool(self.rolling.any())

    def _bounce(
        self, ids: Tensor, mask: Tensor, time: Tensor, ball: BallState, radius: Tensor, params: BallParams
    ) -> tuple[BallState, Tensor]:
        vel, spin = bounce(ball.vel, ball.spin, params)
        rests = mask & (vel[:, 2] < REST_SPEED)
        vx, vy, vz = vel.unbind(-1)
        vel = by_component(vx, vy, torch.where(rests, torch.zeros_like(vz), vz))
        x, y, z = ball.pos.unbind(-1)
        pos = by_component(x, y, torch.where(mask, radius, z))
        events = self.events
        fresh = mask & ~events.bounced[ids]
        where = ids[fresh]
        events.bounced[where] = True
        events.bounce_pos[where] = pos[fresh]
        events.bounce_time[where] = time[fresh]
        self._events_set = True
        return _choose(mask, BallState(pos, vel, spin), ball), rests

    def _net(self, ids: Tensor, mask: Tensor, ball: BallState) -> BallState:
        where = ids[mask]
        self.events.net[where] = True
        self.events.net_pos[where] = ball.pos[mask]
        self._events_set = True
        return _choose(mask, BallState(ball.pos, *net_contact(ball.pos, ball.vel, ball.spin)), ball)

    def _hit(
        self,
        ids: Tensor,
        mask: Tensor,
        time: Tensor,
        dt: float,
        ball: BallState,
        motion: Motion,
        params: BallParams,
    ) -> tuple[BallState, Tensor]:
        racket = self.racket.at(ids)
        centre, rot = pose_at(motion, time / dt)
        local = ((ball.pos - centre).unsqueeze(-1) * rot).sum(-2)
        distance, local_normal, strings = string_bed_contact(local)
        normal = (rot * local_normal.unsqueeze(-2)).sum(-1)
        contact = ball.pos - distance.unsqueeze(-1) * normal
        e = torch.where(
            strings,
            torch.as_tensor(racket.restitution, device=self.device),
            torch.as_tensor(racket.frame_restitution, device=self.device),
        )
        vel, ang = motion[2] / dt, motion[3] / dt
        result = impact(ball.vel, ball.spin, normal, contact, centre, rot, vel, ang, racket, params, e)
        struck = mask & (result.impulse != 0).any(dim=-1)
        where = ids[struck]
        events = self.events
        events.hit[where] = True
        events.frame[where] = ~strings[struck]
        # The ball's own surface, which the contact meets but for the error of the search: with it the angular
        # momentum that the racket receives is the ball's loss to rounding.
        surface = ball.pos - torch.as_tensor(params.radius, device=self.device).unsqueeze(-1) * normal
        events.hit_pos[where] = surface[struck]
        events.hit_time[where] = time[struck]
        events.impulse[where] += result.impulse[struck]
        self._events_set = True
        # A ball found inside the racket (an overlap at reset) is put on its surface.
        depth = (torch.as_tensor(params.radius, device=self.device) - distance).clamp(min=0.0)
        self.recovered.overlap[ids] += (struck & (depth > OVERLAP)).to(torch.int32)
        pos = ball.pos + depth.unsqueeze(-1) * normal
        return _choose(mask, BallState(pos, result.vel, result.spin), ball), struck

    @staticmethod
    def _roll(
        ball: BallState, rolling: Tensor, radius: Tensor, params: BallParams, dt: float
    ) -> tuple[BallState, Tensor]:
        """Hold rolling balls on the ground; one that its spin lifts rolls no more."""
        rolling = rolling & (ball.vel[:, 2] <= 0)
        x, y, z = ball.pos.unbind(-1)
        held = BallState(by_component(x, y, torch.maximum(z, radius)), *roll(ball.vel, ball.spin, params, dt))
        return _choose(rolling, held, ball), rolling


def _choose(mask: Tensor, yes: BallState, no: BallState) -> BallState:
    pick = mask.unsqueeze(-1)
    return BallState(
        torch.where(pick, yes.pos, no.pos),
        torch.where(pick, yes.vel, no.vel),
        torch.where(pick, yes.spin, no.spin),
    )
