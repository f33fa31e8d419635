"""Whether a policy's behaviour comes back when its reward trains another network: the command `rally-reward-check`.

A learned policy can hide mistakes of its reward: what it does well may be luck of a seed, or come from elsewhere than
the reward that is written down. So a network is trained from nothing, with the configuration that the bundle holds and
another seed, for a short time, and put in the place of the bundle's own; the rest of the policy stays as it is.

    returns, falls   what the new network brings beside none at all, as a share of what the policy's own brings
    corrections      how alike both networks' corrections of the joint targets are, in the same states of play: their
                     correlation, and the size of the new one's beside the other's

A share near one says that the reward asks for this behaviour; near zero or below, that it came from somewhere else, or
that the time was too short.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from omegaconf import MISSING
from tqdm import tqdm

from humanoid.app import run_app
from humanoid.bundle import POLICY_FILE, BundleError, PolicyBundle
from humanoid.motion import MotionError
from policies.checkpoint import CheckpointError, load_checkpoint
from policies.config import ConfigError, TrainConfig, typed
from policies.evaluate import percent, prepare
from policies.evaluation import EvaluationConfig, EvaluationError, evaluate
from policies.export import trained_network
from policies.goals import GoalError
from policies.influence import CONF, EVERY, Network, publish
from policies.report import Report, Section
from policies.train import Trainer

PARTS = {"legs": slice(0, 12), "waist": slice(12, 15), "arms": slice(15, 29), "all": slice(0, 29)}
"""Joints by part of the body."""
RUN = "again"
"""Folder of the training run."""


@dataclass
class RewardCheckConfig:
    """Schema of policies/conf/reward_check.yaml.

    Attributes:
        policy: name or folder of a bundle. output: folder of the report and of the training run.
        minutes: of training, in this call; a run that is there already goes on. train_seed: of it.
        level, condition, seed, threads: see `policies.evaluation.EvaluationConfig`.
        balls: judged for each network.
        progress: show a bar.
    """

    policy: str = MISSING
    output: str = MISSING
    minutes: float = 25.0
    train_seed: int = 1
    level: str = "feed"
    condition: str = "nominal"
    balls: int = 400
    seed: int = 0
    threads: int = 0
    progress: bool = True


class Compared:
    """A policy that plays, and says what two networks add to what it would do without any.

    Args:
        policy: with its own network. again: with the one trained anew. without: with one that says nothing.

    Attributes:
        added: what both networks added to the joint targets in some steps, own and anew, (2, N, 29) each, rad.
    """

    def __init__(self, policy: PolicyBundle, again: PolicyBundle, without: PolicyBundle) -> None:
        self.policy, self.others = policy, (again, without)
        self.name, self.bundle_sha256 = policy.name, policy.bundle_sha256
        self.kp, self.kd = policy.kp, policy.kd
        self.initial_memory = policy.initial_memory
        self.added: list[np.ndarray] = []
        self._steps = 0

    def assemble(self, terms: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `policies.evaluation.Policy`."""
        return self.policy.assemble(terms)

    def act(self, observation: np.ndarray, memory: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """See `policies.evaluation.Policy`."""
        out = self.policy.act(observation, memory)
        self._steps += 1
        if self._steps % EVERY == 0:
            again, without = (other.act(observation, memory)[0] for other in self.others)
            self.added.append(np.stack([out[0] - without, again - without]))
        return out


def agreement(added: np.ndarray) -> dict[str, dict[str, float]]:
    """How alike corrections (2, N, 29) are, by part of the body: correlation, and ratio of the second's to the first's
    root mean square."""
    out = {}
    for part, joints in PARTS.items():
        own, anew = (values[:, joints].ravel().astype(float) for values in added)
        sizes = np.sqrt((own**2).mean()), np.sqrt((anew**2).mean())
        both = sizes[0] * sizes[1]
        out[part] = {
            "correlation": float((own * anew).mean() / both) if both else 0.0,
            "size": float(sizes[1] / sizes[0]) if sizes[0] else 0.0,
        }
    return out


def shares(players: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """What of that which the policy's own network brings comes back with the one trained anew: of the balls in court,
    near the target, and of the falls that it spares; None where its own brings nothing."""

    def share(value: str, rate: bool) -> float | None:
        own, again, without = (
            players[name][value]["rate"] if rate else players[name][value]
            for name in ("own", "again", "without")
        )
        return (
            float((again - without) / (own - without)) if (own - without) * (1 if rate else -1) > 0 else None
        )

    return {
        "in_court": share("in_court", True),
        "success": share("success", True),
        "falls": share("falls_per_100", False),
    }


def check(policy: PolicyBundle, app: RewardCheckConfig, progress: Any = None) -> dict[str, Any]:
    """Train, compare and report, JSON-able; docs/safety.md describes every field.

    Raises:
        BundleError: the bundle holds no configuration, or no network of rally-export.
    """
    try:
        network = Network(onnx.load(policy.folder / POLICY_FILE))
        config = typed(TrainConfig, dict(policy.manifest["training"]["config"]))
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{policy.folder}: cannot be trained again ({error!r}); give one of rally-export"
        ) from None
    if app.train_seed == policy.manifest["training"].get("seed"):
        raise EvaluationError(f"train_seed={app.train_seed}: the policy's own; give another one")
    config = replace(
        config, name=RUN, output=app.output, seed=app.train_seed, minutes=app.minutes, start_from=None, resume=True,
        iterations=0, engine="cpu", device="cpu",
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        # RSL-RL prints its networks.
        trainer = Trainer(replace(config, threads=app.threads or config.threads))
    trainer.run()
    try:
        anew = network.replaced(trained_network(load_checkpoint(trainer.checkpoint), trainer.player))
    except ValueError as error:
        raise BundleError(f"{policy.folder}: {error}") from None
    again, without = policy.changed(anew), policy.changed(network.dumb())
    judged = EvaluationConfig(app.level, app.condition, app.balls, app.seed, threads=app.threads)
    compared = Compared(policy, again, without)
    players = {}
    for name, player in (("own", compared), ("again", again), ("without", without)):
        report = evaluate(player, judged, progress).report
        kept = ("in_court", "success", "contact_rate", "falls_per_100", "smoothness_rad_s2", "torque_nm")
        players[name] = {key: report[key] for key in kept}
    own = policy.manifest["training"]
    return {
        "policy": policy.name,
        "bundle_sha256": policy.bundle_sha256,
        "level": app.level,
        "condition": app.condition,
        "seed": app.seed,
        "balls": app.balls,
        "trained": {"seed": app.train_seed, "samples": trainer.samples, "wall_s": round(trainer.wall_s, 1)},
        "own": {key: own.get(key) for key in ("seed", "samples", "wall_s")},
        "players": players,
        "comes_back": shares(players),
        "corrections": agreement(np.concatenate(compared.added, axis=1)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The console command; exits with 0 when the report was written, else 2 or 130."""
    code = run_app(
        "rally-reward-check",
        run,
        conf=CONF,
        schema=RewardCheckConfig,
        config_name="reward_check",
        expected=(BundleError, CheckpointError, ConfigError, EvaluationError, GoalError, MotionError),
        arguments=arguments,
    )
    sys.exit(code)


def run(app: RewardCheckConfig) -> int:
    """Check one policy; returns the exit code.

    Raises:
        BundleError, CheckpointError, ConfigError, EvaluationError, GoalError, MotionError: what is wrong with the
            policy, a value or a file.
    """
    if not app.minutes > 0:
        raise EvaluationError(f"minutes={app.minutes}: give a time above 0")
    EvaluationConfig(app.level, app.condition, app.balls, app.seed, threads=app.threads).check()
    policy, folder = PolicyBundle.load(app.policy), Path(app.output)
    prepare(folder)
    started = time.monotonic()
    with tqdm(
        total=3 * app.balls, unit="ball", disable=None if app.progress else True, file=sys.stderr
    ) as bar:
        report = check(policy, app, bar.update)
    report["wall_s"] = round(time.monotonic() - started, 3)
    publish(folder / "reward_check", Report(f"{report['policy']}: trained again", sections(report)), report)
    return 0


def sections(report: dict[str, Any]) -> list[Section]:
    """The report for people, here and on the page of rally-report."""

    def shown(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.0f}"

    own, trained, back = report["own"], report["trained"], report["comes_back"]
    names = {"own": "the policy's own", "again": "trained again", "without": "none"}
    table = [
        ("network", "in court %", "within 2.5 m %", "falls per 100", "acceleration, rad/s²", "torque, N·m")
    ]
    for key, name in names.items():
        row = report["players"][key]
        falls, rough, torque = row["falls_per_100"], row["smoothness_rad_s2"], row["torque_nm"]
        cells = (f"{falls:.1f}", f"{rough:.1f}", f"{torque:.1f}")
        table.append((name, percent(row["in_court"]), percent(row["success"]), *cells))
    table.append(
        ("comes back, %", shown(back["in_court"]), shown(back["success"]), shown(back["falls"]), "", "")
    )
    text = (
        f"A network trained from nothing with the policy's own configuration and reward, seed {trained['seed']}, "
        f"{trained['samples'] / 1e6:.2f} million control steps in {trained['wall_s'] / 60:.0f} minutes, in the place "
        f"of the policy's own (seed {own['seed']}, {(own['samples'] or 0) / 1e6:.2f} million). {report['balls']} balls "
        f"each at {report['level']}, {report['condition']}, seed {report['seed']}. What comes back is the share of "
        "what the own network brings beside none."
    )
    alike = [("joints", "correlation", "size beside the own")]
    alike += [(k, f"{v['correlation']:.2f}", f"{v['size']:.2f}") for k, v in report["corrections"].items()]
    text_alike = "What both networks add to the joint targets, in the same states of the policy's play."
    return [
        Section("Trained again with the same reward", [text], table),
        Section("How alike their corrections are", [text_alike], alike),
    ]


if __name__ == "__main__":
    main()
