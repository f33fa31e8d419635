"""Can a G1 do a motion? Inverse dynamics along it, ground forces shared out to the feet that stand, and a grade.

Newton-Euler along the motion gives the wrench that the ground must give, F and its moment, and with it the
zero-moment point. What the feet can give is less: they push and do not pull, within the friction cone, with
centres of pressure inside the soles, and in flight nothing at all. The force is shared between two standing feet
by where the zero-moment point lies between them. What is left over per frame is

    severity = e / 10 cm + |ΔF| / (0.1 m g) + ½ min(1, 2 (u - 1)₊)

with e how far the zero-moment point is outside what the soles reach, ΔF the force that no foot can give and u
the largest joint torque over its motor's limit: a joint that stalls loses its path, not the robot. The score of a
clip is exp(-mean severity): 1 where nothing is missing.

The weights are from replays in MuJoCo (`mocap.dynamics_trial`, 240 of 40 clips of all archives): of the three, the
force tells most about how long a robot keeps to the motion, rank correlation 0.68, the torque 0.49 and the
zero-moment point 0.39; of the score 0.66, and 0.81 of a clip's score with its mean time. On 208 replays of 52
other clips: 0.62 and 0.67.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pinocchio as pin

from humanoid.joints import EFFORT_LIMIT
from humanoid.kinematics import to_pinocchio
from humanoid.motion import RobotMotion
from mocap.contacts import support_offset
from mocap.filters import velocity
from mocap.robot import RobotModel
from mocap.rotations import Array, axis_angle_from_matrix, matrix_from_quat, quat_from_matrix

GRAVITY = 9.81
# Soles on a hard court: 0.6 is below what rubber on acrylic gives (0.8 in the simulated robot), for safety.
FRICTION = 0.6
# A foot whose sole is this low [m] and slow [m/s] may carry weight.
LOW_M, SLOW_M_S = 0.015, 0.4
# Zero-moment point [m] and force [weights] of severity one; torque beyond the limit at which a joint counts as
# stalled, and its severity.
ZMP_M, FORCE, OVERLOAD, STALLED = 0.1, 0.1, 0.5, 0.5
# Least score of the grades. On the 52 clips above 82 % of A's reached the end of their four seconds, 58 % of B's, 22 %
# of C's and 3 % of D's.
GRADES = (("A", 0.8), ("B", 0.5), ("C", 0.25), ("D", 0.0))


@dataclass(frozen=True)
class Demand:
    """What a motion asks for, frame by frame.

    Attributes:
        force: (T, 3) ground force [N]. zmp: (T, 2) zero-moment point [m].
        contact: (T, 2) bool, feet that may carry.
        torque: (T, n) joint torques with the ground forces that the feet can give [N·m].
        zmp_out: (T,) how far the zero-moment point is outside [m], zero in flight.
        force_out: (T,) force that the feet cannot give over the robot's weight.
        slipping, pulling: (T,) bool, in stance: beyond the friction cone, or a force that would have to pull.
    """

    force: Array
    zmp: Array
    contact: np.ndarray
    torque: Array
    zmp_out: Array
    force_out: Array
    slipping: np.ndarray
    pulling: np.ndarray

    @property
    def load(self) -> Array:
        """(T,) largest joint torque over its motor's limit."""
        return (np.abs(self.torque) / EFFORT_LIMIT).max(axis=1)

    @property
    def severity(self) -> Array:
        """(T,) see the module."""
        over = np.clip((self.load - 1.0) / OVERLOAD, 0.0, 1.0)
        return self.zmp_out / ZMP_M + self.force_out / FORCE + STALLED * over


