"""The robot's looks: shells, motors, shoes and a racket, built from formulas, without mesh files.

Drawn geoms are in group 2, touch nothing and weigh nothing: the model's dynamics stay as they are. The
shapes follow the joint table's link positions; their outlines are our own drawing of a slim humanoid and
have no source.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import mujoco
import numpy as np

from humanoid import racket as racket_module
from humanoid.racket import RACKET, Racket
from humanoid.shapes import Mesh, bars, cylinder, elliptic_ring, loft, merged, mirrored

Rgb = tuple[float, float, float]

GROUP = 2
ACCENTS: dict[str, Rgb] = {"orange": (0.96, 0.40, 0.10), "blue": (0.10, 0.46, 0.90)}
"""Colours that tell two players apart: headband, shoulders, knees, shoes, racket."""

# Name, colour, specular, shininess, emission.
_MATERIALS: tuple[tuple[str, tuple[float, ...], float, float, float], ...] = (
    ("shell", (0.80, 0.815, 0.84, 1.0), 0.45, 0.55, 0.0),
    ("joint", (0.135, 0.14, 0.155, 1.0), 0.35, 0.35, 0.0),
    ("graphite", (0.23, 0.24, 0.265, 1.0), 0.35, 0.4, 0.0),
    ("visor", (0.02, 0.022, 0.03, 1.0), 1.0, 0.9, 0.0),
    ("rubber", (0.08, 0.08, 0.09, 1.0), 0.1, 0.1, 0.0),
    ("eyes", (0.45, 0.85, 1.0, 1.0), 0.0, 0.0, 0.9),
    ("strings", (0.95, 0.95, 0.90, 1.0), 0.1, 0.1, 0.25),
    ("bed", (0.96, 0.96, 0.93, 0.16), 0.0, 0.0, 0.0),
)


def decorate(spec: mujoco.MjSpec, accent: Rgb = ACCENTS["orange"], racket: Racket = RACKET) -> None:
    """Add the drawn geoms to a robot made by :func:`humanoid.model.build_spec`.

    Args:
        spec: the robot; changed in place. The racket is drawn when the spec has one.
        accent: colour of headband, shoulders, knees, shoes and racket frame, each channel in 0–1.
        racket: dimensions of the racket drawn.
    """
    for name, rgba, specular, shininess, emission in _MATERIALS:
        _material(spec, name, rgba, specular, shininess, emission)
    _material(spec, "accent", (*accent, 1.0), 0.4, 0.5, 0.06)
    holds_racket = spec.body("racket") is not None
    for link, name, material, mesh in _body_parts():
        _add(spec, link, name, material, mesh)
    for link, name, material, mesh in _limb_parts():
        for side in ("left", "right"):
            if name.startswith("hand_open") and side == "right" and holds_racket:
                continue
            _add(
                spec, f"{side}_{link}", f"{side}_{name}", material, mesh if side == "left" else mirrored(mesh)
            )
    if holds_racket:
        for name, mesh in _gripping_hand(racket):
            _add(spec, racket_module.LINK, name, "graphite", mesh)
        for name, material, mesh in _racket_parts(racket):
            _add(spec, "racket", name, material, mesh)


def decorator(accent: Rgb = ACCENTS["orange"], racket: Racket = RACKET) -> Callable[[mujoco.MjSpec], None]:
    """:func:`decorate` with its options filled in, for ``build_spec(decorate=...)``."""
    return partial(decorate, accent=accent, racket=racket)


def _material(spec, name, rgba, specular, shininess, emission) -> None:
    spec.add_material(name=name, rgba=rgba, specular=specular, shininess=shininess, emission=emission)


def _add(spec: mujoco.MjSpec, link: str, name: str, material: str, mesh: Mesh) -> None:
    vertices, faces = mesh
    asset = spec.add_mesh(name=name, uservert=vertices.ravel(), userface=faces.ravel())
    asset.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    spec.body(link).add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=name,
        material=material,
        contype=0,
        conaffinity=0,
        density=0,
        group=GROUP,
    )


def _body_parts() -> list[tuple[str, str, str, Mesh]]:
    """Parts in the sagittal plane: link, name, material, mesh in the link's frame."""
    torso = "torso_link"
    hip = [(-0.175, 0.002, 0, 0.030, 0.022), (-0.135, 0.0, 0, 0.052, 0.034), (-0.075, 0.0, 0, 0.062, 0.048)]
    hip += [(-0.035, 0.0, 0, 0.066, 0.078), (0.004, 0.0, 0, 0.060, 0.074)]
    chest = [
        (0.055, -0.002, 0, 0.062, 0.066),
        (0.095, 0.002, 0, 0.072, 0.082),
        (0.16, 0.006, 0, 0.082, 0.100),
    ]
    chest += [
        (0.215, 0.004, 0, 0.083, 0.106),
        (0.262, -0.002, 0, 0.068, 0.094),
        (0.298, -0.004, 0, 0.046, 0.060),
    ]
    belly = [(-0.01, 0, 0, 0.050, 0.056), (0.03, 0, 0, 0.054, 0.058), (0.075, 0, 0, 0.056, 0.062)]
    plate = [
        (0.02, 0, 0.196, 0.062, 0.044),
        (0.080, 0, 0.198, 0.056, 0.038),
        (0.0905, 0, 0.199, 0.044, 0.028),
    ]
    pack = [
        (-0.094, 0, 0.185, 0.050, 0.062),
        (-0.070, 0, 0.185, 0.066, 0.080),
        (-0.03, 0, 0.185, 0.07, 0.085),
    ]
    head = [(0.350, 0.0, 0, 0.044, 0.040), (0.375, 0.002, 0, 0.060, 0.053), (0.415, 0.0, 0, 0.068, 0.060)]
    head += [(0.448, -0.004, 0, 0.064, 0.058), (0.464, -0.006, 0, 0.057, 0.052)]
    visor = [
        (0.028, 0, 0.408, 0.047, 0.044),
        (0.055, 0, 0.407, 0.043, 0.041),
        (0.068, 0, 0.406, 0.033, 0.032),
    ]
    band = elliptic_ring(0.0632, 0.0568, 0.0036, 0.0085)
    band = (band[0] + np.array([-0.004, 0.0, 0.4515]), band[1])
    eyes = merged(
        *(
            loft("x", [(0.066, y, 0.409, 0.009, 0.004), (0.0765, y, 0.409, 0.008, 0.0035)], cap=0.3)
            for y in (-0.018, 0.018)
        )
    )
    return [
        ("pelvis", "pelvis_shell", "shell", loft("z", hip, exponent=2.8, cap=0.45)),
        ("pelvis", "hip_axle", "joint", cylinder("y", -0.075, 0.075, 0.046, (-0.1027, 0.0))),
        ("waist_yaw_link", "waist_motor", "joint", cylinder("z", 0.006, 0.036, 0.056)),
        ("waist_roll_link", "waist_joint", "joint", cylinder("x", -0.05, 0.05, 0.03)),
        (torso, "belly", "graphite", loft("z", belly, exponent=2.6, cap=0.2)),
        (torso, "chest", "shell", loft("z", chest, exponent=3.0, cap=0.5, rings=16, points=32)),
        (torso, "chest_plate", "graphite", loft("x", plate, exponent=3.2, cap=0.25)),
        (torso, "backpack", "graphite", loft("x", pack, exponent=3.4, cap=0.2)),
        (torso, "shoulder_axle", "joint", cylinder("y", -0.102, 0.102, 0.030, (0.247, 0.004))),
        (torso, "neck", "joint", cylinder("z", 0.295, 0.36, 0.030)),
        (torso, "head", "shell", loft("z", head, exponent=2.3, cap=0.62, rings=14, points=28)),
        (torso, "visor", "visor", loft("x", visor, exponent=2.7, cap=0.35, rings=10, points=28)),
        (torso, "eyes", "eyes", eyes),
        (torso, "headband", "accent", band),
    ]


