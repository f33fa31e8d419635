"""What a policy relies on: the command `rally-influence`.

    inputs    each quantity of the observation in turn is taken from another robot: plausible, and wrong. What that
              costs in returns and falls, and by how much it changes what the policy asks for.
    network   of policies that rally-export wrote: which of the residual network's inputs move its output (gradient
              times deviation, in play), and what becomes of play when its busiest hidden units are silenced, one at a
              time.

A policy that ignores its own tilt, or where the ball is, shows here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from omegaconf import MISSING
from onnx import numpy_helper
from torch import Tensor, nn
from tqdm import tqdm

from humanoid.app import run_app
from humanoid.bundle import POLICY_FILE, BundleError, PolicyBundle
from policies.evaluate import percent, prepare, write_text
from policies.evaluation import EvaluationConfig, EvaluationError, evaluate, write_json
from policies.player import OBSERVED, STEP_SIZE
from policies.report import Report, Section

CONF = Path(__file__).with_name("conf")
ACTIVATIONS = {"Elu": nn.ELU, "Relu": nn.ReLU, "Tanh": nn.Tanh}
EVERY = 10
"""Control steps between looks at what the policy would have asked for."""
ROWS = 4000
"""Inputs of the network that gradients are taken at."""


@dataclass
class InfluenceConfig:
    """Schema of policies/conf/influence.yaml.

    Attributes:
        policy: name or folder of a bundle. output: folder of the report.
        level, condition, seed, threads: see `policies.evaluation.EvaluationConfig`.
        balls: judged for each quantity. units: hidden units that are silenced.
        progress: show a bar.
    """

    policy: str = MISSING
    output: str = MISSING
    level: str = "feed"
    condition: str = "nominal"
    balls: int = 200
    units: int = 6
    seed: int = 0
    threads: int = 0
    progress: bool = True


class Confused:
    """A policy that is shown another robot's reading of one quantity.

    Args:
        policy: the policy. term: of its observation; None: nothing is changed.

    Attributes:
        changes: mean |change| of the joint targets by that, rad, of some steps.
    """

    def __init__(self, policy: PolicyBundle, term: str | None) -> None:
        self.policy, self.term = policy, term
        self.name, self.bundle_sha256 = policy.name, policy.bundle_sha256
        self.kp, self.kd = policy.kp, policy.kd
        self.initial_memory = policy.initial_memory
        self.changes: list[float] = []
        self._steps = 0

    def assemble(self, terms: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `policies.evaluation.Policy`."""
        self._true = self.policy.assemble(terms)
        if self.term is None:
            return self._true
        return self.policy.assemble({**terms, self.term: np.roll(terms[self.term], 1, axis=0)})

    def act(self, observation: np.ndarray, memory: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """See `policies.evaluation.Policy`."""
        out = self.policy.act(observation, memory)
        self._steps += 1
        if self.term is not None and self._steps % EVERY == 0:
            self.changes.append(float(np.abs(out[0] - self.policy.act(self._true, memory)[0]).mean()))
        return out


class Network:
    """The residual network inside a graph that rally-export wrote.

    Args:
        graph: of `policy.onnx`.

    Attributes:
        layers: the same in torch. input: name of what it sees.

    Raises:
        ValueError: the graph holds no such network.
    """

    def __init__(self, graph: onnx.ModelProto) -> None:
        self.graph = graph
        self.weights = {w.name: w for w in graph.graph.initializer if w.name.startswith("network.")}
        nodes = [n for n in graph.graph.node if n.op_type == "Gemm" and set(n.input) & set(self.weights)]
        if not nodes:
            raise ValueError("no network of rally-export in it")
        self.names = [(node.input[1], node.input[2]) for node in nodes]
        self.input = nodes[0].input[0]
        users = {name: node for node in graph.graph.node for name in node.input}
        layers: list[nn.Module] = []
        for node in nodes:
            weight, bias = (self._array(name) for name in node.input[1:3])
            linear = nn.Linear(weight.shape[1], weight.shape[0])
            with torch.no_grad():
                linear.weight.copy_(weight)
                linear.bias.copy_(bias)
            layers.append(linear)
            if node is not nodes[-1]:
                kind = users[node.output[0]].op_type
                if kind not in ACTIVATIONS:
                    raise ValueError(f"its activation {kind} is unknown here")
                layers.append(ACTIVATIONS[kind]())
        self.layers = nn.Sequential(*layers)

    def _array(self, name: str) -> Tensor:
        return torch.from_numpy(numpy_helper.to_array(self.weights[name]).copy())

    def watched(self) -> bytes:
        """The graph with the network's input among its outputs."""
        graph = onnx.ModelProto()
        graph.CopyFrom(self.graph)
        graph.graph.output.append(
            onnx.helper.make_tensor_value_info(self.input, onnx.TensorProto.FLOAT, None)
        )
        return graph.SerializeToString()

    def silenced(self, unit: int) -> bytes:
        """The graph without one unit of the last hidden layer."""
        name = self.names[-1][0]
        weight = self._array(name).numpy()
        weight[:, unit] = 0.0
        return self._with({name: weight})

    def dumb(self) -> bytes:
        """The graph with a network that says nothing."""
        return self._with({name: np.zeros_like(self._array(name).numpy()) for name in self.names[-1]})

    def replaced(self, other: nn.Module) -> bytes:
        """The graph with the weights of another network of the same layers.

        Raises:
            ValueError: its layers are others.
        """
        linear = [layer for layer in other.modules() if isinstance(layer, nn.Linear)]
        shapes = [tuple(self._array(name).shape) for name, _ in self.names]
        theirs = [tuple(layer.weight.shape) for layer in linear]
        if shapes != theirs:
            raise ValueError(f"a network of layers {theirs} does not fit into one of {shapes}")
        arrays = {}
        for layer, (weight, bias) in zip(linear, self.names, strict=True):
            arrays[weight], arrays[bias] = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        return self._with(arrays)

    def _with(self, arrays: dict[str, np.ndarray]) -> bytes:
        """The graph with other weights, by name."""
        graph = onnx.ModelProto()
        graph.CopyFrom(self.graph)
        for w in graph.graph.initializer:
            if w.name in arrays:
                w.CopyFrom(numpy_helper.from_array(arrays[w.name], w.name))
        return graph.SerializeToString()

    def saliency(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of the output's movement by input (I,) and by unit of the last hidden layer (H,), for inputs
        `seen` (N, I)."""
        x = seen.clone().requires_grad_()
        out = self.layers(x)
        moved = torch.zeros(seen.shape[1])
        for k in range(out.shape[1]):
            (slope,) = torch.autograd.grad(out[:, k].sum(), x, retain_graph=True)
            moved += (slope.abs() * (seen - seen.mean(0)).abs()).mean(0)
        with torch.no_grad():
            hidden = self.layers[:-1](seen)
            last = self.layers[-1]
            assert isinstance(last, nn.Linear)
            unit = (hidden - hidden.mean(0)).abs().mean(0) * last.weight.abs().sum(0)
        return moved / moved.sum(), unit / unit.sum()


class _Watching(PolicyBundle):
    """A bundle that keeps what its network sees."""

    seen: list[np.ndarray]

    def act(self, observation: np.ndarray, memory: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        feed = {"observation": np.ascontiguousarray(observation, dtype=np.float32), "memory": memory}
        *out, seen = self._session.run(["action", "memory_next", self.watched], feed)
        if sum(map(len, self.seen)) < ROWS:
            self.seen.append(seen)
        return out[0], out[1]

    @staticmethod
    def of(policy: PolicyBundle, network: Network) -> _Watching:
        """The same policy, watched."""
        session = onnxruntime.InferenceSession(network.watched(), providers=["CPUExecutionProvider"])
        other = _Watching(policy.folder, policy.manifest, policy.layout, session, policy.bundle_sha256)
        other.watched, other.seen = network.input, []
        return other

    watched: str


def names_of(size: int) -> list[tuple[str, int]]:
    """What the network's inputs are called, with sizes, for one that sees `size` numbers.

    Raises:
        ValueError: fewer than `policies.player.Player` shows.
    """
    known = sum(count for _, count in OBSERVED)
    if size <= known + STEP_SIZE:
        raise ValueError(f"its network sees {size} numbers, another player's")
    return [*OBSERVED, ("which stroke", size - known - STEP_SIZE), ("step", STEP_SIZE)]


def look(policy: PolicyBundle, app: InfluenceConfig, progress: Any = None) -> dict[str, Any]:
    """The report, JSON-able; docs/safety.md describes every field."""
    config = EvaluationConfig(app.level, app.condition, app.balls, app.seed, threads=app.threads)
    config.check()

    def play(player: Any) -> dict[str, Any]:
        report = evaluate(player, config, progress).report
        return {"in_court": report["in_court"], "falls_per_100": report["falls_per_100"]}

    inputs: dict[str, dict[str, Any]] = {"nothing": {**play(policy), "action_rad": None}}
    for term in [term.name for term in policy.layout.terms]:
        confused = Confused(policy, term)
        inputs[term] = {**play(confused), "action_rad": float(np.mean(confused.changes))}
    return {
        "policy": policy.name,
        "bundle_sha256": policy.bundle_sha256,
        "level": app.level,
        "condition": app.condition,
        "seed": app.seed,
        "balls": app.balls,
        "inputs": inputs,
        "network": _inside(policy, app, play),
    }


def _inside(policy: PolicyBundle, app: InfluenceConfig, play: Any) -> dict[str, Any] | None:
    try:
        network = Network(onnx.load(policy.folder / POLICY_FILE))
        groups = names_of(network.layers[0].in_features)  # pyright: ignore[reportArgumentType]
    except ValueError as error:
        print(f"network: {error}; left out", file=sys.stderr)
        return None
    watching = _Watching.of(policy, network)
    small = EvaluationConfig(app.level, app.condition, 16, app.seed, threads=app.threads)
    evaluate(watching, small)
    rows, units = network.saliency(torch.from_numpy(np.concatenate(watching.seen))[:ROWS])
    shares, first = {}, 0
    for name, size in groups:
        shares[name] = float(rows[first : first + size].sum())
        first += size
    busiest = units.argsort(descending=True)[: app.units].tolist()
    return {
        "inputs": dict(sorted(shares.items(), key=lambda row: -row[1])),
        "units": [
            {"unit": unit, "share": float(units[unit]), **play(policy.changed(network.silenced(unit)))}
            for unit in busiest
        ],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The console command; exits with 0 when the report was written, else 2 or 130."""
    code = run_app(
        "rally-influence",
        run,
        conf=CONF,
        schema=InfluenceConfig,
        config_name="influence",
        expected=(BundleError, EvaluationError),
        arguments=arguments,
    )
    sys.exit(code)


def run(app: InfluenceConfig) -> int:
    """Look into one policy; returns the exit code.

    Raises:
        BundleError, EvaluationError: what is wrong with the policy, a value or a file.
    """
    if not 0 <= app.units <= 128:
        raise EvaluationError(f"units={app.units}: give a number from 0 to 128")
    if app.balls < 16:
        raise EvaluationError(f"balls={app.balls}: two robots at least, so give 16 or more")
    policy, folder = PolicyBundle.load(app.policy), Path(app.output)
    prepare(folder)
    started = time.monotonic()
    total = app.balls * (1 + len(policy.layout.terms) + app.units)
    with tqdm(total=total, unit="ball", disable=None if app.progress else True, file=sys.stderr) as bar:
        report = look(policy, app, bar.update)
    report["wall_s"] = round(time.monotonic() - started, 3)
    publish(folder / "influence", Report(f"{report['policy']}: what it relies on", sections(report)), report)
    return 0


def publish(file: Path, page: Report, report: dict[str, Any]) -> None:
    """Write a report for people, FILE.md, and for programs, FILE.json, and print it."""
    text = page.markdown()
    write_text(file.with_suffix(".md"), text)
    write_json(file.with_suffix(".json"), report)
    print(text)
    print(file.with_suffix(".json"))


def sections(report: dict[str, Any]) -> list[Section]:
    """The report for people, here and on the page of rally-report."""
    table = [("confused", "in court %", "falls per 100", "change of the joint targets, rad")]
    for name, row in report["inputs"].items():
        change = "–" if row["action_rad"] is None else f"{row['action_rad']:.4f}"
        table.append((name, percent(row["in_court"]), f"{row['falls_per_100']:.1f}", change))
    text = (
        f"{report['balls']} balls each at {report['level']}, {report['condition']}, seed {report['seed']}. Each robot "
        "is given another robot's reading of one quantity: plausible, and wrong. What the policy ignores changes "
        "nothing; what it relies on costs returns or falls."
    )
    out = [Section("What the policy relies on", [text], table)]
    network = report["network"]
    if network:
        table = [("input of the network", "share of what moves its output, %")]
        table += [(name, f"{100 * share:.1f}") for name, share in network["inputs"].items()]
        text = (
            "Mean |gradient · input's deviation| over the outputs, in play. The network only corrects what planner and "
            "reference ask for."
        )
        out.append(Section("Inside its network", [text], table))
        table = [("hidden unit silenced", "share of the output, %", "in court %", "falls per 100")]
        for row in network["units"]:
            share, falls = f"{100 * row['share']:.1f}", f"{row['falls_per_100']:.1f}"
            table.append((str(row["unit"]), share, percent(row["in_court"]), falls))
        out.append(Section("Its busiest hidden units", ["Of the last hidden layer, one at a time."], table))
    return out


if __name__ == "__main__":
    main()
