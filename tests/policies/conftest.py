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


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tiny batches only lose by sharing work among cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def strokes():
    """A forehand and a backhand of the shipped set."""
    from policies.strokes import load_strokes, stroke_names

    names = stroke_names()
    chosen = [next(name for name in names if name.startswith(kind)) for kind in ("forehand", "backhand")]
    return load_strokes(tuple(chosen))


@pytest.fixture(scope="session")
def player(strokes):
    """A player of these two strokes, without a network."""
    from policies.player import Player

    return Player(strokes)


@pytest.fixture(scope="session")
def pool(strokes):
    """Goals that the strokes themselves meet, with a ball that comes at 10 m/s."""
    import torch

    from policies.goals import GoalPool

    ball_vel = torch.tensor([[-10.0, 0.0, -2.0]]).expand(2, 3)
    return GoalPool(
        stroke=torch.arange(2),
        time=strokes.strike.float() * strokes.dt,
        pos=strokes.contact_pos,
        vel=strokes.contact_vel,
        normal=strokes.contact_normal,
        ball_pos=strokes.contact_pos + 0.0335 * strokes.contact_normal,
        ball_vel=ball_vel.clone(),
        ball_spin=torch.zeros(2, 3),
        start_x=-11.9,
        met=1.0,
    )