def _limb_parts() -> list[tuple[str, str, str, Mesh]]:
    """Parts of the left limbs: link without its side, name, material, mesh in the link's frame."""
    hip = [(-0.135, 0.026, 0, 0.047, 0.048), (-0.08, 0.018, 0, 0.056, 0.052), (-0.02, 0.004, 0, 0.05, 0.046)]
    thigh = [
        (-0.185, -0.078, 0.001, 0.042, 0.038),
        (-0.14, -0.061, 0, 0.056, 0.050),
        (-0.08, -0.034, 0, 0.064, 0.057),
    ]
    thigh += [(-0.03, -0.014, 0, 0.062, 0.056), (0.012, -0.002, 0, 0.052, 0.050)]
    shin = [(-0.272, 0.0, 0, 0.024, 0.024), (-0.22, 0.0, 0, 0.029, 0.028), (-0.13, -0.004, 0, 0.044, 0.038)]
    shin += [(-0.07, 0.0, 0, 0.050, 0.042), (-0.005, 0.004, 0, 0.042, 0.034)]
    guard = [
        (-0.20, 0.018, 0, 0.016, 0.018),
        (-0.12, 0.026, 0, 0.026, 0.028),
        (-0.06, 0.034, 0, 0.024, 0.030),
    ]
    guard += [(-0.03, 0.034, 0, 0.016, 0.024)]
    sole = [
        (-0.035, 0.038, 0, 0.099, 0.036),
        (-0.029, 0.038, 0, 0.104, 0.040),
        (-0.019, 0.038, 0, 0.103, 0.039),
    ]
    shoe = [
        (-0.056, 0, -0.004, 0.026, 0.020),
        (-0.03, 0, 0.003, 0.031, 0.028),
        (0.012, 0, 0.004, 0.033, 0.027),
    ]
    shoe += [
        (0.05, 0, -0.004, 0.035, 0.019),
        (0.10, 0, -0.012, 0.036, 0.012),
        (0.132, 0, -0.016, 0.030, 0.008),
    ]
    stripe = [(0.018, 0, 0.002, 0.0345, 0.0262), (0.046, 0, -0.003, 0.0362, 0.0212)]
    cuff = [(-0.004, 0, 0, 0.0295, 0.0295), (0.014, 0, 0, 0.0300, 0.0295)]
    shoulder = [
        (-0.088, 0.004, 0.0, 0.034, 0.035),
        (-0.045, 0, 0.006, 0.040, 0.040),
        (-0.0, 0, 0.008, 0.042, 0.042),
    ]
    shoulder += [(0.018, 0, 0.004, 0.036, 0.036)]
    upper = [
        (-0.088, 0.014, 0, 0.031, 0.026),
        (-0.05, 0.008, 0, 0.037, 0.035),
        (-0.01, 0.001, 0, 0.035, 0.036),
    ]
    forearm = [
        (-0.012, 0, -0.006, 0.026, 0.029),
        (0.03, 0, -0.010, 0.036, 0.038),
        (0.07, 0, -0.010, 0.034, 0.034),
    ]
    forearm += [(0.098, 0.001, -0.010, 0.028, 0.028)]
    wrist = [(-0.006, 0, 0, 0.026, 0.024), (0.018, 0, 0, 0.028, 0.027), (0.036, 0, 0, 0.023, 0.024)]
    palm = [(0.012, 0, 0, 0.020, 0.024), (0.045, 0, 0, 0.022, 0.035), (0.082, 0, 0, 0.017, 0.036)]
    fingers = merged(
        *(
            loft(
                "x",
                [
                    (0.080, -0.002, z, 0.012, 0.0085),
                    (0.115, -0.006, z, 0.0115, 0.0085),
                    (0.145, -0.018, z, 0.010, 0.0075),
                ],
            )
            for z in (-0.025, 0.0, 0.025)
        ),
        loft(
            "x",
            [
                (0.03, -0.012, 0.034, 0.010, 0.010),
                (0.07, -0.026, 0.044, 0.010, 0.009),
                (0.095, -0.034, 0.044, 0.008, 0.008),
            ],
        ),
    )
    return [
        ("hip_pitch_link", "hip_pitch_motor", "joint", cylinder("y", -0.02, 0.062, 0.052, (0.0, 0.0))),
        ("hip_pitch_link", "hip_cap", "graphite", cylinder("y", 0.058, 0.068, 0.042)),
        ("hip_roll_link", "hip_roll_motor", "joint", cylinder("x", -0.058, 0.056, 0.044)),
        ("hip_roll_link", "hip_shell", "shell", loft("z", hip, exponent=2.6)),
        ("hip_yaw_link", "hip_yaw_motor", "joint", cylinder("z", -0.004, 0.030, 0.044)),
        ("hip_yaw_link", "thigh", "shell", loft("z", thigh, exponent=2.5, rings=13)),
        ("hip_yaw_link", "knee_motor", "joint", cylinder("y", -0.046, 0.050, 0.052, (-0.177, -0.078))),
        ("hip_yaw_link", "knee_cap", "accent", cylinder("y", 0.047, 0.0545, 0.034, (-0.177, -0.078))),
        (
            "hip_yaw_link",
            "knee_cap_inner",
            "graphite",
            cylinder("y", -0.051, -0.044, 0.034, (-0.177, -0.078)),
        ),
        ("knee_link", "shin", "shell", loft("z", shin, exponent=2.4, rings=13)),
        ("knee_link", "shin_guard", "graphite", loft("z", guard, exponent=2.3)),
        ("ankle_pitch_link", "ankle_joint", "joint", cylinder("y", -0.029, 0.029, 0.021)),
        ("ankle_roll_link", "sole", "rubber", loft("z", sole, exponent=2.5, cap=0.0, rings=6, points=44)),
        ("ankle_roll_link", "shoe", "shell", loft("x", shoe, exponent=2.3, cap=0.6, rings=13)),
        ("ankle_roll_link", "shoe_stripe", "accent", loft("x", stripe, exponent=2.3, cap=0.02, rings=5)),
        ("shoulder_pitch_link", "shoulder_motor", "joint", cylinder("y", -0.012, 0.060, 0.037)),
        ("shoulder_roll_link", "shoulder", "accent", loft("z", shoulder, exponent=2.3, cap=0.6)),
        ("shoulder_roll_link", "shoulder_roll_motor", "joint", cylinder("x", -0.045, 0.045, 0.026)),
        ("shoulder_yaw_link", "shoulder_yaw_motor", "joint", cylinder("z", -0.004, 0.020, 0.034)),
        ("shoulder_yaw_link", "upper_arm", "shell", loft("z", upper, exponent=2.5)),
        ("elbow_link", "elbow_motor", "joint", cylinder("y", -0.034, 0.034, 0.034)),
        ("elbow_link", "elbow_cap", "graphite", cylinder("y", 0.031, 0.038, 0.023)),
        ("elbow_link", "forearm", "shell", loft("x", forearm, exponent=2.5)),
        ("wrist_roll_link", "wristband", "accent", loft("x", cuff, exponent=2.1, cap=0.1, rings=6)),
        ("wrist_pitch_link", "wrist_pitch_motor", "joint", cylinder("y", -0.028, 0.028, 0.024)),
        ("wrist_pitch_link", "wrist_shell", "shell", loft("x", wrist, exponent=2.5)),
        ("wrist_yaw_link", "wrist_yaw_motor", "joint", cylinder("z", -0.028, 0.028, 0.023)),
        ("wrist_yaw_link", "hand_open_palm", "graphite", loft("x", palm, exponent=2.8)),
        ("wrist_yaw_link", "hand_open_fingers", "graphite", fingers),
    ]


