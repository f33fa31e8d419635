"""The strokes a player can play: two families, forehand and backhand, each a function of the strike goal.

A family is what `policies.design` learned from hundreds of optimised strokes: every joint angle, velocity and torque
at every moment as a polynomial of where, how fast and facing where the racket meets the ball,

    y(t; g) = W(t) φ(a),   φ(u) = [1, u_i, u_i u_j, p_i p_j p_k, p_i p_j v_k],   p, v: the position's and velocity's
    part of u,

so that a goal within the family's range has its own stroke, and a goal that moves bends the stroke smoothly. What is
asked for, a, is such that the racket of the stroke passes the goal u = (g - centre) / scale but for the lead
L φ(u) + V exp(-|u - k_j|² / 2 w²), which simulated strokes have shown the robot to add: a polynomial from strokes begun
at rest (`policies.family`), and bells around goals of games (`policies.train_lead`).
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from humanoid.balance import ready_height
from humanoid.files import atomic_write
from humanoid.joints import JOINT_NAMES, NUM_JOINTS
from humanoid.model import build_model
from humanoid.motion import MotionError
from policies.bend import bend
from policies.chain import Chain

FAMILY_FOLDER = Path(__file__).resolve().parent.parent / "assets" / "motions" / "stroke_family"
KINDS = ("forehand", "backhand")
GOAL_SIZE = 8
"""Strike goal in the stance frame: racket position (3), velocity (3), y and z of the hitting face's normal."""
QUADRATIC = 1 + GOAL_SIZE + GOAL_SIZE * (GOAL_SIZE + 1) // 2
FEATURES = QUADRATIC + 10 + 6 * 3
"""Terms of a family's polynomial: the quadratic ones, and the cubic ones of position and of position and velocity."""
COLUMNS = {
    "root_pos": 3,
    "heading": 1,
    "root_lin_vel": 3,
    "heading_rate": 1,
    "joint_pos": NUM_JOINTS,
    "joint_vel": NUM_JOINTS,
    "torque": NUM_JOINTS,
}
"""What a family gives at each moment, with sizes: pelvis and its velocity in the stance frame, m, rad, m/s, rad/s,
joints, rad, rad/s, N·m."""
NUM_COLUMNS = sum(COLUMNS.values())
KNOTS = 400
"""Goals that carry a bell of the lead, for each family."""
KNOT_WIDTH = 1.5
"""Of the bells, in scaled units."""
TABLES = (
    "lead",
    "knots",
    "bells",
    "centre",
    "scale",
    "spread",
    "low",
    "high",
    "axis",
    "strike",
    "end",
    "face",
)
"""What a family file holds beside its weights, see `StrokeSet`."""


FARTHEST = 2.8
"""Largest distance from what a family knows of what it is asked for (Mahalanobis): no stroke is trusted beyond."""
OUTERMOST = 4.2
"""Largest distance of a position from those a family knows at which a stroke still goes there (Mahalanobis)."""


