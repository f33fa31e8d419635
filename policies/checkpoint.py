"""Checkpoints: everything a training needs to go on exactly where it was."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import torch

from humanoid.files import atomic_write

MAGIC = b"rally-checkpoint/1\n"


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used. The message names the file and what to do."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all: a line of magic, a line with the SHA-256 of the rest, the rest.

    Args:
        path: file.
        state: tensors, numbers, strings and containers of these.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    with atomic_write(path) as file:
        file.write(MAGIC)
        file.write(hashlib.sha256(payload).hexdigest().encode() + b"\n")
        file.write(payload)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, its tensors onto the CPU.

    Safe on files from strangers: only tensors and plain values are unpickled.

    Raises:
        CheckpointError: missing, of another kind, damaged or changed.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint; train one with rally-train") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    head, _, payload = data[len(MAGIC) :].partition(b"\n")
    if not data.startswith(MAGIC):
        raise CheckpointError(f"{path}: not a checkpoint of this project; give the checkpoint.pt of a run")
    if hashlib.sha256(payload).hexdigest().encode() != head:
        raise CheckpointError(
            f"{path}: damaged or changed since it was written (its hash does not match); "
            "restore it from a copy or start the run anew with resume=false"
        )
    try:
        # A checkpoint of a GPU is read on machines without one too.
        state = torch.load(io.BytesIO(payload), weights_only=True, map_location="cpu")
    except Exception as error:  # torch and pickle raise many kinds for what they do not read
        line = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise CheckpointError(
            f"{path}: not readable ({line}); restore it from a copy or train anew"
        ) from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds no training state; give the checkpoint.pt of a run")
    return state


def describe(state: dict[str, Any]) -> str:
    """One line about a checkpoint."""
    return json.dumps({key: state[key] for key in ("iteration", "samples", "wall_s") if key in state})
