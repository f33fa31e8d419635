"""The steps a player can take between strokes: to the left and to the right, each a function of the way.

A family is what `policies.design_steps` fitted through optimised steps (`humanoid.trajectory`): pelvis, joints and
torques at every moment as a quadratic polynomial of the way that both feet make,

    y(t; w) = W(t) φ(w),   φ(w) = [1, w_i, w_i w_j],   w = x, y, turn in units of `UNIT`.

A step begins and ends at rest in the ready pose, so a step may follow a stroke, a stroke a step, a step a step.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from humanoid.balance import ready_height
from humanoid.files import atomic_write
from humanoid.joints import JOINT_NAMES
from humanoid.model import build_model
from humanoid.motion import DAMAGE, MotionError
from policies.strokes import COLUMNS, NUM_COLUMNS, turned

STEP_FOLDER = Path(__file__).resolve().parent.parent / "assets" / "motions" / "step_family"
SIDES = ("left", "right")
"""Families by the foot that moves first; the left one leads to the left (y >= 0)."""
UNIT = 0.1
"""What counts as one unit of the way, m or rad."""
FEATURES = 10


@dataclass(frozen=True)
class StepSet:
    """Two families of T frames at the control rate, in the stance frame in which the step begins.

    Attributes:
        dt: time between frames, s.
        weights: (2, T, FEATURES, NUM_COLUMNS), columns as `policies.strokes.COLUMNS`.
        longest: largest way forward or back, to the family's side, and turn, (3,), m, m, rad.
        swing: when the leading and the trailing foot leave the ground and stand again, (2, 2), s.
    """

    dt: float
    weights: Tensor
    longest: Tensor
    swing: Tensor

    @property
    def rest(self) -> Tensor:
        """The ready pose that steps begin and end in, (NUM_COLUMNS,)."""
        return self.weights[0, 0, 0]

    @property
    def duration(self) -> float:
        """From rest to rest, s."""
        return (self.weights.shape[1] - 1) * self.dt

    def to(self, device: torch.device | str) -> StepSet:
        """The same families on a device."""
        tables = {name: getattr(self, name).to(device) for name in ("weights", "longest", "swing")}
        return replace(self, **tables)

    def in_swing(self, way: Tensor, time: Tensor) -> Tensor:
        """Whether the left and the right foot are in the air, (N, 2), 0 or 1; arguments as of `at`."""
        air = ((time[:, None] > self.swing[:, 0]) & (time[:, None] < self.swing[:, 1])).float()
        return torch.where(way[:, 1:2] < 0, air.flip(1), air)

    def at(self, way: Tensor, time: Tensor) -> Tensor:
        """What a step adds to the ready pose of the stance in which it ends, (N, NUM_COLUMNS).

        Args:
            way: of both feet, x, y, turn to the left, (N, 3), m, m, rad.
            time: since its beginning, (N,), s.
        """
        frames = self.weights.shape[1]
        side = (way[:, 1] < 0).to(torch.int64)
        frame = (time / self.dt).clamp(0.0, frames - 1.0)
        low = frame.floor().clamp(max=frames - 2.0)
        share = (frame - low)[:, None, None]
        table, row = self.weights.flatten(0, 1), side * frames + low.to(torch.int64)
        weights = torch.lerp(table[row], table[row + 1], share)
        values = (way_features(way).unsqueeze(1) @ weights)[:, 0] - self.rest
        x, y, turn = way.unbind(1)
        cos, sin = turn.cos(), turn.sin()

        def seen(a: Tensor, b: Tensor) -> list[Tensor]:
            return [cos * a + sin * b, cos * b - sin * a]

        pos = [*seen(values[:, 0] - x, values[:, 1] - y), values[:, 2], values[:, 3] - turn]
        vel = seen(values[:, 4], values[:, 5])
        return torch.cat((torch.stack(pos + vel, dim=1), values[:, 6:]), dim=1)


def led(stance: Tensor, way: Tensor) -> Tensor:
    """The stance, x, y, heading (N, 3), that a step of `way` (N, 3) leads to."""
    return stance + turned(way, stance[:, 2])


def way_features(way: Tensor) -> Tensor:
    """Polynomial features (…, FEATURES) of ways (…, 3)."""
    scaled = way / UNIT
    rows, columns = torch.triu_indices(3, 3, device=way.device)
    return torch.cat(
        (torch.ones_like(way[..., :1]), scaled, scaled[..., rows] * scaled[..., columns]), dim=-1
    )


def load_steps(folder: Path = STEP_FOLDER, dt: float = 0.02) -> StepSet:
    """Read the step families.

    Args:
        folder: where they are.
        dt: control period; the families must have this rate.

    Raises:
        MotionError: a file is missing or damaged, has another rate or other joints.
    """
    height = ready_height(build_model())
    weights, longest, swing = [], [], []
    for side in SIDES:
        family = _read(folder / f"{side}.npz")
        if abs(family["fps"] * dt - 1) > 1e-6:
            raise MotionError(f"{folder / side}.npz: has {family['fps']:g} Hz, the player {1 / dt:.0f} Hz")
        table = family["weights"].copy()
        # The robot's feet sink a little into the floor under its weight.
        table[:, 0, 2] += height - table[0, 0, 2]
        weights.append(table)
        longest.append(family["longest"])
        swing.append(family["swing"])
    return StepSet(
        dt,
        torch.as_tensor(np.stack(weights), dtype=torch.float32),
        torch.as_tensor(np.min(longest, axis=0), dtype=torch.float32),
        torch.as_tensor(swing[0], dtype=torch.float32),
    )


def save_steps(
    file: Path, weights: np.ndarray, longest: np.ndarray, swing: np.ndarray, fps: float, provenance: dict
) -> None:
    """Write one family: weights (T, FEATURES, NUM_COLUMNS), `StepSet.longest` and `.swing`, frames a second, where it
    comes from."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file, "wb") as out:
        np.savez_compressed(
            out,
            weights=weights.astype(np.float32),
            longest=np.asarray(longest, dtype=np.float32),
            swing=np.asarray(swing, dtype=np.float32),
            fps=np.array(fps),
            joint_names=np.array(JOINT_NAMES),
            columns=np.array(list(COLUMNS)),
            provenance=np.array(json.dumps(provenance)),
        )


def _read(file: Path) -> dict:
    try:
        with np.load(file, allow_pickle=False) as data:
            family = dict(data)
        names, columns = ([str(name) for name in family[key]] for key in ("joint_names", "columns"))
        if names != list(JOINT_NAMES) or columns != list(COLUMNS):
            raise MotionError(
                f"{file}: its joints or columns are not this robot's; rebuild it with this version"
            )
        shape = family["weights"].shape
        if shape[1:] != (FEATURES, NUM_COLUMNS) or not np.isfinite(family["weights"]).all():
            raise MotionError(f"{file}: its table of shape {shape} is damaged; rebuild it or fetch it anew")
        if family["longest"].shape != (3,) or not (family["longest"] > 0).all():
            raise MotionError(f"{file}: longest must be three positive numbers; rebuild it or fetch it anew")
        if family["swing"].shape != (2, 2) or not (np.diff(family["swing"].ravel()) > 0).all():
            raise MotionError(f"{file}: swing must be four rising times; rebuild it or fetch it anew")
        family["fps"] = float(family["fps"])
    except FileNotFoundError:
        raise MotionError(
            f"{file}: no such steps; rebuild them with python -m policies.design_steps"
        ) from None
    except MotionError:
        raise
    except DAMAGE as error:
        raise MotionError(f"{file}: cannot be read ({error}); rebuild it or fetch it anew") from None
    return family