@dataclass(frozen=True)
class StrokeSet:
    """K families of T frames at the control rate.

    Positions are relative to the stance: origin on the ground under the pelvis of the ready pose, x forward.

    Attributes:
        names: of the families.
        dt: time between frames, s.
        weights: (K, T, FEATURES, NUM_COLUMNS).
        lead: what the robot's racket adds to the stroke's at the strike, in scaled units, (K, FEATURES, GOAL_SIZE),
            and more of it near scaled goals `knots` (K, KNOTS, GOAL_SIZE): `bells` (K, KNOTS, GOAL_SIZE).
        centre, scale: of the goals, (K, GOAL_SIZE).
        spread: inverse covariance of the scaled goals that the family was learned from, (K, GOAL_SIZE, GOAL_SIZE).
        low, high: range of their positions, (K, 3), m.
        axis: long axis of the racket at the centre's strike, (K, 3).
        strike: frame of the strike, (K,). end: last frame, (K,).
        manner: velocity and face that go with a scaled position, (K, GOAL_SIZE - 3, 3), worked out from `spread`.
        face: +1 where the +z face meets the ball (forehand), -1 for the other, (K,).
    """

    names: tuple[str, ...]
    dt: float
    weights: Tensor
    lead: Tensor
    knots: Tensor
    bells: Tensor
    centre: Tensor
    scale: Tensor
    spread: Tensor
    low: Tensor
    high: Tensor
    axis: Tensor
    strike: Tensor
    end: Tensor
    face: Tensor
    manner: Tensor = field(init=False)

    def __post_init__(self) -> None:
        # Velocity and face that go with a position, as the families know them: the conditional mean of a normal law.
        manner = -torch.linalg.solve(self.spread[:, 3:, 3:], self.spread[:, 3:, :3])
        object.__setattr__(self, "manner", manner)

    @property
    def num_strokes(self) -> int:
        return len(self.names)

    def to(self, device: torch.device | str) -> StrokeSet:
        """The same families on a device."""
        tables = {
            f.name: v for f in fields(self) if f.init and isinstance(v := getattr(self, f.name), Tensor)
        }
        return replace(self, **{name: table.to(device) for name, table in tables.items()})

    def scaled(self, stroke: Tensor, pos: Tensor, vel: Tensor, normal: Tensor) -> Tensor:
        """Goals (…, 3) each in units of the families `stroke` (…): (…, GOAL_SIZE)."""
        goal = torch.cat((pos, vel, normal[..., 1:]), dim=-1)
        return (goal - self.centre[stroke]) / self.scale[stroke]

    def wanted(self, stroke: Tensor, scaled: Tensor) -> Tensor:
        """What the racket of a stroke must pass so that a robot's meets scaled goals (N, GOAL_SIZE): the same shape."""
        smooth = (features(scaled).unsqueeze(1) @ self.lead[stroke])[:, 0]
        return (
            scaled - smooth - (near_knots(scaled, self.knots[stroke]).unsqueeze(1) @ self.bells[stroke])[:, 0]
        )

    def asked(self, stroke: Tensor, wanted: Tensor, racket: Chain, rounds: int = 4) -> Tensor:
        """What to ask a family for so that its racket passes what is `wanted` (N, GOAL_SIZE): the same shape.

        Args:
            stroke: families, (N,). wanted: scaled goals. racket: kinematics of the racket.
            rounds: what the stroke's racket misses is asked for in addition so often.
        """
        # Broyden's method; the best so far is kept, so that goals which no stroke of the family passes do no harm.
        asked = best = wanted
        off = self.passes(stroke, asked, racket) - wanted
        least = torch.linalg.vector_norm(off, dim=1, keepdim=True)
        inverse = torch.eye(GOAL_SIZE, device=wanted.device).expand(wanted.shape[0], -1, -1)
        for _ in range(rounds):
            step = -(inverse @ off.unsqueeze(-1))[..., 0]
            step = step * (1.5 / torch.linalg.vector_norm(step, dim=1, keepdim=True).clamp(min=1e-6)).clamp(
                max=1.0
            )
            asked = asked + step
            now = self.passes(stroke, asked, racket) - wanted
            change = (inverse @ (now - off).unsqueeze(-1))[..., 0]
            along = (step * change).sum(1, keepdim=True)
            # A change against the step says nothing of use.
            along = torch.where(along.abs() < 0.2 * (step * step).sum(1, keepdim=True), torch.inf, along)
            row = (step.unsqueeze(1) @ inverse)[:, 0]
            inverse = inverse + ((step - change) / along).unsqueeze(-1) * row.unsqueeze(1)
            off = now
            size = torch.linalg.vector_norm(off, dim=1, keepdim=True)
            better = (size < least) & (self.distance(stroke, asked)[:, None] < FARTHEST)
            best = torch.where(better, asked, best)
            least = torch.where(better, size, least)
        # No stroke is trusted that far from those the family was learned from.
        far = self.distance(stroke, best)[:, None].clamp(min=1e-6)
        return best * (FARTHEST / far).clamp(max=1.0)

    def passes(self, stroke: Tensor, asked: Tensor, racket: Chain) -> Tensor:
        """What the racket of strokes that are asked for (N, GOAL_SIZE) passes at the strike, in the same units."""
        at = self.at_strike(stroke, asked)
        # Its velocity by differences over two milliseconds.
        span = 1e-3
        pose = racket.forward(
            torch.cat([(at["joint_pos"] + t * at["joint_vel"])[:, racket.index] for t in (-span, 0.0, span)])
        )
        heading = torch.cat([at["heading"] + t * at["heading_rate"] for t in (-span, 0.0, span)])[:, 0]
        root = torch.cat([at["root_pos"] + t * at["root_lin_vel"] for t in (-span, 0.0, span)])
        pos = root + turned(pose.pos, heading)
        before, now, after = pos.unflatten(0, (3, -1)).unbind(0)
        face = turned(pose.rot[..., 2], heading).unflatten(0, (3, -1))[1]
        return self.scaled(stroke, now, (after - before) / (2 * span), self.face[stroke][:, None] * face)

    def at_strike(self, stroke: Tensor, asked: Tensor) -> dict[str, Tensor]:
        """The strokes that are asked for (N, GOAL_SIZE) at the strike, by column."""
        row = torch.arange(self.num_strokes, device=asked.device)
        weights = self.weights[row, self.strike][stroke]
        values = (features(asked).unsqueeze(1) @ weights)[:, 0]
        return dict(zip(COLUMNS, values.split(list(COLUMNS.values()), dim=1), strict=True))

    def bend(self, stroke: Tensor, asked: Tensor, wanted: Tensor, racket: Chain) -> Tensor:
        """What waist and arm do at the strike beside the strokes that are asked for, see `policies.bend`.

        Args:
            stroke: families, (N,). asked: of them, (N, GOAL_SIZE). wanted: scaled goals, (N, GOAL_SIZE).
            racket: kinematics of the racket.

        Returns:
            Joint angles, rad, and velocities, rad/s, to be added, (N, 2 J) for the J joints of the racket's chain.
        """
        at = self.at_strike(stroke, asked)
        pos, vel, face = (wanted * self.scale[stroke] + self.centre[stroke]).split((3, 3, 2), dim=1)
        ahead = (1 - face.square().sum(1, keepdim=True)).clamp(min=0.04).sqrt()
        face = self.face[stroke][:, None] * torch.cat((ahead, face), dim=1)
        # As seen from the pelvis, which turns and moves as the stroke says.
        heading = at["heading"][:, 0]
        pos, vel, face = (turned(v, -heading) for v in (pos - at["root_pos"], vel - at["root_lin_vel"], face))
        around = torch.stack((-pos[:, 1], pos[:, 0], torch.zeros_like(heading)), dim=1)
        angle, speed = at["joint_pos"][:, racket.index], at["joint_vel"][:, racket.index]
        return bend(racket, angle, speed, pos, vel - at["heading_rate"] * around, face)

    def distance(self, stroke: Tensor, scaled: Tensor) -> Tensor:
        """Mahalanobis distance of scaled goals (…, GOAL_SIZE) from those the families know, (…)."""
        return (
            (scaled.unsqueeze(-2) @ self.spread[stroke] @ scaled.unsqueeze(-1))[..., 0, 0].clamp(min=0).sqrt()
        )

    def within(self, stroke: Tensor, scaled: Tensor, limit: float) -> Tensor:
        """Scaled goals (N, GOAL_SIZE) drawn in to a `distance` of at most `limit`, as far as that is possible with the
        racket where it is: velocity and face go toward what the families know for that position."""
        free = self.spread[stroke][:, 3:, 3:]
        place = scaled[:, :3]
        known = (self.manner[stroke] @ place[..., None])[..., 0]
        off = (scaled[:, 3:] - known).unsqueeze(-1)
        least = self.distance(stroke, torch.cat((place, known), dim=1))
        rest = (off.transpose(1, 2) @ free @ off)[:, 0, 0]
        left = (limit**2 - least**2).clamp(min=0.25)
        share = (left / rest.clamp(min=1e-6)).sqrt().clamp(max=1.0)
        # No family can be trusted beyond all its positions.
        held = (OUTERMOST / least.clamp(min=1e-6)).clamp(max=1.0)[:, None]
        return torch.cat((held * place, held * known + share[:, None] * off[..., 0]), dim=1)