@dataclass(frozen=True)
class Feasibility:
    """Whether a G1 can do a motion.

    Attributes:
        score: 0 (hopeless) to 1; grade: "A" to "D" by `GRADES`.
        overload_fraction: frames in which some joint needs more than its motor's torque.
        load_p99: 99th percentile over frames of the largest torque over its limit.
        slip_fraction, pull_fraction: frames of stance beyond the friction cone, or in need of a pull.
        zmp_out_fraction: frames of stance with the zero-moment point more than 2 cm outside the soles' reach.
        zmp_out_m: mean distance outside over stance [m].
        force_out: mean force that no foot can give over the weight, flight included.
        flight_fraction: frames without a foot that may carry.
    """

    score: float
    grade: str
    overload_fraction: float
    load_p99: float
    slip_fraction: float
    pull_fraction: float
    zmp_out_fraction: float
    zmp_out_m: float
    force_out: float
    flight_fraction: float


def grade_motion(motion: RobotMotion, robot: RobotModel) -> Feasibility:
    """Grade a motion read from a file."""
    return summarise(
        demand(motion.root_pos, matrix_from_quat(motion.root_quat), motion.joint_pos, motion.fps, robot)
    )


def grade_letter(score: float) -> str:
    """The grade of a score."""
    return next(letter for letter, least in GRADES if score >= least)


def summarise(needs: Demand, span: slice | None = None) -> Feasibility:
    """Figures and grade of a motion, or of some of its frames."""
    at = slice(None) if span is None else span
    stance = needs.contact[at].any(axis=1)
    score = float(np.exp(-needs.severity[at].mean()))

    def share(mask: np.ndarray) -> float:
        return float(mask[at][stance].mean()) if stance.any() else 0.0

    return Feasibility(
        score=score,
        grade=grade_letter(score),
        overload_fraction=float((needs.load[at] > 1.0).mean()),
        load_p99=float(np.percentile(needs.load[at], 99)),
        slip_fraction=share(needs.slipping),
        pull_fraction=share(needs.pulling),
        zmp_out_fraction=share(needs.zmp_out > 0.02),
        zmp_out_m=share(needs.zmp_out),
        force_out=float(needs.force_out[at].mean()),
        flight_fraction=float((~stance).mean()),
    )


def demand(
    root_pos: Array,
    root_rot: Array,
    q: Array,
    fps: float,
    robot: RobotModel,
    placed: tuple[Array, Array] | None = None,
) -> Demand:
    """What a motion asks of ground and motors.

    Args:
        root_pos, root_rot, q: (T, 3) [m], (T, 3, 3), (T, n) [rad]; the floor is at zero.
        fps: frames a second.
        robot: the robot.
        placed: results of `Tree.forward` where they are known.
    """
    tree = robot.tree
    pos, rot = placed or tree.forward(root_pos, root_rot, q)
    needed = inverse_dynamics(root_pos, root_rot, q, fps, robot)
    force = (root_rot @ needed[:, :3, None])[..., 0]
    moment = (root_rot @ needed[:, 3:6, None])[..., 0]
    weight = float(tree.masses.sum()) * GRAVITY
    # Moment about a point on the ground beneath: zero about x and y at the zero-moment point.
    up = np.maximum(force[:, 2], 0.05 * weight)
    arm = np.stack(
        [root_pos[:, 2] * force[:, 0] + moment[:, 1], root_pos[:, 2] * force[:, 1] - moment[:, 0]], 1
    )
    zmp = root_pos[:, :2] - arm / up[:, None]

    soles, heading, contact = _feet(robot, pos, rot, fps)
    some = contact.any(axis=1)
    outside = support_offset(zmp, soles[..., :2], heading, contact, robot.foot_half_m)
    reached = zmp + outside
    given = force.copy()
    given[:, 2] = np.maximum(given[:, 2], 0.0)
    sideways = np.linalg.norm(force[:, :2], axis=1)
    most = FRICTION * given[:, 2]
    given[:, :2] *= np.minimum(1.0, most / np.maximum(sideways, 1e-9))[:, None]
    given[~some] = 0.0

    torque = needed[:, 6:].copy()
    share = _shares(reached, soles, contact)
    middle = np.einsum("tf,tfk->tk", share, soles[..., :2])
    for n, chain in enumerate(robot.legs):
        # Each foot's centre of pressure lies off its middle as the common one lies off the line between the feet.
        point = np.concatenate([soles[:, n, :2] + reached - middle, np.zeros((len(q), 1))], axis=1)
        push = share[:, n, None] * given
        for joint in chain.joints:
            axis = rot[:, joint, :, tree.axes[joint]]
            torque[:, joint - 1] -= np.einsum("tk,tk->t", axis, np.cross(point - pos[:, joint], push))
    return Demand(
        force=force,
        zmp=zmp,
        contact=contact,
        torque=torque,
        zmp_out=np.linalg.norm(outside, axis=1) * np.minimum(given[:, 2] / weight, 1.0),
        force_out=np.linalg.norm(force - given, axis=1) / weight,
        slipping=some & (sideways > most) & (force[:, 2] > 0.0),
        pulling=some & (force[:, 2] <= 0.0),
    )


