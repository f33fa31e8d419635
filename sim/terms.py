"""Rewards, observations and terminations as named pure functions, chosen and weighted by configuration.

A term is a function of a task's state that returns one row an environment. A task names its terms in a
`TermTable`; a configuration picks from it by name, so that what is saved with a run is plain YAML:

    rewards: {alive: 0.1, joint_pos: 0.5}      name → weight
    observations: [joint_pos, joint_vel]       names, in the order of their columns
    terminations: [fallen]                     names, any one of them ends an episode

Every value is checked: a term of the wrong shape or with a value that is not finite is named in the error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

Term = Callable[[Any], Tensor]
"""State of a task → (num_envs,) or (num_envs, k). Pure: it changes nothing and draws no random numbers."""


class TermError(ValueError):
    """A term that is unknown or misbehaves. The message names it and says what was expected."""


class TermTable:
    """Terms of one kind that a task offers.

    Args:
        kind: what messages call them, e.g. "tracking reward".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._terms: dict[str, Term] = {}

    def __call__(self, term: Term) -> Term:
        """Register a function under its own name; use as a decorator."""
        name = term.__name__
        if name in self._terms:
            raise TermError(f"{self.kind} {name!r} is defined twice")
        self._terms[name] = term
        return term

    def __getitem__(self, name: str) -> Term:
        if name not in self._terms:
            raise TermError(f"unknown {self.kind} {name!r}; known are {', '.join(sorted(self._terms))}")
        return self._terms[name]

    def __contains__(self, name: object) -> bool:
        return name in self._terms

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of their definition."""
        return tuple(self._terms)

    def describe(self) -> dict[str, str]:
        """Name → first line of its docstring."""
        return {name: (term.__doc__ or "").strip().split("\n")[0] for name, term in self._terms.items()}


class RewardTerms:
    """A weighted sum of terms.

    Args:
        table: terms to choose from.
        weights: name → weight; weight 0 leaves a term out.

    Attributes:
        weights: as given, plain floats: this is what to save.
        values: name → unweighted values (num_envs,) of the last call.

    Raises:
        TermError: an unknown name, or a weight that is no finite number.
    """

    def __init__(self, table: TermTable, weights: Mapping[str, float]) -> None:
        self.table = table
        self.weights: dict[str, float] = {}
        for name, weight in weights.items():
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
                raise TermError(f"{table.kind} {name!r}: weight {weight!r} is not a finite number")
            self.weights[str(name)] = float(weight)
        self._terms = {name: table[name] for name in self.weights}
        self.values: dict[str, Tensor] = {}

    def __call__(self, state: Any) -> Tensor:
        """Weighted sum, (num_envs,) float32.

        `state` needs `num_envs`, and `device` if that is not the CPU, besides what its terms read.
        """
        total = torch.zeros(state.num_envs, device=getattr(state, "device", None))
        values: dict[str, Tensor] = {}
        for name, term in self._terms.items():
            weight = self.weights[name]
            if weight == 0.0:
                continue
            value = term(state)
            if value.shape != (state.num_envs,):
                raise _wrong_shape(self.table.kind, name, value, f"({state.num_envs},)")
            values[name] = value
            total.add_(value, alpha=weight)
        self.values = values
        if not bool(torch.isfinite(total.sum())):
            for name, value in values.items():
                _check_finite(self.table.kind, name, value)
        return total


class ObservationTerms:
    """Terms side by side.

    Args:
        table: terms to choose from.
        names: in the order of their columns.

    Attributes:
        names: as given: this is what to save.
        sizes: name → columns, known after the first call.

    Raises:
        TermError: an unknown or repeated name, or none at all.
    """

    def __init__(self, table: TermTable, names: Iterable[str]) -> None:
        self.table = table
        self.names = tuple(names)
        if not self.names or len(set(self.names)) != len(self.names):
            raise TermError(f"{table.kind}s {list(self.names)}: name at least one, and none twice")
        self._terms = {name: table[name] for name in self.names}
        self.sizes: dict[str, int] = {}

    def __call__(self, state: Any) -> Tensor:
        """All columns, (num_envs, size) float32."""
        columns = []
        for name, term in self._terms.items():
            value = term(state)
            known = self.sizes.get(name)
            if value.ndim != 2 or len(value) != state.num_envs or (known or value.shape[1]) != value.shape[1]:
                raise _wrong_shape(self.table.kind, name, value, f"({state.num_envs}, {known or 'k'})")
            self.sizes[name] = value.shape[1]
            columns.append(value.float())
        result = torch.cat(columns, dim=1)
        if not bool(torch.isfinite(result.sum())):
            for name, value in zip(self.names, columns, strict=True):
                _check_finite(self.table.kind, name, value)
        return result

    @property
    def size(self) -> int:
        """Columns of all terms together, known after the first call."""
        return sum(self.sizes.values())


class TerminationTerms:
    """Reasons to end an episode.

    Args:
        table: terms to choose from.
        names: the ones in force.

    Attributes:
        names: as given: this is what to save.
        values: name → mask (num_envs,) of the last call.

    Raises:
        TermError: an unknown or repeated name.
    """

    def __init__(self, table: TermTable, names: Iterable[str]) -> None:
        self.table = table
        self.names = tuple(names)
        if len(set(self.names)) != len(self.names):
            raise TermError(f"{table.kind}s {list(self.names)}: one is named twice")
        self._terms = {name: table[name] for name in self.names}
        self.values: dict[str, Tensor] = {}

    def __call__(self, state: Any) -> Tensor:
        """Whether any reason applies, (num_envs,) bool."""
        self.values = {}
        result = torch.zeros(state.num_envs, dtype=torch.bool, device=getattr(state, "device", None))
        for name, term in self._terms.items():
            value = term(state)
            if value.shape != (state.num_envs,) or value.dtype != torch.bool:
                raise _wrong_shape(self.table.kind, name, value, f"({state.num_envs},) of bool")
            self.values[name] = value
            result = result | value
        return result


def _wrong_shape(kind: str, name: str, value: Tensor, expected: str) -> TermError:
    kept = str(value.dtype).removeprefix("torch.")
    return TermError(f"{kind} {name!r} returned shape {tuple(value.shape)} of {kept}, expected {expected}")


def _check_finite(kind: str, name: str, value: Tensor) -> None:
    bad = ~torch.isfinite(value)
    if bool(bad.any()):
        env = int(bad.nonzero()[0, 0])
        raise TermError(
            f"{kind} {name!r} is not finite in environment {env}: {value[env].tolist()}; "
            "the state it was computed from is broken, or the term divides by zero"
        )
