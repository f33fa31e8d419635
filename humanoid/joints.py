"""The joint table: every fact about the Unitree G1 (29 DoF) that the rest of the project reads.

One row a joint, with the link the joint moves (the pelvis is the only link without a joint). Masses,
inertias, frames and ranges are Unitree's published ``g1_29dof_rev_1_0`` description; a test holds the
model built from this table against theirs. Motor figures are Unitree's: the armature is the rotors'
inertia reflected through a two-stage planetary gear. The ankles, waist roll and waist pitch are
linkages driven by two 5020 motors, taken as their sum (the linkage's geometry is not published).

Units: metres, kilograms, radians, N·m. Quaternions are w, x, y, z. The order of :data:`JOINTS` is the
order of joints everywhere: in motions, observations, actions and reports.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np

Vec3 = tuple[float, float, float]
Quat = tuple[float, float, float, float]


@dataclass(frozen=True)
class Motor:
    """An actuator type.

    Attributes:
        armature: reflected rotor inertia, [kg m²].
        effort: torque limit, [N·m].
        velocity: no-load speed limit, [rad/s].
    """

    armature: float
    effort: float
    velocity: float


MOTORS: dict[str, Motor] = {
    "7520-14": Motor(0.010177520, 88.0, 32.0),
    "7520-22": Motor(0.025101925, 139.0, 20.0),
    "5020": Motor(0.003609725, 25.0, 37.0),
    "4010": Motor(0.00425, 5.0, 22.0),
    "2x5020": Motor(0.007219450, 50.0, 37.0),
}

NATURAL_FREQUENCY = 2.0 * pi * 10.0
"""Natural frequency of a joint's PD loop on its own armature, [rad/s]."""

DAMPING_RATIO = 2.0
"""Damping ratio of a joint's PD loop on its own armature; the load carried makes it far less."""

GAIN_SCALE_LEGS = 2.0
GAIN_SCALE_ARMS = 3.0
"""Multiples of the usual gains. On replayed strokes ×2 halves and ×4 thirds the tracking error of ×1;
×3 on the arms is a shoulder stiffness of 43 N·m/rad, what Unitree's own arm examples use."""


@dataclass(frozen=True)
class Joint:
    """A hinge and the link it moves.

    Attributes:
        name: joint name.
        link: name of the link that the joint moves.
        parent: name of the parent link.
        axis: "x", "y" or "z" of the link's frame.
        range: lower and upper position limit, [rad].
        motor: key of :data:`MOTORS`.
        pos: link frame in the parent's frame at zero angle, [m].
        quat: orientation of the same, w, x, y, z.
        mass: link mass, [kg].
        com: centre of mass in the link frame, [m].
        inertia: principal moments, [kg m²].
        inertia_quat: orientation of the principal axes in the link frame, w, x, y, z.
    """

    name: str
    link: str
    parent: str
    axis: str
    range: tuple[float, float]
    motor: str
    pos: Vec3
    quat: Quat
    mass: float
    com: Vec3
    inertia: Vec3
    inertia_quat: Quat

    @property
    def effort(self) -> float:
        """Torque limit, [N·m]."""
        return MOTORS[self.motor].effort

    @property
    def velocity(self) -> float:
        """Velocity limit, [rad/s]."""
        return MOTORS[self.motor].velocity

    @property
    def armature(self) -> float:
        """Reflected rotor inertia, [kg m²]."""
        return MOTORS[self.motor].armature

    @property
    def is_arm(self) -> bool:
        return any(part in self.name for part in ("shoulder", "elbow", "wrist"))

    @property
    def kp(self) -> float:
        """Position gain, [N·m/rad]."""
        return self._gain_scale * self.armature * NATURAL_FREQUENCY**2

    @property
    def kd(self) -> float:
        """Velocity gain, [N·m·s/rad]."""
        return self._gain_scale * 2.0 * DAMPING_RATIO * self.armature * NATURAL_FREQUENCY

    @property
    def _gain_scale(self) -> float:
        return GAIN_SCALE_ARMS if self.is_arm else GAIN_SCALE_LEGS


@dataclass(frozen=True)
class Pelvis:
    """The floating base. Attributes as in :class:`Joint`."""

    link: str = "pelvis"
    height: float = 0.793
    mass: float = 3.813
    com: Vec3 = (0.0, 0.0, -0.07605)
    inertia: Vec3 = (0.010549, 0.0093089, 0.0079184)
    inertia_quat: Quat = (1.0, 0.0, -0.000399148, 0.0)


