"""Builds the MuJoCo model of the robot from the joint table."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import mujoco

from humanoid import racket as racket_module
from humanoid.bodies import (
    BODY_CAPSULES,
    FEET,
    FOOT_CORNERS,
    FOOT_RADIUS,
    SOLE_HEIGHT,
    racket_capsules,
)
from humanoid.joints import JOINTS, PELVIS, READY_JOINT_POS
from humanoid.racket import RACKET, Racket

_AXES = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}


def build_spec(
    *,
    racket: Racket | None = RACKET,
    actuators: bool = True,
    armature: bool = True,
    floor: bool = True,
    self_collision: bool = False,
    friction: float = 0.8,
    timestep: float = 0.005,
    decorate: Callable[[mujoco.MjSpec], None] | None = None,
) -> mujoco.MjSpec:
    """The G1 with a racket, on a floor, as an editable spec.

    Contacts: four spheres a foot against the floor (contype of the floor 1, conaffinity of the feet 1) with
    a pyramidal friction cone. With ``self_collision`` the body's capsules and the racket's collide among each
    other, and the racket with the floor. The ball is no part of this model.

    Sites: ``racket`` (string-bed centre, frame as in :mod:`humanoid.racket`), ``imu`` (pelvis),
    ``left_foot`` and ``right_foot`` (centre of the sole). Geoms: group 3 is collision, group 2 visual.

    Args:
        racket: mass properties, or None for empty hands (Unitree's own description).
        actuators: one position servo a joint, clipped to the motor's effort: torque =
            kp (ctrl - q) - kd q̇. ``ctrl`` is a position, [rad], shape (29,) in the joint table's order.
        armature: add the rotors' reflected inertia.
        floor: add a plane at z = 0.
        self_collision: let the body's capsules and the racket's collide.
        friction: sliding friction of feet on the floor.
        timestep: physics step, [s].
        decorate: called with the spec before it is returned, e.g. to add visual geoms.

    Returns:
        The spec; ``spec.compile()`` gives the model.
    """
    spec = mujoco.MjSpec()
    spec.modelname = "g1_29dof_racket" if racket is not None else "g1_29dof"
    spec.compiler.degree = False
    spec.option.timestep = timestep
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
    spec.option.iterations = 10
    spec.option.ls_iterations = 20
    spec.memory = 1 << 20

    if floor:
        spec.worldbody.add_geom(
            name="floor",
            type=mujoco.mjtGeom.mjGEOM_PLANE,
            size=[0, 0, 1],
            contype=1,
            conaffinity=0,
            friction=[friction, 0.005, 0.0001],
            group=3,
        )

    pelvis = spec.worldbody.add_body(name=PELVIS.link, pos=[0, 0, PELVIS.height])
    pelvis.add_freejoint(name="root")
    _set_inertia(pelvis, PELVIS)
    pelvis.add_site(name="imu", pos=[0.04525, 0, -0.08339], size=[0.01] * 3, group=5)
    links = {PELVIS.link: pelvis}
    for joint in JOINTS:
        link = links[joint.parent].add_body(name=joint.link, pos=joint.pos, quat=joint.quat)
        _set_inertia(link, joint)
        link.add_joint(
            name=joint.name,
            type=mujoco.mjtJoint.mjJNT_HINGE,
            axis=_AXES[joint.axis],
            range=joint.range,
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            armature=joint.armature if armature else 0.0,
        )
        links[joint.link] = link

    for side, foot in zip(("left", "right"), FEET, strict=True):
        for number, (x, y) in enumerate(FOOT_CORNERS):
            links[foot].add_geom(
                name=f"{side}_foot{number}",
                type=mujoco.mjtGeom.mjGEOM_SPHERE,
                pos=[x, y, FOOT_RADIUS - SOLE_HEIGHT],
                size=[FOOT_RADIUS, 0, 0],
                contype=0,
                conaffinity=1,
                condim=3,
                priority=1,
                friction=[friction, 0.005, 0.0001],
                density=0,
                group=3,
            )
        links[foot].add_site(name=f"{side}_foot", pos=[0.0375, 0, -SOLE_HEIGHT], size=[0.01] * 3, group=5)
    for name, link, start, end, radius in BODY_CAPSULES:
        links[link].add_geom(
            name=f"{name}_capsule",
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            fromto=[*start, *end],
            size=[radius, 0, 0],
            contype=2 if self_collision else 0,
            conaffinity=2 if self_collision else 0,
            condim=1,
            density=0,
            group=3,
        )
    if self_collision:
        for a, b in (
            ("pelvis", "left_hip_yaw_link"),
            ("pelvis", "right_hip_yaw_link"),
            ("pelvis", "torso_link"),
            ("torso_link", "left_shoulder_yaw_link"),
            ("torso_link", "right_shoulder_yaw_link"),
            ("left_elbow_link", "left_wrist_yaw_link"),
            ("right_elbow_link", "right_wrist_yaw_link"),
            ("left_shoulder_yaw_link", "left_elbow_link"),
            ("right_shoulder_yaw_link", "right_elbow_link"),
        ):
            spec.add_exclude(bodyname1=a, bodyname2=b)

    if racket is not None:
        body = links[racket_module.LINK].add_body(name="racket", pos=racket.position, quat=racket_module.QUAT)
        body.mass = racket.mass
        body.ipos = racket.com
        body.inertia = racket.inertia
        body.explicitinertial = True
        body.add_site(name=racket_module.SITE, size=[0.01] * 3, group=5)
        if self_collision:
            _add_racket_capsules(links[racket_module.LINK])

    if actuators:
        for joint in JOINTS:
            actuator = spec.add_actuator(
                name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT
            )
            actuator.set_to_position(kp=joint.kp, kv=joint.kd)
            actuator.forcerange = [-joint.effort, joint.effort]
            actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
    if decorate is not None:
        decorate(spec)
    return spec


def _add_racket_capsules(link: mujoco.MjsBody) -> None:
    """Handle, hoop and strings, as parts of the link that holds the racket: it passes the arm's own parts by."""
    for capsule in racket_capsules():
        link.add_geom(
            name=f"{capsule.name}_capsule",
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            fromto=[*capsule.start, *capsule.end],
            size=[capsule.radius, 0, 0],
            contype=2,
            # 1 is the floor's.
            conaffinity=3,
            condim=1,
            density=0,
            group=3,
        )


def build_model(**options) -> mujoco.MjModel:
    """Compile :func:`build_spec` with the given options."""
    return build_spec(**options).compile()


def _set_inertia(body, facts) -> None:
    body.mass = facts.mass
    body.ipos = facts.com
    body.inertia = facts.inertia
    body.iquat = facts.inertia_quat
    body.explicitinertial = True


@cache
def touching_height() -> float:
    """Height of the pelvis at which the soles of the ready pose just touch the ground, [m]. Under its weight the
    robot stands a little lower, see :func:`humanoid.balance.ready_height`."""
    model = build_model(floor=False)
    data = mujoco.MjData(model)
    data.qpos[7:] = READY_JOINT_POS
    mujoco.mj_kinematics(model, data)
    feet = [data.geom(f"{side}_foot{i}") for side in ("left", "right") for i in range(len(FOOT_CORNERS))]
    lowest = min(foot.xpos[2] - model.geom_size[foot.id, 0] for foot in feet)
    return float(data.qpos[2] - lowest)
