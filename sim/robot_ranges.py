"""How robots and their rackets differ: ranges for an engine's `set_params` and for the ball's impact on strings."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import mujoco
import torch
from torch import Tensor

from humanoid.racket import SITE
from sim.engine import BatchEngine, Engine
from sim.ranges import Range, check_range, uniform
from sim.robot_parameters import nominal
from sim.stringbed import Racket


@dataclass(frozen=True)
class RobotRanges:
    """How robots differ: uniform ranges, drawn for each environment. None: as in the model, and nothing is drawn.

    Attributes:
        body_mass: factor on the mass and inertia of each link. No published source: what a scale and a cable do.
        racket_mass: the same of the racket (0.95–1.05 of 0.32 kg; rackets weigh 0.30–0.34 kg strung).
        foot_friction: sliding friction of the soles on the court. No published source.
        kp, kd, effort: factor on each motor's gains and torque limit.
        joint_damping: factor on each joint's viscous friction. armature: factor on each rotor's inertia.
    """

    body_mass: Range | None = (0.95, 1.05)
    racket_mass: Range | None = (0.95, 1.05)
    foot_friction: Range | None = (0.6, 1.0)
    kp: Range | None = None
    kd: Range | None = None
    effort: Range | None = None
    joint_damping: Range | None = None
    armature: Range | None = None

    @classmethod
    def nominal(cls) -> RobotRanges:
        """No differences."""
        return cls(**{field.name: None for field in fields(cls)})

    def check(self) -> None:
        """Raise ValueError naming the range that no robot has."""
        for field in fields(self):
            # Feet of less friction throw the physics into unstable motion, see `sim.robot_parameters`.
            low = 0.01 if field.name == "foot_friction" else 0.0 if field.name == "joint_damping" else 0.05
            if (bounds := getattr(self, field.name)) is not None:
                check_range(f"robot ranges: {field.name}", bounds, low, 20.0)


@dataclass(frozen=True)
class StringRanges:
    """How string beds differ: uniform ranges, drawn for each environment. None: as `Racket` has it.

    Attributes:
        restitution: against a clamped head (0.83–0.88 for the strings in play).
        frame_restitution, friction: no published source.
    """

    restitution: Range | None = None
    frame_restitution: Range | None = None
    friction: Range | None = None

    def check(self) -> None:
        """Raise ValueError naming the range that no strings have."""
        for field in fields(self):
            high = 5.0 if field.name == "friction" else 1.0
            if (bounds := getattr(self, field.name)) is not None:
                check_range(f"string ranges: {field.name}", bounds, 0.0, high)


def vary_robots(engine: BatchEngine, ranges: RobotRanges, generator: torch.Generator) -> None:
    """Give every robot of an engine its own parameters, drawn about the model's; what has no range stays as it is.

    Args:
        engine: its robots differ from then on, resets included.
        ranges: to draw from.
        generator: source of randomness, on the CPU.

    Raises:
        ValueError: an impossible range; nothing has been changed then.
    """
    ranges.check()
    model, n = engine.model, engine.num_envs

    def drawn(bounds: Range, *shape: int) -> Tensor:
        return uniform(bounds, *shape, generator=generator, dtype=torch.float64)

    def own(name: str) -> Tensor:
        return torch.as_tensor(nominal(model, name))

    values: dict[str, Tensor] = {}
    if ranges.body_mass or ranges.racket_mass:
        factor = torch.ones(n, model.nbody, dtype=torch.float64)
        if ranges.body_mass:
            factor = drawn(ranges.body_mass, n, model.nbody)
        factor[:, racket_body(model)] = drawn(ranges.racket_mass, n) if ranges.racket_mass else 1.0
        values["body_mass"] = factor * own("body_mass")
        values["body_inertia"] = factor.unsqueeze(2) * own("body_inertia")
    if ranges.foot_friction:
        feet = [model.geom(f"{side}_foot{i}").id for side in ("left", "right") for i in range(4)]
        friction = own("geom_friction").repeat(n, 1, 1)
        friction[:, feet, 0] = drawn(ranges.foot_friction, n).unsqueeze(1)
        values["geom_friction"] = friction
    for field, name in (
        ("kp", "kp"),
        ("kd", "kd"),
        ("effort", "effort"),
        ("joint_damping", "dof_damping"),
        ("armature", "dof_armature"),
    ):
        if bounds := getattr(ranges, field):
            values[name] = drawn(bounds, n, len(own(name))) * own(name)
    if values:
        device = engine.device
        engine.set_params(
            torch.arange(n, device=device), {name: value.to(device) for name, value in values.items()}
        )


def held_rackets(engine: Engine, strings: StringRanges, generator: torch.Generator) -> Racket | None:
    """The rackets that the robots of an engine hold, as the ball meets them, fields (N, ...); None: all nominal.

    Args:
        engine: an engine whose robots differ tells their rackets' masses; inertias are in proportion.
        strings: to draw from. generator: source of randomness, on the CPU.
    """
    strings.check()
    n = engine.num_envs
    drawn = {
        field.name: uniform(bounds, n, generator=generator)
        for field in fields(strings)
        if (bounds := getattr(strings, field.name)) is not None
    }
    factor = torch.ones(n)
    if (params := getattr(engine, "params", None)) is not None:
        model: mujoco.MjModel = engine.model  # type: ignore[attr-defined]
        body = racket_body(model)
        factor = (params("body_mass")[:, body].double().cpu() / float(model.body_mass[body])).float()
    # An engine in float32 has the nominal mass to rounding.
    if not drawn and bool(((factor - 1.0).abs() < 1e-6).all()):
        return None
    racket = replace(Racket.from_specs(), **drawn).expand(n)
    inertia = factor[:, None, None] * racket.inertia
    return replace(racket, mass=factor * racket.mass, inertia=inertia)


def racket_body(model: mujoco.MjModel) -> int:
    """The body of a model that is the racket."""
    return int(model.site_bodyid[model.site(SITE).id])