def _gripping_hand(racket: Racket) -> list[tuple[str, Mesh]]:
    """The right hand around the grip, in the wrist yaw link's frame."""
    start = racket.butt
    palm = [
        (0.008, 0, 0, 0.022, 0.022),
        (0.035, -0.004, 0, 0.028, 0.032),
        (start + 0.055, -0.016, 0, 0.014, 0.034),
    ]
    palm += [(start + 0.075, -0.016, 0, 0.011, 0.029)]
    fingers = []
    for number in range(3):
        vertices, faces = elliptic_ring(0.0235, 0.0265, 0.0085, 0.0095, points=32)
        turned = vertices[:, [2, 0, 1]] + np.array([start + 0.030 + 0.0215 * number, 0.0, 0.0])
        fingers.append((turned, faces))
    thumb = loft(
        "x",
        [
            (start + 0.02, -0.012, 0.030, 0.010, 0.010),
            (start + 0.06, 0.004, 0.031, 0.010, 0.009),
            (start + 0.095, 0.012, 0.024, 0.009, 0.008),
        ],
    )
    return [("hand_palm", loft("x", palm, exponent=2.6)), ("hand_fingers", merged(*fingers, thumb))]


def _racket_parts(racket: Racket) -> list[tuple[str, str, Mesh]]:
    """Name, material and mesh in the racket's frame: x to the tip, z the string bed's normal."""
    length, width, half = racket.half_length, racket.half_width, racket.frame / 2.0
    butt, grip_end, shaft_end = -racket.center, -racket.center + 0.19, -racket.center + 0.235
    head = elliptic_ring(length + half, width + half, half, 0.0115)
    joins_x = -0.80 * length
    joins_y = (width + half) * np.sqrt(1.0 - (joins_x / (length + half)) ** 2)
    arms = []
    for sign in (-1.0, 1.0):
        middle = (shaft_end + joins_x) / 2.0
        arms.append(
            loft(
                "x",
                [
                    (shaft_end - 0.03, sign * 0.007, 0, 0.0075, 0.0115),
                    (shaft_end, sign * 0.010, 0, 0.0065, 0.0115),
                    (middle, sign * 0.52 * joins_y, 0, 0.0075, 0.0115),
                    (joins_x, sign * joins_y, 0, 0.0075, 0.0115),
                ],
                exponent=2.2,
                points=14,
            )
        )
    shaft = loft("x", [(grip_end - 0.01, 0, 0, 0.0135, 0.0125), (shaft_end, 0, 0, 0.0145, 0.0115)], cap=0.2)
    grip = [
        (butt, 0, 0, 0.0185, 0.0165),
        (butt + 0.012, 0, 0, 0.0185, 0.0165),
        (butt + 0.022, 0, 0, 0.0160, 0.0140),
    ]
    grip += [(grip_end - 0.004, 0, 0, 0.0150, 0.0132), (grip_end, 0, 0, 0.0152, 0.0134)]
    bed = loft(
        "z",
        [(-0.0004, 0, 0, length, width), (0.0004, 0, 0, length, width)],
        exponent=2.0,
        cap=0.0,
        rings=2,
        points=48,
    )
    return [
        ("racket_frame", "accent", merged(head, *arms)),
        ("racket_shaft", "accent", shaft),
        ("racket_grip", "rubber", loft("x", grip, exponent=3.2, cap=0.1, points=16)),
        ("racket_strings", "strings", _strings(racket)),
        ("racket_bed", "bed", bed),
    ]


def _strings(racket: Racket, mains: int = 16, crosses: int = 19, radius: float = 0.0009) -> Mesh:
    """The usual 16 × 19 pattern, [m]; drawn half as thick again as a 1.3 mm string."""
    y = np.linspace(-1.0, 1.0, mains + 2)[1:-1] * racket.half_width
    x = np.linspace(-1.0, 1.0, crosses + 2)[1:-1] * racket.half_length
    reach_x = racket.half_length * np.sqrt(1.0 - (y / racket.half_width) ** 2)
    reach_y = racket.half_width * np.sqrt(1.0 - (x / racket.half_length) ** 2)
    zero_y, zero_x = np.zeros_like(y), np.zeros_like(x)
    starts = np.concatenate([np.stack([-reach_x, y, zero_y], -1), np.stack([x, -reach_y, zero_x], -1)])
    ends = np.concatenate([np.stack([reach_x, y, zero_y], -1), np.stack([x, reach_y, zero_x], -1)])
    return bars(starts, ends, radius)
