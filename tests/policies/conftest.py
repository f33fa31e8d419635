"""A tiny random policy's bundle."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from humanoid.bundle import make_manifest, write_bundle
from humanoid.joints import NUM_JOINTS, READY_JOINT_POS
from humanoid.observation import Layout

TERMS = ("joint_pos", "joint_vel", "root_quat", "ball_pos", "ball_valid", "target")


def tiny_onnx(inputs: int, wobble: float = 0.3) -> bytes:
    """action = ready pose + W tanh(observation); memory_next = memory + 1."""
    rng = np.random.default_rng(0)
    constants = {
        "W": wobble * rng.standard_normal((inputs, NUM_JOINTS)) / np.sqrt(inputs),
        "ready": READY_JOINT_POS,
        "one": np.ones(1),
    }
    nodes = [
        helper.make_node("Tanh", ["observation"], ["squashed"]),
        helper.make_node("MatMul", ["squashed", "W"], ["offset"]),
        helper.make_node("Add", ["offset", "ready"], ["action"]),
        helper.make_node("Add", ["memory", "one"], ["memory_next"]),
    ]

    def tensor(name: str, size: int):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])

    graph = helper.make_graph(
        nodes,
        "tiny",
        [tensor("observation", inputs), tensor("memory", 2)],
        [tensor("action", NUM_JOINTS), tensor("memory_next", 2)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()


@pytest.fixture
def tiny_bundle(tmp_path):
    """Folder of a bundle whose robot soon falls."""
    manifest = make_manifest(name="tiny", description="A random policy.", terms=TERMS, memory_size=2)
    return write_bundle(tmp_path / "tiny", tiny_onnx(Layout.of(TERMS).size), manifest)
