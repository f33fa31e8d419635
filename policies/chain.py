"""Kinematics of a limb in torch: batched, without branches, so that it exports with the policy."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

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
        self.joints = rows
        self.index = torch.tensor([JOINT_INDEX[joint.name] for joint in rows])
        self._offsets = [torch.tensor(joint.pos) for joint in rows]
        self._turns = [_matrix(joint.quat) if abs(joint.quat[0]) < 1 - 1e-9 else None for joint in rows]
        self._end = torch.tensor([float(x) for x in pos])
        self._end_turn = _matrix([float(x) for x in quat])

    def to(self, device: torch.device | str) -> Chain:
        """The same chain with its constants on a device."""
        moved = copy(self)
        moved.index, moved._end, moved._end_turn = (
            value.to(device) for value in (self.index, self._end, self._end_turn)
        )
        moved._offsets = [offset.to(device) for offset in self._offsets]
        moved._turns = [turn if turn is None else turn.to(device) for turn in self._turns]
        return moved

    def forward(self, joint_pos: Tensor) -> Pose:
        """Pose of the end for the chain's joint angles, (N, J), rad."""
        n = joint_pos.shape[0]
        dtype = joint_pos.dtype
        rot = torch.eye(3, dtype=dtype, device=joint_pos.device).expand(n, 3, 3)
        pos = torch.zeros(n, 3, dtype=dtype, device=joint_pos.device)
        cosines, sines = joint_pos.cos(), joint_pos.sin()
        for i, joint in enumerate(self.joints):
            pos = pos + rot @ self._offsets[i].to(dtype)
            turn = self._turns[i]
            if turn is not None:
                rot = rot @ turn.to(dtype)
            c, s = cosines[:, i : i + 1], sines[:, i : i + 1]
            x, y, z = rot[..., 0], rot[..., 1], rot[..., 2]
            if joint.axis == "x":
                rot = torch.stack((x, c * y + s * z, c * z - s * y), dim=-1)
            elif joint.axis == "y":
                rot = torch.stack((c * x - s * z, y, s * x + c * z), dim=-1)
            else:
                rot = torch.stack((c * x + s * y, c * y - s * x, z), dim=-1)
        end = pos + rot @ self._end.to(dtype)
        return Pose(end, rot @ self._end_turn.to(dtype))


def racket_chain() -> Chain:
    """Waist and right arm (10 joints) to the string-bed centre."""
    return Chain(LINK, RACKET.position, QUAT)


def foot_chain(side: str) -> Chain:
    """A leg (6 joints) to the middle of its sole; ``side`` is "left" or "right"."""
    from humanoid.bodies import SOLE_HEIGHT

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
