"""A second device without hardware: tensors that lie in main memory, say that they lie elsewhere, and do not mix."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as tree

DEVICE = torch.device("cuda", 7)
"""Where they say they are; what slips past the watch and is really made there fails for want of such a GPU."""


class Elsewhere(Tensor):
    """A tensor that says it is on `DEVICE`. Work with it under `Watch`."""

    device = property(lambda self: DEVICE)  # pyright: ignore[reportAssignmentType]
    is_cpu = property(lambda self: False)  # pyright: ignore[reportAssignmentType]

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class Watch(TorchFunctionMode):
    """Every torch function on either kind of tensor, and every factory: refuses what a GPU would refuse.

    As there, tensors of one number on the CPU mix with all, unless they are joined; copies say so (`to`, `cpu`,
    `copy_`); a generator draws on its own device only. More strictly, indices and assigned values have to be on the
    device too: there they cost a copy at every use.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _run(func, args, kwargs):
    leaves = _leaves((*args, *kwargs.values()))
    there = [leaf for leaf in leaves if isinstance(leaf, Elsewhere)]
    if func is torch.device or (not there and not any(_is_there(leaf) for leaf in leaves)):
        return func(*args, **kwargs)
    name = getattr(func, "__name__", str(func))
    if name == "__iter__":
        return iter(_run(Tensor.unbind, args, {}))
    if name in ("numpy", "__array__"):
        raise TypeError(f"can't convert a tensor on {DEVICE} to numpy: copy it to the CPU first")
    here = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, Elsewhere)]
    joins = name in ("cat", "stack", "concat", "hstack", "vstack")
    mixed = [tuple(value.shape) for value in here if value.dim() > 0 or joins]
    copies = name in ("to", "copy_", "cpu", "as_tensor", "tensor")
    if there and mixed and not copies:
        raise RuntimeError(f"{name}: tensors on {DEVICE} and, of shapes {mixed}, on the CPU")
    device = "cpu" if name == "cpu" else kwargs.get("device")
    for value in args[1:] if name == "to" else ():
        if isinstance(value, (torch.device, str)):
            device = value
        elif isinstance(value, Tensor):
            device = value.device
    was_away = isinstance(args[0], Elsewhere) if copies else bool(there)
    away = was_away if device is None else _is_there(device)
    if away and any(isinstance(leaf, torch.Generator) for leaf in leaves):
        raise RuntimeError(f"{name}: a generator on the CPU cannot draw on {DEVICE}")
    args, kwargs = _replaced(args), {key: _replaced(value) for key, value in kwargs.items()}
    with torch._C.DisableTorchFunctionSubclass():
        result = func(*args, **kwargs)
        if copies and away != was_away and isinstance(args[0], Tensor):
            result = result.clone()  # memory is not shared between devices
        kind = Elsewhere if away else Tensor
        return tree.tree_map(lambda x: x.as_subclass(kind) if isinstance(x, Tensor) else x, result)


def _leaves(values) -> list:
    leaves = []
    for value in values:
        leaves += _leaves(value) if isinstance(value, (list, tuple)) else [value]
    return leaves


def _replaced(value):
    """Arguments with the device replaced by the one where the memory is."""
    if isinstance(value, (list, tuple)):
        return type(value)(_replaced(part) for part in value)
    return torch.device("cpu") if _is_there(value) else value


def _is_there(value) -> bool:
    return (
        value == DEVICE
        if isinstance(value, torch.device)
        else isinstance(value, str) and value == str(DEVICE)
    )


class EngineElsewhere:
    """An engine whose tensors say that they are on `DEVICE`, and that takes no others."""

    _LIVE = ("qpos", "qvel", "ctrl", "torque", "racket_pos", "racket_rot", "foot_pos")

    def __init__(self, engine) -> None:
        self._engine = engine
        self.device, self.model = DEVICE, engine.model
        self.num_envs, self.timestep = engine.num_envs, engine.timestep
        for name in self._LIVE:
            setattr(self, name, getattr(engine, name).as_subclass(Elsewhere))

    def __getattr__(self, name):
        method = getattr(self._engine, name)

        def call(*args):
            for leaf in tree.tree_leaves(args):
                assert not isinstance(leaf, Tensor) or isinstance(leaf, Elsewhere), f"{name}: not on {DEVICE}"
            with contextlib.ExitStack() as stack:
                stack.enter_context(torch._C.DisableTorchFunction())
                given = tree.tree_map(lambda x: x.as_subclass(Tensor) if isinstance(x, Tensor) else x, args)
                result = method(*given)
                return result.as_subclass(Elsewhere) if isinstance(result, Tensor) else result

        return call


@pytest.fixture
def elsewhere():
    """Function that puts an engine elsewhere; while the test runs, tensors there and on the CPU do not mix."""
    with Watch():
        yield EngineElsewhere