PELVIS = Pelvis()

# fmt: off
JOINTS: tuple[Joint, ...] = (
    Joint(
        "left_hip_pitch_joint", "left_hip_pitch_link", "pelvis", "y", (-2.5307, 2.8798), "7520-14",
        pos=(0, 0.064452, -0.1027), quat=(1, 0, 0, 0),
        mass=1.35, com=(0.002741, 0.047791, -0.02606),
        inertia=(0.00181517, 0.00153422, 0.00116212), inertia_quat=(0.954862, 0.293964, 0.0302556, 0.030122),
    ),
    Joint(
        "left_hip_roll_joint", "left_hip_roll_link", "left_hip_pitch_link", "x", (-0.5236, 2.9671), "7520-22",
        pos=(0, 0.052, -0.030465), quat=(0.996179, 0, -0.0873386, 0),
        mass=1.52, com=(0.029812, -0.001045, -0.087934),
        inertia=(0.00254986, 0.00241169, 0.00148755), inertia_quat=(0.977808, -1.97119e-05, 0.205576, -0.0403793),
    ),
    Joint(
        "left_hip_yaw_joint", "left_hip_yaw_link", "left_hip_roll_link", "z", (-2.7576, 2.7576), "7520-14",
        pos=(0.025001, 0, -0.12412), quat=(1, 0, 0, 0),
        mass=1.702, com=(-0.057709, -0.010981, -0.15078),
        inertia=(0.00776166, 0.00717575, 0.00160139), inertia_quat=(0.600598, 0.15832, 0.223482, 0.751181),
    ),
    Joint(
        "left_knee_joint", "left_knee_link", "left_hip_yaw_link", "y", (-0.087267, 2.8798), "7520-22",
        pos=(-0.078273, 0.0021489, -0.17734), quat=(0.996179, 0, 0.0873386, 0),
        mass=1.932, com=(0.005457, 0.003964, -0.12074),
        inertia=(0.0113804, 0.0112778, 0.00146458), inertia_quat=(0.923418, -0.0327699, 0.0158246, 0.382067),
    ),
    Joint(
        "left_ankle_pitch_joint", "left_ankle_pitch_link", "left_knee_link", "y", (-0.87267, 0.5236), "2x5020",
        pos=(0, -9.4445e-05, -0.30001), quat=(1, 0, 0, 0),
        mass=0.074, com=(-0.007269, 0, 0.011137),
        inertia=(1.89e-05, 1.40805e-05, 6.9195e-06), inertia_quat=(0.603053, 0.369225, 0.369225, 0.603053),
    ),
    Joint(
        "left_ankle_roll_joint", "left_ankle_roll_link", "left_ankle_pitch_link", "x", (-0.2618, 0.2618), "2x5020",
        pos=(0, 0, -0.017558), quat=(1, 0, 0, 0),
        mass=0.608, com=(0.026505, 0, -0.016425),
        inertia=(0.00167218, 0.0016161, 0.000217621), inertia_quat=(-0.000481092, 0.728482, -0.000618967, 0.685065),
    ),
    Joint(
        "right_hip_pitch_joint", "right_hip_pitch_link", "pelvis", "y", (-2.5307, 2.8798), "7520-14",
        pos=(0, -0.064452, -0.1027), quat=(1, 0, 0, 0),
        mass=1.35, com=(0.002741, -0.047791, -0.02606),
        inertia=(0.00181517, 0.00153422, 0.00116212), inertia_quat=(0.954862, -0.293964, 0.0302556, -0.030122),
    ),
    Joint(
        "right_hip_roll_joint", "right_hip_roll_link", "right_hip_pitch_link", "x", (-2.9671, 0.5236), "7520-22",
        pos=(0, -0.052, -0.030465), quat=(0.996179, 0, -0.0873386, 0),
        mass=1.52, com=(0.029812, 0.001045, -0.087934),
        inertia=(0.00254986, 0.00241169, 0.00148755), inertia_quat=(0.977808, 1.97119e-05, 0.205576, 0.0403793),
    ),
    Joint(
        "right_hip_yaw_joint", "right_hip_yaw_link", "right_hip_roll_link", "z", (-2.7576, 2.7576), "7520-14",
        pos=(0.025001, 0, -0.12412), quat=(1, 0, 0, 0),
        mass=1.702, com=(-0.057709, 0.010981, -0.15078),
        inertia=(0.00776166, 0.00717575, 0.00160139), inertia_quat=(0.751181, 0.223482, 0.15832, 0.600598),
    ),
    Joint(
        "right_knee_joint", "right_knee_link", "right_hip_yaw_link", "y", (-0.087267, 2.8798), "7520-22",
        pos=(-0.078273, -0.0021489, -0.17734), quat=(0.996179, 0, 0.0873386, 0),
        mass=1.932, com=(0.005457, -0.003964, -0.12074),
        inertia=(0.011374, 0.0112843, 0.00146452), inertia_quat=(0.923439, 0.0345276, 0.0116333, -0.382012),
    ),
    Joint(
        "right_ankle_pitch_joint", "right_ankle_pitch_link", "right_knee_link", "y", (-0.87267, 0.5236), "2x5020",
        pos=(0, 9.4445e-05, -0.30001), quat=(1, 0, 0, 0),
        mass=0.074, com=(-0.007269, 0, 0.011137),
        inertia=(1.89e-05, 1.40805e-05, 6.9195e-06), inertia_quat=(0.603053, 0.369225, 0.369225, 0.603053),
    ),
    Joint(
        "right_ankle_roll_joint", "right_ankle_roll_link", "right_ankle_pitch_link", "x", (-0.2618, 0.2618), "2x5020",
        pos=(0, 0, -0.017558), quat=(1, 0, 0, 0),
        mass=0.608, com=(0.026505, 0, -0.016425),
        inertia=(0.00167218, 0.0016161, 0.000217621), inertia_quat=(0.000481092, 0.728482, 0.000618967, 0.685065),
    ),
    Joint(
        "waist_yaw_joint", "waist_yaw_link", "pelvis", "z", (-2.618, 2.618), "7520-14",
        pos=(0, 0, 0), quat=(1, 0, 0, 0),
        mass=0.214, com=(0.003494, 0.000233, 0.018034),
        inertia=(0.000163531, 0.000107714, 0.000102205), inertia_quat=(0.289697, 0.591001, -0.337795, 0.672821),
    ),
    Joint(
        "waist_roll_joint", "waist_roll_link", "waist_yaw_link", "x", (-0.52, 0.52), "2x5020",
        pos=(-0.0039635, 0, 0.044), quat=(1, 0, 0, 0),
        mass=0.086, com=(0, 2.3e-05, 0),
        inertia=(8.245e-06, 7.079e-06, 6.339e-06), inertia_quat=(0.5, 0.5, -0.5, 0.5),
    ),
    Joint(
        "waist_pitch_joint", "torso_link", "waist_roll_link", "y", (-0.52, 0.52), "2x5020",
        pos=(0, 0, 0), quat=(1, 0, 0, 0),
        mass=7.818, com=(0.00203158, 0.000339683, 0.184568),
        inertia=(0.121847, 0.109825, 0.0273735), inertia_quat=(0.999803, -6.03319e-05, 0.0198256, 0.00131986),
    ),
    Joint(
        "left_shoulder_pitch_joint", "left_shoulder_pitch_link", "torso_link", "y", (-3.0892, 2.6704), "5020",
        pos=(0.0039563, 0.10022, 0.24778), quat=(0.990264, 0.139201, 1.38722e-05, -9.86868e-05),
        mass=0.718, com=(0, 0.035892, -0.011628),
        inertia=(0.000465864, 0.000432842, 0.000406394), inertia_quat=(0.654152, 0.0130458, -0.326267, 0.68225),
    ),
    Joint(
        "left_shoulder_roll_joint", "left_shoulder_roll_link", "left_shoulder_pitch_link", "x", (-1.5882, 2.2515), "5020",
        pos=(0, 0.038, -0.013831), quat=(0.990268, -0.139172, 0, 0),
        mass=0.643, com=(-0.000227, 0.00727, -0.063243),
        inertia=(0.000691311, 0.000618011, 0.000388977), inertia_quat=(0.701256, -0.0196223, -0.00710317, 0.712604),
    ),
    Joint(
        "left_shoulder_yaw_joint", "left_shoulder_yaw_link", "left_shoulder_roll_link", "z", (-2.618, 2.618), "5020",
        pos=(0, 0.00624, -0.1032), quat=(1, 0, 0, 0),
        mass=0.734, com=(0.010773, -0.002949, -0.072009),
        inertia=(0.00106187, 0.00103217, 0.000400661), inertia_quat=(0.716879, -0.0964829, -0.0679942, 0.687134),
    ),
    Joint(
        "left_elbow_joint", "left_elbow_link", "left_shoulder_yaw_link", "y", (-1.0472, 2.0944), "5020",
        pos=(0.015783, 0, -0.080518), quat=(1, 0, 0, 0),
        mass=0.6, com=(0.064956, 0.004454, -0.010062),
        inertia=(0.000443035, 0.000421612, 0.000259353), inertia_quat=(0.541765, 0.636132, 0.388821, 0.388129),
    ),
    Joint(
        "left_wrist_roll_joint", "left_wrist_roll_link", "left_elbow_link", "x", (-1.97222, 1.97222), "5020",
        pos=(0.1, 0.00188791, -0.01), quat=(1, 0, 0, 0),
        mass=0.085445, com=(0.0171394, 0.000537591, 4.8864e-07),
        inertia=(5.48211e-05, 4.96646e-05, 3.57798e-05), inertia_quat=(0.575338, 0.411667, -0.574906, 0.411094),
    ),
    Joint(
        "left_wrist_pitch_joint", "left_wrist_pitch_link", "left_wrist_roll_link", "y", (-1.61443, 1.61443), "4010",
        pos=(0.038, 0, 0), quat=(1, 0, 0, 0),
        mass=0.48405, com=(0.0229999, -0.00111685, -0.00111658),
        inertia=(0.000430353, 0.000429873, 0.000164648), inertia_quat=(0.249998, 0.661363, 0.293036, 0.643608),
    ),
    Joint(
        "left_wrist_yaw_joint", "left_wrist_yaw_link", "left_wrist_pitch_link", "z", (-1.61443, 1.61443), "4010",
        pos=(0.046, 0, 0), quat=(1, 0, 0, 0),
        mass=0.254576, com=(0.0708244, 0.000191745, 0.00161742),
        inertia=(0.000646113, 0.000559993, 0.000147566), inertia_quat=(0.510571, 0.526295, 0.468078, 0.493188),
    ),
    Joint(
        "right_shoulder_pitch_joint", "right_shoulder_pitch_link", "torso_link", "y", (-3.0892, 2.6704), "5020",
        pos=(0.0039563, -0.10021, 0.24778), quat=(0.990264, -0.139201, 1.38722e-05, 9.86868e-05),
        mass=0.718, com=(0, -0.035892, -0.011628),
        inertia=(0.000465864, 0.000432842, 0.000406394), inertia_quat=(0.68225, -0.326267, 0.0130458, 0.654152),
    ),
    Joint(
        "right_shoulder_roll_joint", "right_shoulder_roll_link", "right_shoulder_pitch_link", "x", (-2.2515, 1.5882), "5020",
        pos=(0, -0.038, -0.013831), quat=(0.990268, 0.139172, 0, 0),
        mass=0.643, com=(-0.000227, -0.00727, -0.063243),
        inertia=(0.000691311, 0.000618011, 0.000388977), inertia_quat=(0.712604, -0.00710317, -0.0196223, 0.701256),
    ),
    Joint(
        "right_shoulder_yaw_joint", "right_shoulder_yaw_link", "right_shoulder_roll_link", "z", (-2.618, 2.618), "5020",
        pos=(0, -0.00624, -0.1032), quat=(1, 0, 0, 0),
        mass=0.734, com=(0.010773, 0.002949, -0.072009),
        inertia=(0.00106187, 0.00103217, 0.000400661), inertia_quat=(0.687134, -0.0679942, -0.0964829, 0.716879),
    ),
    Joint(
        "right_elbow_joint", "right_elbow_link", "right_shoulder_yaw_link", "y", (-1.0472, 2.0944), "5020",
        pos=(0.015783, 0, -0.080518), quat=(1, 0, 0, 0),
        mass=0.6, com=(0.064956, -0.004454, -0.010062),
        inertia=(0.000443035, 0.000421612, 0.000259353), inertia_quat=(0.388129, 0.388821, 0.636132, 0.541765),
    ),
    Joint(
        "right_wrist_roll_joint", "right_wrist_roll_link", "right_elbow_link", "x", (-1.97222, 1.97222), "5020",
        pos=(0.1, -0.00188791, -0.01), quat=(1, 0, 0, 0),
        mass=0.085445, com=(0.0171394, -0.000537591, 4.8864e-07),
        inertia=(5.48211e-05, 4.96646e-05, 3.57798e-05), inertia_quat=(0.411667, 0.575338, -0.411094, 0.574906),
    ),
    Joint(
        "right_wrist_pitch_joint", "right_wrist_pitch_link", "right_wrist_roll_link", "y", (-1.61443, 1.61443), "4010",
        pos=(0.038, 0, 0), quat=(1, 0, 0, 0),
        mass=0.48405, com=(0.0229999, 0.00111685, -0.00111658),
        inertia=(0.000430353, 0.000429873, 0.000164648), inertia_quat=(0.643608, 0.293036, 0.661363, 0.249998),
    ),
    Joint(
        "right_wrist_yaw_joint", "right_wrist_yaw_link", "right_wrist_pitch_link", "z", (-1.61443, 1.61443), "4010",
        pos=(0.046, 0, 0), quat=(1, 0, 0, 0),
        mass=0.254576, com=(0.0708244, -0.000191745, 0.00161742),
        inertia=(0.000646113, 0.000559993, 0.000147566), inertia_quat=(0.493188, 0.468078, 0.526295, 0.510571),
    ),
)
# fmt: on

