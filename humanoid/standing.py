"""Builds the bundle of the policy that only stands: a baseline, and the first thing to run on a robot.

``python -m humanoid.standing assets/policies/stand`` writes the one that ships. The policy's targets are the
ready pose, plus what carries the robot's weight (inverse dynamics over kp), minus the linear regulator of
:mod:`humanoid.balance` on the deviation of the whole state from the stance it began in. Needs the package
``onnx`` and those of the extra ``mocap``; the bundle itself runs anywhere.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from humanoid.balance import balance_gain, ready_height
from humanoid.bundle import make_manifest, write_bundle
from humanoid.dynamics import feedforward_torque
from humanoid.joints import KP, NUM_JOINTS, READY_JOINT_POS
from humanoid.model import build_model
from humanoid.observation import Layout
from humanoid.robot import CONTROL_DT

TERMS = ("root_pos", "root_quat", "joint_pos", "root_lin_vel", "base_ang_vel", "joint_vel")
MEMORY = 5
"""Started, x and y of the stance, [m], cosine and sine of half its heading."""
LARGEST_CORRECTION = 0.6
"""Of a target by the regulator, [rad]: beyond it the stance is lost anyway."""


def write_standing(folder: str | os.PathLike) -> Path:
    """Write the bundle of the policy that only stands; see :func:`humanoid.bundle.write_bundle`."""
    manifest = make_manifest(
        name="stand",
        description="Holds the ready pose and its balance, whatever flies by.",
        terms=TERMS,
        memory_size=MEMORY,
        physics="Linear-quadratic regulator of the robot model at 5 ms steps; nothing was trained.",
        training={"method": "regulator", "samples": 0, "seed": None},
        licence="Apache-2.0",
    )
    return write_bundle(folder, standing_onnx(), manifest)


def standing_onnx() -> bytes:
    """The network; its inputs and outputs are those of every bundle."""
    height, target = _stance()
    graph = _Graph()
    columns = Layout.of(TERMS)
    part = {
        term.name: graph.columns("observation", term.start, term.start + term.size) for term in columns.terms
    }
    w, x, y, z = (graph.columns(part["root_quat"], i, i + 1) for i in range(4))

    # Where the stance is: remembered, or here and now. Heading: the turn about the vertical alone.
    length = graph("Sqrt", graph("Add", graph("Mul", w, w), graph("Add", graph("Mul", z, z), 1e-12)))
    here = graph.columns(part["root_pos"], 0, 2)
    one = graph("Add", graph("Mul", w, 0.0), 1.0)
    now = graph("Concat", one, here, graph("Div", w, length), graph("Div", z, length), axis=1)
    started = graph("Greater", graph.columns("memory", 0, 1), 0.5)
    anchor = graph("Where", started, "memory", now)
    c, s = graph.columns(anchor, 3, 4), graph.columns(anchor, 4, 5)
    cos = graph("Sub", graph("Mul", c, c), graph("Mul", s, s))
    sin = graph("Mul", graph("Mul", c, s), 2.0)

    def turned(vector: str) -> str:
        """A court vector in the stance's heading."""
        a, b, up = (graph.columns(vector, i, i + 1) for i in range(3))
        ahead = graph("Add", graph("Mul", cos, a), graph("Mul", sin, b))
        left = graph("Sub", graph("Mul", cos, b), graph("Mul", sin, a))
        return graph("Concat", ahead, left, up, axis=1)

    level = graph("Sub", graph.columns(part["root_pos"], 2, 3), height)
    away = graph("Sub", here, graph.columns(anchor, 1, 3))
    # Quaternion of the pelvis in the stance's heading; twice its vector part is the rotation vector.
    rest_w = graph("Add", graph("Mul", c, w), graph("Mul", s, z))
    rest = graph(
        "Concat",
        graph("Add", graph("Mul", c, x), graph("Mul", s, y)),
        graph("Sub", graph("Mul", c, y), graph("Mul", s, x)),
        graph("Sub", graph("Mul", c, z), graph("Mul", s, w)),
        axis=1,
    )
    side = graph("Where", graph("Less", rest_w, 0.0), np.float32(-2.0), np.float32(2.0))
    deviation = graph(
        "Concat",
        turned(graph("Concat", away, level, axis=1)),
        graph("Mul", rest, side),
        graph("Sub", part["joint_pos"], READY_JOINT_POS),
        turned(part["root_lin_vel"]),
        part["base_ang_vel"],
        part["joint_vel"],
        axis=1,
    )
    gain = balance_gain(CONTROL_DT)
    correction = graph("MatMul", deviation, gain.T)
    correction = graph("Clip", correction, np.float32(-LARGEST_CORRECTION), np.float32(LARGEST_CORRECTION))
    graph("Sub", target, correction, output="action")
    graph("Identity", anchor, output="memory_next")
    return graph.model(
        {"observation": columns.size, "memory": MEMORY}, {"action": NUM_JOINTS, "memory_next": MEMORY}
    )


def _stance() -> tuple[float, np.ndarray]:
    """Height of the pelvis, [m], and targets, [rad], (29,), at which the ready pose carries its weight."""
    height = ready_height(build_model(timestep=0.005))
    torque, _ = feedforward_torque(
        np.tile([0.0, 0.0, height], (3, 1)),
        np.tile([1.0, 0.0, 0.0, 0.0], (3, 1)),
        np.tile(READY_JOINT_POS, (3, 1)),
        np.ones((3, 2), dtype=bool),
        1.0 / CONTROL_DT,
    )
    return height, READY_JOINT_POS + torque[1] / KP


class _Graph:
    """An ONNX graph written as expressions: each call adds a node and returns its output's name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def __call__(self, kind: str, *inputs: Any, output: str | None = None, **attributes: Any) -> str:
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        output = output or f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def columns(self, name: str, start: int, end: int) -> str:
        """Columns start to end of a matrix."""
        bounds = [np.array([value], dtype=np.int64) for value in (start, end, 1)]
        return self("Slice", name, *bounds)

    def model(self, inputs: dict[str, int], outputs: dict[str, int]) -> bytes:
        """Bytes of the model with the given columns of its float32 inputs and outputs."""
        given, wanted = (
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
                for name, size in side.items()
            ]
            for side in (inputs, outputs)
        )
        graph = helper.make_graph(self._nodes, "policy", given, wanted, self._constants)
        opset = helper.make_opsetid("", 18)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=9, producer_name="humanoid-rally")
        onnx.checker.check_model(model)
        return model.SerializeToString()

    def _constant(self, value: Any) -> str:
        array = np.asarray(value)
        if array.dtype != np.int64 or array.ndim == 0:
            array = array.astype(np.float32)
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m humanoid.standing FOLDER")
    print(write_standing(sys.argv[1]))
