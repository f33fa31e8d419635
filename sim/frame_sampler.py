"""Where tracking episodes begin: anywhere, and more often where the robot fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sim.reference import Reference


class FrameSampler:
    """Draws start frames in proportion to the failures per second of play in each bin of the motions.

    A fall has its cause before it happens, so half of a bin's failures count for the bin before.

    Args:
        reference: motions; the sampler lives on their device.
        bin_s: length of a bin, s; a motion's last bin may be shorter.
        uniform: share of starts drawn evenly over all frames, 0–1; 1 switches adaptation off.
        memory: seconds of play, of all robots together, over which failures are forgotten.
        margin: frames before a motion's end at which no episode begins.
        weight: (M,) how often each motion is drawn, beside its length and failures; all alike by default. A motion
            of weight zero, which the robot cannot do, is never drawn, though it fails in it.

    Attributes:
        bins: B. bin: (F,) bin of each frame. first: (B,) first frame. length: (B,) frames to start from.
        failures, seconds: (B,), fading counts.
    """

    def __init__(
        self,
        reference: Reference,
        bin_s: float = 0.5,
        uniform: float = 0.3,
        memory: float = 2000.0,
        margin: int = 5,
        weight: Tensor | None = None,
    ) -> None:
        if not 0.0 <= uniform <= 1.0:
            raise ValueError(f"uniform share {uniform} must lie between 0 and 1")
        self.dt, self.uniform, self.memory = reference.dt, uniform, memory
        frames = max(round(bin_s / reference.dt), 1)
        self.bin = torch.zeros(reference.num_frames, dtype=torch.int64)
        first, length, follows, motion = [], [], [], []
        for number, (start, end) in enumerate(
            zip(reference.first.tolist(), reference.last.tolist(), strict=True)
        ):
            for begin in range(start, end + 1, frames):
                stop = min(begin + frames, end + 1)
                self.bin[begin:stop] = len(first)
                follows.append(begin > start)
                first.append(begin)
                motion.append(number)
                length.append(max(min(stop, end + 1 - margin) - begin, 1 if begin == start else 0))
        device = reference.first.device
        self.bin = self.bin.to(device)
        self.first = torch.tensor(first, device=device)
        self.length = torch.tensor(length, device=device)
        self._follows = torch.tensor(follows, device=device)
        weight = torch.ones(reference.num_motions) if weight is None else weight
        if weight.shape != (reference.num_motions,) or bool((weight < 0).any()) or not bool(weight.any()):
            raise ValueError(
                f"weights of {reference.num_motions} motions must be as many numbers of 0 or more, not all 0; "
                f"got {weight.tolist()[:8]}"
            )
        self._weight = weight.to(device)[torch.tensor(motion, device=device)]
        self.bins = len(first)
        self.failures = torch.zeros(self.bins, device=device)
        self.seconds = torch.zeros(self.bins, device=device)

    def reset(self) -> None:
        """Forget all failures."""
        self.failures.zero_()
        self.seconds.zero_()

    def observe(self, frame: Tensor, failed: Tensor) -> None:
        """Count a control step of all robots.

        Args:
            frame: (N,) rows that the robots are at.
            failed: (N,) bool: ended there by failure.
        """
        if self.uniform >= 1.0:
            return
        bins = self.bin[frame]
        keep = 1.0 - min(len(frame) * self.dt / self.memory, 1.0)
        self.seconds.mul_(keep).add_(torch.bincount(bins, minlength=self.bins), alpha=self.dt)
        self.failures.mul_(keep)
        if bool(failed.any()):
            self.failures += torch.bincount(bins[failed], minlength=self.bins)

    @property
    def probabilities(self) -> Tensor:
        """Of each bin, (B,), sum 1."""
        even = self.length * self._weight
        even = even / even.sum()
        rate = self.failures / (self.seconds + 1.0)
        before = torch.where(self._follows, 0.5 * rate, torch.zeros_like(rate))
        rate = rate - before + torch.cat((before[1:], before.new_zeros(1)))
        rate = self._weight * torch.where(self.length > 0, rate, torch.zeros_like(rate))
        total = rate.sum()
        if self.uniform >= 1.0 or not bool(total > 0):
            return even
        return self.uniform * even + (1.0 - self.uniform) * rate / total

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw start frames, (count,), with a generator on the CPU."""
        # Drawn there, so that a seed means the same on any device.
        bins = torch.multinomial(self.probabilities.cpu(), count, replacement=True, generator=generator)
        bins = bins.to(self.first.device)
        share = torch.rand(count, generator=generator).to(self.first.device)
        return self.first[bins] + (share * self.length[bins]).long()


def grade_weights(grades: Sequence[str], weights: Mapping[str, float]) -> Tensor | None:
    """Weight of each motion (M,) by its grade, 1 without one; None where that would leave no motion."""
    weight = torch.tensor([float(weights.get(grade, 1.0)) for grade in grades])
    return weight if bool((weight > 0).any()) else None