def near_knots(scaled: Tensor, knots: Tensor) -> Tensor:
    """How near scaled goals (N, GOAL_SIZE) are to knots (N, M, GOAL_SIZE) or (M, GOAL_SIZE), (N, M), 0–1."""
    off = (scaled.unsqueeze(-2) - knots).square().sum(-1)
    return torch.exp(-off / (2 * KNOT_WIDTH**2))


def turned(vector: Tensor, heading: Tensor) -> Tensor:
    """Vectors (N, 3) turned to the left by angles (N,), rad."""
    cos, sin = heading.cos(), heading.sin()
    x, y, z = vector.unbind(1)
    return torch.stack((cos * x - sin * y, sin * x + cos * y, z), dim=1)


def wrapped(angle: Tensor) -> Tensor:
    """Angles in (-π, π], rad."""
    return torch.atan2(angle.sin(), angle.cos())


def features(scaled: Tensor) -> Tensor:
    """Polynomial features (…, FEATURES) of scaled goals (…, GOAL_SIZE)."""
    one = torch.ones_like(scaled[..., :1])
    rows, columns = torch.triu_indices(GOAL_SIZE, GOAL_SIZE, device=scaled.device)
    pos, vel = scaled[..., :3], scaled[..., 3:6]
    i, j = torch.triu_indices(3, 3, device=scaled.device)
    squares = pos[..., i] * pos[..., j]
    # Every cubic term of the position once: a square and a component not before its second.
    square = [k for k, second in enumerate((0, 1, 2, 1, 2, 2)) for _ in range(second, 3)]
    third = [n for second in (0, 1, 2, 1, 2, 2) for n in range(second, 3)]
    cubes = squares[..., square] * pos[..., third]
    mixed = (squares.unsqueeze(-1) * vel.unsqueeze(-2)).flatten(-2)
    return torch.cat((one, scaled, scaled[..., rows] * scaled[..., columns], cubes, mixed), dim=-1)