NUM_JOINTS = len(JOINTS)
JOINT_NAMES: tuple[str, ...] = tuple(joint.name for joint in JOINTS)
JOINT_INDEX: dict[str, int] = {name: index for index, name in enumerate(JOINT_NAMES)}

LOWER = np.array([joint.range[0] for joint in JOINTS])
UPPER = np.array([joint.range[1] for joint in JOINTS])
VELOCITY_LIMIT = np.array([joint.velocity for joint in JOINTS])
EFFORT_LIMIT = np.array([joint.effort for joint in JOINTS])
ARMATURE = np.array([joint.armature for joint in JOINTS])
KP = np.array([joint.kp for joint in JOINTS])
KD = np.array([joint.kd for joint in JOINTS])
for _table in (LOWER, UPPER, VELOCITY_LIMIT, EFFORT_LIMIT, ARMATURE, KP, KD):
    _table.flags.writeable = False

READY_POSE: dict[str, float] = {
    "left_hip_pitch_joint": -0.45,
    "left_hip_roll_joint": 0.15,
    "left_knee_joint": 0.85,
    "left_ankle_pitch_joint": -0.40,
    "left_ankle_roll_joint": -0.15,
    "right_hip_pitch_joint": -0.45,
    "right_hip_roll_joint": -0.15,
    "right_knee_joint": 0.85,
    "right_ankle_pitch_joint": -0.40,
    "right_ankle_roll_joint": 0.15,
    "waist_pitch_joint": 0.15,
    "left_shoulder_pitch_joint": -0.1,
    "left_shoulder_roll_joint": 0.25,
    "left_shoulder_yaw_joint": -0.5,
    "left_elbow_joint": 0.3,
    "right_shoulder_pitch_joint": -0.1,
    "right_shoulder_roll_joint": -0.25,
    "right_shoulder_yaw_joint": 0.35,
    "right_elbow_joint": 0.4,
    "right_wrist_pitch_joint": -0.3,
    "right_wrist_yaw_joint": 0.2,
}
"""Knees bent, feet a little apart, racket in front: the stance between two balls. Joints not named
are at zero."""

READY_JOINT_POS = np.array([READY_POSE.get(name, 0.0) for name in JOINT_NAMES])
READY_JOINT_POS.flags.writeable = False


def mirror_joints() -> tuple[np.ndarray, np.ndarray]:
    """Permutation and signs that reflect a joint vector in the robot's sagittal plane.

    Returns:
        ``(index, sign)``, each of shape (29,): ``mirrored = q[..., index] * sign``. Pitch joints (axis y)
        keep their sign, roll and yaw joints change it; left and right swap.
    """
    index = np.empty(NUM_JOINTS, dtype=np.int64)
    sign = np.empty(NUM_JOINTS)
    for i, joint in enumerate(JOINTS):
        if joint.name.startswith("left_"):
            other = "right_" + joint.name[5:]
        elif joint.name.startswith("right_"):
            other = "left_" + joint.name[6:]
        else:
            other = joint.name
        index[i] = JOINT_INDEX[other]
        sign[i] = 1.0 if joint.axis == "y" else -1.0
    return index, sign
