"""A tiny random policy and its bundle."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from humanoid.bundle import make_manifest, write_bundle
from humanoid.joints import KD, KP, NUM_JOINTS, READY_JOINT_POS
from humanoid.observation import Layout
from humanoid.robot import CONTROL_DT
from humanoid.watch import CHECKS, CheckLimits

LENIENT = {name: CheckLimits() for name in CHECKS}
"""For robots whose readings are no robot's."""


def tiny_onnx(inputs: int, memory: int = 4, outputs: int = NUM_JOINTS, rows="N", seed: int = 0) -> bytes:
    """action = ready pose + W tanh(observation); memory_next = memory + 1 in every column."""
    rng = np.random.default_rng(seed)
    constants = {
        "W": 0.01 * rng.standard_normal((inputs, outputs)),
        "ready": READY_JOINT_POS[:outputs],
        "one": np.ones(1),
    }
    nodes = [
        helper.make_node("Tanh", ["observation"], ["squashed"]),
        helper.make_node("MatMul", ["squashed", "W"], ["offset"]),
        helper.make_node("Add", ["offset", "ready"], ["action"]),
    ]
    tensors_in = [helper.make_tensor_value_info("observation", TensorProto.FLOAT, [rows, inputs])]
    tensors_out = [helper.make_tensor_value_info("action", TensorProto.FLOAT, [rows, outputs])]
    if memory:
        nodes.append(helper.make_node("Add", ["memory", "one"], ["memory_next"]))
        tensors_in.append(helper.make_tensor_value_info("memory", TensorProto.FLOAT, [rows, memory]))
        tensors_out.append(helper.make_tensor_value_info("memory_next", TensorProto.FLOAT, [rows, memory]))
    initializers = [
        numpy_helper.from_array(value.astype(np.float32), key) for key, value in constants.items()
    ]
    graph = helper.make_graph(nodes, "tiny", tensors_in, tensors_out, initializers)
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()


TINY_TERMS = ("joint_pos", "joint_vel", "base_ang_vel", "root_quat", "ball_pos", "ball_valid")
TINY_SIZE = Layout.of(TINY_TERMS).size


def tiny_manifest(**changes):
    manifest = make_manifest(
        name="tiny", description="A random policy.", terms=TINY_TERMS, memory_size=4, training={"seed": 0}
    )
    return manifest | changes


@pytest.fixture
def bundle_folder(tmp_path):
    return write_bundle(tmp_path / "tiny", tiny_onnx(TINY_SIZE), tiny_manifest())


class StandPolicy:
    """Holds the ready pose whatever it sees."""

    name = "stand"
    memory_size = 0
    control_dt = CONTROL_DT

    def __init__(self) -> None:
        self.layout = Layout.of(["joint_pos"])
        self.kp = np.array(KP)
        self.kd = np.array(KD)

    def initial_memory(self, count: int = 1) -> np.ndarray:
        return np.zeros((count, 0), dtype=np.float32)

    def assemble(self, terms) -> np.ndarray:
        return self.layout.assemble(terms)

    def act(self, observation: np.ndarray, memory: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        targets = np.tile(READY_JOINT_POS.astype(np.float32), (len(observation), 1))
        return targets, self.initial_memory(len(observation)) if memory is None else memory
