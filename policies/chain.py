"""Kinematics of a limb in torch: batched, without branches, so that it exports with the policy."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from humanoid.bodies import SOLE_HEIGHT
from humanoid.joints import JOINT_INDEX, JOINTS, PELVIS
from humanoid.racket import LINK, QUAT, RACKET


@dataclass(frozen=True)
class Pose:
    """Where a chain ends, in the pelvis frame.

    Attributes:
        pos: (N, 3), m.
        rot: (N, 3, 3), end frame to pelvis.
    """

    pos: Tensor
    rot: Tensor


class Chain:
    """The joints from the pelvis to a link, and a point fixed to that link.

    Args:
        link: last link.
        pos: the point in the link's frame, m.
        quat: orientation of the end frame in the link's frame, w, x, y, z.

    Attributes:
        index: positions of the chain's joints in the joint table, (J,).
    """

    def __init__(self, link: str, pos=(0.0, 0.0, 0.0), quat=(1.0, 0.0, 0.0, 0.0)) -> None:
        by_link = {joint.link: joint for joint in JOINTS}
        rows = []
        while link != PELVIS.link:
            rows.insert(0, by_link[link])
            link = by_link[link].parent
        self.index = torch.tensor([JOINT_INDEX[joint.name] for joint in rows])
        # A joint's transform is linear in 1, cosine and sine of its angle.
        parts = torch.zeros(len(rows), 3, 4, 4)
        for i, joint in enumerate(rows):
            turn = _matrix(joint.quat)
            axis = "xyz".index(joint.axis)
            j, k = (axis + 1) % 3, (axis + 2) % 3
            still, cosine, sine = (torch.zeros(3, 3) for _ in range(3))
            still[axis, axis] = 1.0
            cosine[j, j] = cosine[k, k] = 1.0
            sine[k, j], sine[j, k] = 1.0, -1.0
            for part, matrix in enumerate((still, cosine, sine)):
                parts[i, part, :3, :3] = turn @ matrix
            parts[i, 0, :3, 3] = torch.tensor(joint.pos)
            parts[i, 0, 3, 3] = 1.0
        self._parts = parts
        self._axes = ["xyz".index(joint.axis) for joint in rows]
        end = torch.eye(4)
        end[:3, :3] = _matrix([float(x) for x in quat])
        end[:3, 3] = torch.tensor([float(x) for x in pos])
        self._end = end

    def to(self, device: torch.device | str) -> Chain:
        """The same chain with its constants on a device."""
        moved = copy(self)
        for name in ("index", "_parts", "_end"):
            setattr(moved, name, getattr(self, name).to(device))
        return moved

    def forward(self, joint_pos: Tensor) -> Pose:
        """Pose of the end for the chain's joint angles, (N, J), rad."""
        place = self._links(joint_pos)
        # Neighbours are multiplied all at once, until one is left.
        while place.shape[1] > 1:
            even = place.shape[1] // 2 * 2
            pairs = place[:, 0:even:2] @ place[:, 1:even:2]
            place = torch.cat((pairs, place[:, even:]), dim=1) if even < place.shape[1] else pairs
        end = place[:, 0] @ self._end.to(joint_pos.dtype)
        return Pose(end[:, :3, 3], end[:, :3, :3])

    def jacobian(self, joint_pos: Tensor) -> tuple[Pose, Tensor, Tensor]:
        """Pose of the end for joint angles (N, J), rad, and how it moves with them: its velocity, (N, 3, J), m, and
        its angular velocity, (N, 3, J), each for a joint speed of 1 rad/s, pelvis frame."""
        frames, links = [], self._links(joint_pos).unbind(1)
        for link in links:
            frames.append(frames[-1] @ link if frames else link)
        last = frames[-1] @ self._end.to(joint_pos.dtype)
        end = Pose(last[:, :3, 3], last[:, :3, :3])
        # A joint's axis and place do not turn with its own angle.
        turns = torch.stack(
            [frame[:, :3, axis] for frame, axis in zip(frames, self._axes, strict=True)], dim=-1
        )
        arms = end.pos.unsqueeze(-1) - torch.stack([frame[:, :3, 3] for frame in frames], dim=-1)
        return end, torch.linalg.cross(turns, arms, dim=1), turns

    def _links(self, joint_pos: Tensor) -> Tensor:
        """Each link's frame in the one before, (N, J, 4, 4)."""
        parts = self._parts.to(joint_pos.dtype)
        cos, sin = joint_pos.cos()[..., None, None], joint_pos.sin()[..., None, None]
        return parts[:, 0] + cos * parts[:, 1] + sin * parts[:, 2]


def racket_chain() -> Chain:
    """Waist and right arm (10 joints) to the string-bed centre."""
    return Chain(LINK, RACKET.position, QUAT)


def foot_chain(side: str) -> Chain:
    """A leg (6 joints) to the middle of its sole; ``side`` is "left" or "right"."""
    return Chain(f"{side}_ankle_roll_link", (0.0375, 0.0, -SOLE_HEIGHT))


def _matrix(quat) -> Tensor:
    w, x, y, z = torch.nn.functional.normalize(
        torch.tensor([float(v) for v in quat], dtype=torch.float64), dim=0
    ).tolist()
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )  # fmt: skip
