"""Kinematics of a Pinocchio model for many frames at once.

Pinocchio's Python calls cost about 10 µs each, which caps a frame-by-frame retargeter near a hundred frames
a second. Here the joint placements, axes, limits and masses are read from the Pinocchio model once, and
positions and Jacobians of whole clips are computed as array operations. A test holds this against
Pinocchio's own algorithms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mocap.rotations import Array


@dataclass(frozen=True)
class Frame:
    """A frame fixed to a joint: index of the joint (0 = root), position (3,) and rotation (3, 3) in the
    joint's frame.
    """

    joint: int
    position: Array
    rotation: Array


class Tree:
    """A floating-base robot of revolute joints about coordinate axes, evaluated for T frames at once.

    Joint 0 is the root (the floating base); joints 1 … n are the actuated joints in the model's order,
    parents first.

    Attributes:
        joint_names: names of joints 1 … n.
        parents: (n+1,) parent of each joint, -1 for the root.
        lower, upper: (n,) position limits [rad].
        velocity: (n,) velocity limits [rad/s], infinite where the model has none.
        masses: (n+1,) link masses [kg]; coms: (n+1, 3) their centres in the joint's frame [m].

    Raises:
        ValueError: the model has no free-flyer base, or a joint that is not revolute about a coordinate axis.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        names = [str(n) for n in model.names]
        if model.njoints < 2 or model.joints[1].shortname() != "JointModelFreeFlyer":
            raise ValueError("the model's first joint must be a free flyer")
        self.joint_names = tuple(names[2:])
        count = model.njoints - 1
        self.parents = np.array([-1] + [model.parents[i] - 1 for i in range(2, model.njoints)])
        self.positions = np.zeros((count, 3))
        self.rotations = np.tile(np.eye(3), (count, 1, 1))
        self.axes = np.zeros(count, dtype=int)
        signs = np.ones(count)
        for i in range(2, model.njoints):
            j = i - 1
            joint = model.joints[i]
            if joint.nq != 1 or joint.idx_q != 7 + j - 1:
                raise ValueError(f"joint {names[i]} is not a revolute joint in the model's order")
            data = joint.createData()
            joint.calc(data, np.zeros(model.nq))
            axis = np.asarray(data.S).reshape(6)[3:]
            k = int(np.argmax(np.abs(axis)))
            if abs(abs(axis[k]) - 1.0) > 1e-9:
                raise ValueError(f"joint {names[i]} does not turn about a coordinate axis")
            self.axes[j], signs[j] = k, np.sign(axis[k])
            self.positions[j] = model.jointPlacements[i].translation
            self.rotations[j] = model.jointPlacements[i].rotation
        if (signs < 0).any():
            raise ValueError("a joint turns about a negative coordinate axis")
        self.fixed = [np.allclose(r, np.eye(3)) for r in self.rotations]
        self.lower = np.array(model.lowerPositionLimit[7:], dtype=float)
        self.upper = np.array(model.upperPositionLimit[7:], dtype=float)
        v = np.array(model.velocityLimit[6:], dtype=float)
        self.velocity = np.where((v > 0.0) & (v < 1e6), v, np.inf)
        self.masses = np.array([model.inertias[i].mass for i in range(1, model.njoints)])
        self.coms = np.array([model.inertias[i].lever for i in range(1, model.njoints)])

    def index(self, joint: str) -> int:
        """Joint number (1 … n) of a name.

        Raises:
            KeyError: no joint of that name; the message lists those there are.
        """
        try:
            return self.joint_names.index(joint) + 1
        except ValueError:
            raise KeyError(f"no joint {joint}; the model has {', '.join(self.joint_names)}") from None

    def frame(self, name: str) -> Frame:
        """A named frame (body, site) of the Pinocchio model."""
        if not self.model.existFrame(name):
            raise KeyError(f"no frame {name} in the robot model")
        f = self.model.frames[self.model.getFrameId(name)]
        joint = int(getattr(f, "parentJoint", 0)) - 1
        return Frame(joint, np.array(f.placement.translation), np.array(f.placement.rotation))

    def step(self, j: int, rotation: Array, position: Array, angle: Array) -> tuple[Array, Array]:
        """World rotation (T, 3, 3) and position (T, 3) of joint `j`, from those of its parent and its angle
        (T,) [rad].
        """
        p = position + rotation @ self.positions[j]
        r = rotation if self.fixed[j] else rotation @ self.rotations[j]
        return turn(r, int(self.axes[j]), angle), p

    def forward(self, root_pos: Array, root_rot: Array, q: Array) -> tuple[Array, Array]:
        """World positions (T, n+1, 3) and rotations (T, n+1, 3, 3) of all joint frames.

        Args:
            root_pos: (T, 3) [m].
            root_rot: (T, 3, 3).
            q: (T, n) joint angles [rad].
        """
        frames = len(q)
        pos = np.empty((frames, len(self.parents), 3))
        rot = np.empty((frames, len(self.parents), 3, 3))
        pos[:, 0], rot[:, 0] = root_pos, root_rot
        for j in range(1, len(self.parents)):
            p = self.parents[j]
            rot[:, j], pos[:, j] = self.step(j, rot[:, p], pos[:, p], q[:, j - 1])
        return pos, rot

    def place(self, frame: Frame, pos: Array, rot: Array) -> tuple[Array, Array]:
        """World position (T, 3) and rotation (T, 3, 3) of a fixed frame, given the results of `forward`."""
        r = rot[:, frame.joint]
        return pos[:, frame.joint] + r @ frame.position, r @ frame.rotation

    def com(self, pos: Array, rot: Array) -> Array:
        """Centre of mass (T, 3) [m], given the results of `forward`."""
        centres = pos + (rot @ self.coms[..., None])[..., 0]
        return np.einsum("tjk,j->tk", centres, self.masses) / self.masses.sum()