def inverse_dynamics(root_pos: Array, root_rot: Array, q: Array, fps: float, robot: RobotModel) -> Array:
    """Generalised forces (T, 6 + n): wrench on the root in its own frame, then joint torques [N, N·m]."""
    model = robot.tree.model
    data = model.createData()
    still = velocity(root_pos, fps)
    turn = np.zeros((len(q), 3))
    if len(q) > 2:
        turn[1:-1] = axis_angle_from_matrix(np.swapaxes(root_rot[:-2], 1, 2) @ root_rot[2:]) * (0.5 * fps)
        turn[0], turn[-1] = turn[1], turn[-2]
    inward = np.swapaxes(root_rot, 1, 2)
    v = np.concatenate([(inward @ still[..., None])[..., 0], turn, velocity(q, fps)], axis=1)
    a = velocity(v, fps)
    configuration = to_pinocchio(root_pos, quat_from_matrix(root_rot), q)
    out = np.empty_like(v)
    for t in range(len(q)):
        out[t] = pin.rnea(model, data, configuration[t], v[t], a[t])
    return out


def _feet(robot: RobotModel, pos: Array, rot: Array, fps: float) -> tuple[Array, Array, np.ndarray]:
    """Sole centres (T, 2, 3) [m], headings (T, 2) [rad], and which feet may carry (T, 2) bool."""
    frames = len(pos)
    soles, heading = np.empty((frames, 2, 3)), np.empty((frames, 2))
    carries = np.zeros((frames, 2), dtype=bool)
    a, b = robot.foot_half_m
    corners = np.array([[x, y, 0.0] for x in (-a, a) for y in (-b, b)])
    for n, sole in enumerate(robot.soles):
        soles[:, n], attitude = robot.tree.place(sole, pos, rot)
        heading[:, n] = np.arctan2(attitude[:, 1, 0], attitude[:, 0, 0])
        low = soles[:, n, 2] + (attitude[:, 2] @ corners.T).min(axis=1)
        slow = np.linalg.norm(velocity(soles[:, n], fps), axis=1) < SLOW_M_S
        carries[:, n] = slow & (low < LOW_M)
    return soles, heading, carries


def _shares(point: Array, soles: Array, contact: np.ndarray) -> Array:
    """Part of the force (T, 2) that each foot carries; the sum is 1, in flight 0."""
    along = soles[:, 1, :2] - soles[:, 0, :2]
    s = np.einsum("tk,tk->t", point - soles[:, 0, :2], along) / np.maximum((along**2).sum(axis=1), 1e-9)
    s = np.where(contact.all(axis=1), np.clip(s, 0.0, 1.0), np.where(contact[:, 1], 1.0, 0.0))
    flying = ~np.asarray(contact.any(axis=1))
    return np.where(flying[:, None], 0.0, np.stack([1.0 - s, s], axis=1))
