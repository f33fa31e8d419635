"""A range of numbers: two bounds to draw evenly between."""

from __future__ import annotations

import torch
from torch import Tensor

Range = tuple[float, float]


def check_range(name: str, bounds: Range, low: float, high: float) -> None:
    """Refuse bounds that are not low ≤ smaller ≤ larger ≤ high, or not numbers.

    Args:
        name: what the message calls them.
        bounds: the range. low, high: what it must lie in.

    Raises:
        ValueError: naming them.
    """
    if len(bounds) != 2 or not low <= bounds[0] <= bounds[1] <= high:
        given = ", ".join(str(value) for value in bounds)
        raise ValueError(f"{name} = [{given}]: give two bounds in [{low:g}, {high:g}], the smaller first")


def uniform(
    bounds: Range, *shape: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Numbers drawn evenly between the bounds, `shape`, on the CPU."""
    return bounds[0] + (bounds[1] - bounds[0]) * torch.rand(*shape, generator=generator, dtype=dtype)