def turn(r: Array, axis: int, angle: Array) -> Array:
    """Rotations (T, 3, 3) turned by `angle` (T,) about their own coordinate axis: two columns are mixed,
    one is kept.
    """
    c, s = np.cos(angle)[..., None], np.sin(angle)[..., None]
    j, k = (axis + 1) % 3, (axis + 2) % 3
    out = np.empty(np.broadcast_shapes(r.shape, (*np.shape(angle), 3, 3)))
    out[..., axis] = r[..., axis]
    out[..., j] = c * r[..., j] + s * r[..., k]
    out[..., k] = c * r[..., k] - s * r[..., j]
    return out


class Chain:
    """A run of joints from a base to a tip frame, for inverse kinematics of one limb.

    Args:
        tree: the robot.
        joints: joint names from base to tip, each the child of the one before.
        tip: the frame at the end, fixed to the last joint.
    """

    def __init__(self, tree: Tree, joints: tuple[str, ...], tip: Frame) -> None:
        self.tree = tree
        self.joints = [tree.index(n) for n in joints]
        for a, b in zip(self.joints, self.joints[1:], strict=False):
            if tree.parents[b] != a:
                raise ValueError(f"{tree.joint_names[b - 1]} is not the child of {tree.joint_names[a - 1]}")
        if tip.joint != self.joints[-1]:
            raise ValueError("the tip must be fixed to the chain's last joint")
        self.tip = tip
        self.columns = np.array(self.joints) - 1
        self.lower = tree.lower[self.columns]
        self.upper = tree.upper[self.columns]

    def forward(
        self, base_rot: Array, base_pos: Array, q: Array
    ) -> tuple[list[Array], list[Array], Array, Array]:
        """Per joint world positions and rotations (after its own angle), and the tip's position and rotation.

        Args:
            base_rot: (T, 3, 3) and base_pos: (T, 3): pose of the parent of the chain's first joint.
            q: (T, m) angles [rad].
        """
        positions, rotations = [], []
        r, p = base_rot, base_pos
        for n, j in enumerate(self.joints):
            r, p = self.tree.step(j, r, p, q[:, n])
            positions.append(p)
            rotations.append(r)
        return positions, rotations, p + r @ self.tip.position, r @ self.tip.rotation

    def axes(self, rotations: list[Array]) -> list[Array]:
        """World joint axes (T, 3), given the rotations of `forward`."""
        return [r[:, :, self.tree.axes[j]] for r, j in zip(rotations, self.joints, strict=True)]


def solve_damped(jacobian: Array, residual: Array, damping: float) -> Array:
    """Steps (T, m) that minimise |J d + e|² + λ|d|² for J (T, k, m), e (T, k)."""
    jt = np.swapaxes(jacobian, 1, 2)
    a = jt @ jacobian
    a[:, np.arange(a.shape[1]), np.arange(a.shape[1])] += damping
    b = (jt @ residual[..., None])[..., 0]
    return -np.linalg.solve(a, b[..., None])[..., 0]
