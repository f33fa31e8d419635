"""Physical parameters in which the robots of one engine may differ, for domain randomisation.

`PARAMETERS` names them; an engine's `set_params` writes them into its own per-robot copies of the model's
fields. What a change of a mass alters elsewhere (subtree masses, inverse weights) the engine works out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Parameter:
    """Where the model keeps a parameter.

    Attributes:
        kind: what has one value each: bodies, degrees of freedom, geoms or actuators.
        writes: model fields, each with a column of its last axis (None: all of it) and a factor.
        positive: must be more than zero wherever the model's own value is; else at least zero.
        signed: may be negative.
        inertial: constants that the model derives from it have to follow.
    """

    kind: mujoco.mjtObj
    writes: tuple[tuple[str, int | None, float], ...]
    positive: bool = False
    signed: bool = False
    inertial: bool = False


_BODY, _GEOM = mujoco.mjtObj.mjOBJ_BODY, mujoco.mjtObj.mjOBJ_GEOM
_JOINT, _MOTOR = mujoco.mjtObj.mjOBJ_DOF, mujoco.mjtObj.mjOBJ_ACTUATOR

PARAMETERS: dict[str, Parameter] = {
    "body_mass": Parameter(_BODY, (("body_mass", None, 1.0),), positive=True, inertial=True),
    "body_inertia": Parameter(_BODY, (("body_inertia", None, 1.0),), positive=True, inertial=True),
    "body_ipos": Parameter(_BODY, (("body_ipos", None, 1.0),), signed=True, inertial=True),
    "dof_armature": Parameter(_JOINT, (("dof_armature", None, 1.0),), inertial=True),
    "dof_damping": Parameter(_JOINT, (("dof_damping", None, 1.0),)),
    "geom_friction": Parameter(_GEOM, (("geom_friction", None, 1.0),)),
    "kp": Parameter(_MOTOR, (("actuator_gainprm", 0, 1.0), ("actuator_biasprm", 1, -1.0))),
    "kd": Parameter(_MOTOR, (("actuator_biasprm", 2, -1.0),)),
    "effort": Parameter(
        _MOTOR, (("actuator_forcerange", 1, 1.0), ("actuator_forcerange", 0, -1.0)), positive=True
    ),
}
"""Parameters by name; values of one robot have the shape given by `nominal`.

| name | shape | what |
| --- | --- | --- |
| body_mass | (nbody,) | mass, kg |
| body_inertia | (nbody, 3) | principal moments, kg m²; scale it with the mass |
| body_ipos | (nbody, 3) | centre of mass in the link's frame, m |
| dof_armature | (nv,) | reflected rotor inertia, kg m² |
| dof_damping | (nv,) | viscous friction, N m s/rad |
| geom_friction | (ngeom, 3) | sliding, torsional, rolling; on the court the feet's own counts; see below |
| kp | (nu,) | position gain, N m/rad |
| kd | (nu,) | velocity gain, N m s/rad |
| effort | (nu,) | torque limit, N m |

The first body is the world, the first six degrees of freedom are the root's. Feet of sliding friction under
0.01 throw either engine into unstable motion: the pyramid of friction directions becomes singular. Dry joint
friction is left out: MuJoCo reckons it against the acceleration that motors would give without the implicit
part of their damping, so with gains as stiff as these it speeds a moving joint up.
"""


def nominal(model: mujoco.MjModel, name: str) -> np.ndarray:
    """The model's own values of parameter `name`, a copy; shapes in `PARAMETERS`.

    Raises:
        ValueError: no such parameter.
    """
    field, column, factor = _parameter(name).writes[0]
    return factor * _column(getattr(model, field), column)


def write_parameters(
    model: mujoco.MjModel,
    field: Callable[[str], Tensor],
    ids: Tensor,
    values: Mapping[str, Any],
) -> bool:
    """Check everything, then write it.

    Args:
        model: of the robots.
        field: gives a live tensor (N, ...) of the per-robot values of a model field.
        ids: robots (n,).
        values: parameter name → values that broadcast to (n, *shape).

    Returns:
        Whether derived constants have to follow.

    Raises:
        ValueError: unknown name, wrong shape, or a value that is not finite or has the wrong sign; names the
            parameter, the environment and the object. Nothing has been written then.
    """
    checked = {name: _checked(model, name, value, ids) for name, value in values.items()}
    for name, value in checked.items():
        for where, column, factor in PARAMETERS[name].writes:
            live = field(where)
            scaled = (factor * value).to(live)
            if column is None:
                live[ids] = scaled
            else:
                live[ids, :, column] = scaled
    return any(PARAMETERS[name].inertial for name in checked)


def read_parameter(field: Callable[[str], Tensor], name: str) -> Tensor:
    """Present values of a parameter in all robots, (N, *shape), a copy; `field` as in `write_parameters`."""
    where, column, factor = _parameter(name).writes[0]
    return factor * _column(field(where), column)


def _parameter(name: str) -> Parameter:
    if name not in PARAMETERS:
        raise ValueError(f"robots have no parameter {name!r}; choose from {', '.join(PARAMETERS)}")
    return PARAMETERS[name]


def _column(array, column: int | None):
    return array if column is None else array[..., column]


def _checked(model: mujoco.MjModel, name: str, values: Any, ids: Tensor) -> Tensor:
    parameter = _parameter(name)
    own = torch.as_tensor(nominal(model, name), device=ids.device)
    shape = (len(ids), *own.shape)
    given = torch.as_tensor(values, dtype=torch.float64, device=ids.device)
    try:
        given = given.broadcast_to(shape)
    except RuntimeError as error:
        raise ValueError(
            f"{name}: values of shape {tuple(given.shape)} do not fit {shape}: one row for each of the "
            f"{len(ids)} environments"
        ) from error
    wrong = ~torch.isfinite(given)
    if not parameter.signed:
        wrong |= (given < 0) | ((given == 0) & (own > 0) if parameter.positive else False)
    if bool(wrong.any()):
        row, *entry = wrong.nonzero()[0].tolist()
        value = float(given[(row, *entry)])
        rule = "finite"
        if not parameter.signed:
            rule += " and positive" if parameter.positive else " and not negative"
        raise ValueError(
            f"{name} of environment {int(ids[row])}, {_object(model, parameter.kind, entry[0])}: "
            f"{value:g} must be {rule}"
        )
    return given


def _object(model: mujoco.MjModel, kind: mujoco.mjtObj, index: int) -> str:
    if kind == _JOINT:
        kind, index = mujoco.mjtObj.mjOBJ_JOINT, int(model.dof_jntid[index])
    word = {_BODY: "body", _GEOM: "geom", _MOTOR: "actuator"}.get(kind, "joint")
    return f"{word} {mujoco.mj_id2name(model, kind, index) or index}"