def stroke_names(folder: Path = FAMILY_FOLDER) -> tuple[str, ...]:
    """Names of all families of a folder, forehand first."""
    return tuple(name for name in KINDS if (folder / f"{name}.npz").exists())


def load_strokes(names: tuple[str, ...] = (), folder: Path = FAMILY_FOLDER, dt: float = 0.02) -> StrokeSet:
    """Read stroke families.

    Args:
        names: file names without ending; none: all of the folder.
        folder: where they are.
        dt: control period; the families must have this rate.

    Raises:
        MotionError: a file is missing or damaged, has another rate or other joints.
    """
    names = tuple(names) or stroke_names(folder)
    if not names:
        raise MotionError(f"{folder}: holds no strokes; rebuild them with python -m policies.design")
    height = ready_height(build_model())
    columns: dict[str, list] = {}
    for name in names:
        file = folder / f"{name}.npz"
        family = _read(file)
        if abs(family["fps"] * dt - 1) > 1e-6:
            raise MotionError(
                f"{file}: has {family['fps']:g} Hz; a player at {1 / dt:.0f} Hz needs its own rate"
            )
        weights = family["weights"].copy()
        # The robot's feet sink a little into the floor under its weight.
        weights[:, 0, 2] += height - weights[0, 0, 2]
        columns.setdefault("weights", []).append(weights)
        for key in TABLES:
            columns.setdefault(key, []).append(family[key])
    tensors = {
        key: torch.as_tensor(
            np.array(value), dtype=torch.int64 if key in ("strike", "end") else torch.float32
        )
        for key, value in columns.items()
    }
    return StrokeSet(names=names, dt=dt, **tensors)


def save_family(file: Path, arrays: dict[str, np.ndarray], provenance: dict) -> None:
    """Write a family: the arrays of `StrokeSet` for one of them, `fps`, and where it comes from."""
    with atomic_write(file, "wb") as out:
        np.savez_compressed(
            out,
            **arrays,  # pyright: ignore[reportArgumentType]
            joint_names=np.array(JOINT_NAMES),
            columns=np.array(list(COLUMNS)),
            provenance=np.array(json.dumps(provenance)),
        )


def change_family(name: str, folder: Path, arrays: dict[str, np.ndarray], design: dict) -> None:
    """Replace some arrays of a family's file, and add to what is known of its design."""
    file = folder / f"{name}.npz"
    family = {key: value for key, value in _read(file).items() if key not in ("joint_names", "columns")}
    source = json.loads(str(family.pop("provenance")))
    source["design"] = {**source.get("design", {}), **design}
    save_family(file, {**family, **arrays}, source)


def provenance(name: str, folder: Path = FAMILY_FOLDER) -> dict:
    """Where a family comes from: source, licence, figures."""
    return json.loads(str(_read(folder / f"{name}.npz")["provenance"]))


def _read(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as data:
            family = dict(data)
        names = [str(name) for name in family["joint_names"]]
        shape = family["weights"].shape
        if names != list(JOINT_NAMES) or [str(c) for c in family["columns"]] != list(COLUMNS):
            raise MotionError(
                f"{file}: its joints or columns are not this robot's; rebuild it with this version"
            )
        if shape[1:] != (FEATURES, NUM_COLUMNS) or not np.isfinite(family["weights"]).all():
            raise MotionError(f"{file}: its table of shape {shape} is damaged; rebuild it or fetch it anew")
        missing = [key for key in TABLES if key not in family]
        if missing:
            raise KeyError(missing[0])
        family["fps"] = float(family["fps"])  # pyright: ignore[reportArgumentType]
    except FileNotFoundError:
        known = ", ".join(stroke_names(file.parent)) or "none"
        raise MotionError(f"{file}: no such strokes; this folder has: {known}") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, MotionError):
            raise
        raise MotionError(f"{file}: cannot be read ({error}); rebuild it or fetch it anew") from None
    return family
