"""Batches of reference states from a motion library: any motion at any time, on CPU or GPU.

library = MotionLibrary.open("library.safetensors")
sampler = MotionSampler(library, device="cuda")
motion, time = sampler.draw(4096, generator)
state = sampler.at(motion, time)  # state.qpos (4096, 36), state.qvel (4096, 35), state.contacts
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding

from humanoid.motion import RobotMotion
from humanoid.motion_library import MotionLibrary
from sim.tracking_terms import rotation_between

STILL_RAD_S = 0.15
"""Joints that move less (root mean square over joints and a bin) stand still; a breathing player of the
recordings is at about 0.1 rad/s (our own judgement)."""
STILL_M_S = 0.08
"""The same of the pelvis."""


@dataclass(frozen=True)
class SamplingWeights:
    """How often states are drawn. A moment's weight is the product of what applies to it.

    Attributes:
        grades: weight of a motion by the "grade" in its provenance.
        ungraded: weight of a motion whose grade is missing or not in `grades`.
        still: weight of stretches in which nothing moves.
        stroke: weight of strokes, from preparation to follow-through.
        bin_s: length of the stretches that are weighed, s.
    """

    grades: Mapping[str, float] = field(default_factory=lambda: {"A": 1.0, "B": 0.6, "C": 0.2, "D": 0.0})
    ungraded: float = 0.6
    still: float = 0.2
    stroke: float = 2.0
    bin_s: float = 0.5


@dataclass
class MotionState:
    """Reference states of N robots, as engines take them.

    Attributes:
        qpos: (N, 36): pelvis position, m, and quaternion w, x, y, z; joint angles, rad.
        qvel: (N, 35): pelvis velocity in the world frame, m/s, its angular velocity in the pelvis frame,
            rad/s, joint velocities, rad/s: MuJoCo's convention.
        contacts: (N, 2) bool, left and right foot on the ground at the nearest frame.
    """

    qpos: Tensor
    qvel: Tensor
    contacts: Tensor


class MotionSampler:
    """All frames of all motions as tensors on one device, with a weight for every moment.

    Between frames positions are interpolated linearly and the orientation along the shortest arc. Velocities
    are central differences at the frames (one-sided at a motion's ends), linear between them.

    Args:
        motions: a library, or motions in memory.
        weights: see `SamplingWeights`.
        device: of the tables and of everything returned.
        names: which motions of a library; None: all.

    Attributes:
        names: of the M motions. fps, duration: (M,), Hz and s.
        bins: number of stretches B. bin_motion, bin_start, bin_length: (B,), motion, s and s.
        probability: (B,), of drawing each, sum 1.

    Raises:
        MotionError: a motion is damaged.
        KeyError: a name is not in the library.
        ValueError: no motions, or no moment with a positive weight.
    """

    def __init__(
        self,
        motions: MotionLibrary | Iterable[RobotMotion],
        weights: SamplingWeights | None = None,
        device: torch.device | str = "cpu",
        names: Iterable[str] | None = None,
    ) -> None:
        self.weights = weights = weights or SamplingWeights()
        self.device = torch.device(device)
        if isinstance(motions, MotionLibrary):
            loaded = [motions[name] for name in (motions if names is None else names)]
        else:
            loaded = list(motions)
        if not loaded:
            raise ValueError("no motions to sample from")
        self.names = tuple(motion.name for motion in loaded)
        lengths = torch.tensor([motion.num_frames for motion in loaded])
        last = lengths.cumsum(0) - 1
        fps = torch.tensor([motion.fps for motion in loaded], dtype=torch.float64)
        self._first, self._last = (last - lengths + 1).to(self.device), last.to(self.device)
        self.fps = fps.float().to(self.device)
        self.duration = ((lengths - 1) / fps).float().to(self.device)
        parts = [np.concatenate([m.root_pos, m.root_quat, m.joint_pos], axis=1) for m in loaded]
        self._qpos = torch.as_tensor(np.concatenate(parts).astype(np.float32), device=self.device)
        contacts = np.concatenate([motion.contacts for motion in loaded])
        self._contacts = torch.as_tensor(contacts, device=self.device)
        motion = torch.repeat_interleave(torch.arange(len(loaded)), lengths).to(self.device)
        self._qvel = _velocities(self._qpos, self._first[motion], self._last[motion], self.fps[motion])
        self._make_bins(loaded)

    @property
    def num_motions(self) -> int:
        return len(self.names)

    @property
    def num_frames(self) -> int:
        return len(self._qpos)

    def draw(self, count: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw moments by their weights.

        Args:
            count: how many.
            generator: of the sampler's device.

        Returns:
            ``(motion, time)``, (count,) int64 and float32, s.
        """
        u = torch.rand(2, count, dtype=torch.float64, device=self.device, generator=generator)
        chosen = torch.searchsorted(self._cumulative, u[0], right=True).clamp_(max=self.bins - 1)
        time = self.bin_start[chosen] + u[1].float() * self.bin_length[chosen]
        return self.bin_motion[chosen], time

    def at(self, motion: Tensor, time: Tensor) -> MotionState:
        """States of motions (N,) at times (N,) [s]; times beyond a motion's ends give its ends."""
        place = (time * self.fps[motion]).clamp_(min=0.0)
        first, last = self._first[motion], self._last[motion]
        row = torch.minimum(first + place.long(), last - 1)
        share = (place - (row - first)).clamp_(max=1.0)[:, None]
        # embedding() is the quickest way to gather rows on a CPU, by an order of magnitude over indexing.
        before, after = embedding(row, self._qpos), embedding(row + 1, self._qpos)
        qpos = torch.lerp(before, after, share)
        qpos[:, 3:7] = slerp(before[:, 3:7], after[:, 3:7], share)
        qvel = torch.lerp(embedding(row, self._qvel), embedding(row + 1, self._qvel), share)
        nearest = row + (share[:, 0] >= 0.5)
        return MotionState(qpos, qvel, self._contacts[nearest])

    def sample(self, count: int, generator: torch.Generator | None = None) -> MotionState:
        """States at moments drawn by their weights."""
        return self.at(*self.draw(count, generator))

    def bin_of(self, motion: Tensor, time: Tensor) -> Tensor:
        """Which stretch moments (N,) belong to, (N,)."""
        within = (time / self.weights.bin_s).long().clamp_(min=0)
        return torch.minimum(self._bin_first[motion] + within, self._bin_last[motion])

    def reweigh(self, factor: Tensor) -> None:
        """Multiply the weights that the config gives by a factor (B,) each, e.g. how often robots fail there.

        Raises:
            ValueError: nothing would be drawn any more.
        """
        weight = self._base * factor.to(self._base)
        total = weight.sum()
        if not (bool(torch.isfinite(total)) and float(total) > 0.0 and bool((weight >= 0.0).all())):
            raise ValueError("no moment has a positive weight; check grades and factors")
        self.probability = (weight / total).float()
        self._cumulative = (weight / total).cumsum(0)

    def _make_bins(self, motions: list[RobotMotion]) -> None:
        weights = self.weights
        motion, start, length, weight, first = [], [], [], [], []
        speed_root = torch.linalg.vector_norm(self._qvel[:, :3], dim=1).cpu().numpy()
        speed_joints = self._qvel[:, 6:].square().mean(dim=1).cpu().numpy()
        row = 0
        for number, m in enumerate(motions):
            count = max(int(np.ceil(m.duration / weights.bin_s - 1e-9)), 1)
            begins = np.arange(count) * weights.bin_s
            ends = np.minimum(begins + weights.bin_s, m.duration)
            # Frames that fall into each bin; every bin has one, else the nearest.
            cuts = np.minimum(np.ceil(begins * m.fps - 1e-9).astype(int), m.num_frames - 1)
            size = np.diff(np.append(cuts, m.num_frames))
            rows = slice(row, row + m.num_frames)
            joints = np.sqrt(np.add.reduceat(speed_joints[rows], cuts) / np.maximum(size, 1))
            root = np.add.reduceat(speed_root[rows], cuts) / np.maximum(size, 1)
            value = np.full(count, float(weights.grades.get(_grade(m), weights.ungraded)))
            value *= np.where((joints < STILL_RAD_S) & (root < STILL_M_S), weights.still, 1.0)
            played = [(begins < stroke.end_s) & (ends > stroke.start_s) for stroke in m.strokes]
            value[np.any(played, axis=0) if played else slice(0)] *= weights.stroke
            first.append(sum(map(len, start)))
            motion.append(np.full(count, number))
            start.append(begins)
            length.append(ends - begins)
            weight.append(value * (ends - begins))
            row += m.num_frames
        self.bins = sum(map(len, start))
        self.bin_motion = torch.as_tensor(np.concatenate(motion), device=self.device)
        self.bin_start = torch.as_tensor(np.concatenate(start).astype(np.float32), device=self.device)
        self.bin_length = torch.as_tensor(np.concatenate(length).astype(np.float32), device=self.device)
        self._bin_first = torch.tensor(first, device=self.device)
        self._bin_last = torch.tensor([*first[1:], self.bins], device=self.device) - 1
        self._base = torch.as_tensor(np.concatenate(weight), device=self.device)
        self.reweigh(torch.ones(self.bins))


def _grade(motion: RobotMotion) -> str:
    return str(motion.provenance.get("grade", ""))


def _velocities(qpos: Tensor, first: Tensor, last: Tensor, fps: Tensor) -> Tensor:
    """(F, 35) by central differences within each motion, see `MotionState.qvel`."""
    row = torch.arange(len(qpos), device=qpos.device)
    before, after = torch.maximum(row - 1, first), torch.minimum(row + 1, last)
    rate = (fps / (after - before))[:, None]
    a, b = embedding(before, qpos), embedding(after, qpos)
    turn = rotation_between(a[:, 3:7], b[:, 3:7])
    return torch.cat((b[:, :3] - a[:, :3], turn, b[:, 7:] - a[:, 7:]), dim=1) * rate


def slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """From quaternions `a` to `b`, (N, 4) each, along the shorter arc at a steady rate.

    Args:
        share: (N, 1), 0 gives a, 1 gives ±b.

    Returns:
        (N, 4), of unit length.
    """
    cosine = (a * b).sum(1, keepdim=True)
    sign = torch.where(cosine < 0.0, -1.0, 1.0)
    # Chord and sum instead of arccos, which loses half its digits at small angles.
    chord, total = (torch.linalg.vector_norm(b * sign + c, dim=1, keepdim=True) for c in (-a, a))
    angle = 2.0 * torch.atan2(chord, total)
    # The weights sin((1 - s) θ) / sin θ and sin(s θ) / sin θ tend to 1 - s and s.
    near = angle < 1e-4
    safe = torch.where(near, torch.ones_like(angle), angle)
    start = torch.where(near, 1.0 - share, torch.sin((1.0 - share) * safe) / torch.sin(safe))
    end = torch.where(near, share, torch.sin(share * safe) / torch.sin(safe))
    mixed = start * a + end * sign * b
    return mixed / torch.linalg.vector_norm(mixed, dim=1, keepdim=True)
