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
    """The shipped families, forehand and backhand."""
    from policies.strokes import load_strokes

    return load_strokes()


@pytest.fixture(scope="session")
def bare(strokes):
    """The same without what games taught them."""
    from dataclasses import replace

    import torch

    return replace(strokes, bells=torch.zeros_like(strokes.bells))


@pytest.fixture(scope="session")
def player(strokes):
    """A player of these two families, without a network."""
    from policies.player import Player

    return Player(strokes)


@pytest.fixture(scope="session")
def goals_of(strokes):
    """Function that draws goals (stroke, pos, vel, normal) in the stance frame, `count` of each family, all at one
    Mahalanobis distance from those the family was learned from; distance 0: its centre."""
    import torch

    def draw(distance: float, count: int = 1, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        kinds = strokes.num_strokes
        way = torch.nn.functional.normalize(torch.randn(kinds, count, 8, generator=generator), dim=2)
        root = torch.linalg.cholesky(torch.linalg.inv(strokes.spread.double())).float()
        scaled = distance * way @ root.transpose(1, 2)
        goal = (strokes.centre[:, None] + scaled * strokes.scale[:, None]).flatten(0, 1)
        side = goal[:, 6:]
        normal = torch.cat(((1 - side.square().sum(1, keepdim=True)).clamp(min=0.0).sqrt(), side), dim=1)
        return torch.arange(kinds).repeat_interleave(count), goal[:, :3], goal[:, 3:6], normal

    return draw


@pytest.fixture(scope="session")
def pool(strokes, goals_of):
    """The centre of each family as a goal, with a ball that comes at 10 m/s."""
    import torch

    from policies.goal_pool import GoalPool

    stroke, pos, vel, normal = goals_of(0.0)
    return GoalPool(
        stroke=stroke,
        time=strokes.strike.float() * strokes.dt,
        pos=pos,
        vel=vel,
        normal=normal,
        ball_pos=pos + 0.0335 * normal,
        ball_vel=torch.tensor([[-10.0, 0.0, -2.0]]).repeat(2, 1),
        ball_spin=torch.zeros(2, 3),
        aim=torch.tensor([[6.0, 0.0]]).repeat(2, 1),
        clearance=torch.full((2,), 2.0),
        start_x=-11.9,
        met=1.0,
    )


@pytest.fixture(scope="session")
def strike():
    """The released policy."""
    from humanoid.bundle import PolicyBundle

    return PolicyBundle.load("strike")


@pytest.fixture(scope="session")
def network(strike):
    """The network in its graph."""
    import onnx

    from humanoid.bundle import POLICY_FILE
    from policies.influence import Network

    return Network(onnx.load(strike.folder / POLICY_FILE))


@pytest.fixture(scope="session")
def observations():
    """Function that draws terms for a policy's observation, of `count` robots that stand about ready."""

    def draw(policy, count: int, seed: int = 0) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        terms = {t.name: rng.normal(size=(count, t.size)) * 0.05 for t in policy.layout.terms}
        terms["root_quat"] = np.tile([1.0, 0, 0, 0], (count, 1))
        terms["root_pos"] = np.tile([-11.9, 0, 0.73], (count, 1))
        return terms

    return draw
