"""The command `rally-adversary`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING
from tqdm import tqdm

from humanoid.app import run_app
from humanoid.bundle import BundleError, PolicyBundle
from policies.adversary import AdversaryConfig, BallMachine, attack, replay_set
from policies.evaluate import percent, prepare, write_text
from policies.evaluation import EvaluationError, read_json, write_json, written
from policies.report import Report, Section
from sim.launch_distribution import SPACE
from sim.return_protocol import OUTCOMES

CONF = Path(__file__).with_name("conf")
REPORT = "adversary.json"
LOST = ("net", "out", "miss", "fall")


@dataclass
class AdversaryCommandConfig:
    """Schema of policies/conf/adversary.yaml.

    Attributes:
        policy: name or folder of a bundle. output: folder of the report.
        set: an `adversary.json` of before: its worst balls are played again, and nothing is looked for. Its level and
            condition hold.
        level, condition, even, starts, generations, population, rounds, draws, worst, seed, envs, threads: see
            `policies.adversary.AdversaryConfig`.
        progress: show a bar.
    """

    policy: str = MISSING
    output: str = MISSING
    set: str = ""
    level: str = "feed"
    condition: str = "nominal"
    even: int = 256
    starts: int = 8
    generations: int = 12
    population: int = 16
    rounds: int = 3
    draws: int = 256
    worst: int = 10
    seed: int = 0
    envs: int = 128
    threads: int = 0
    progress: bool = True


def main(arguments: Sequence[str] | None = None) -> None:
    """The console command; exits with 0 when the report was written, else 2 or 130."""
    code = run_app(
        "rally-adversary",
        run,
        conf=CONF,
        schema=AdversaryCommandConfig,
        config_name="adversary",
        expected=(BundleError, EvaluationError),
        arguments=arguments,
    )
    sys.exit(code)


def run(app: AdversaryCommandConfig) -> int:
    """Attack one policy, or play a set of balls again; returns the exit code.

    Raises:
        BundleError, EvaluationError: what is wrong with the policy, a value or a file.
    """
    if app.set:
        return run_set(app)
    config = AdversaryConfig(**{name: getattr(app, name) for name in vars(AdversaryConfig())})
    config.check()
    policy, folder = PolicyBundle.load(app.policy), Path(app.output)
    prepare(folder)
    started = time.monotonic()
    with tqdm(unit="ball", disable=None if app.progress else True, file=sys.stderr) as bar:
        report, opponent, machine = attack(policy, config, bar.update)
    report["wall_s"] = round(time.monotonic() - started, 3)
    worst = np.array([row["point"] for row in report["worst"]]).reshape(-1, len(SPACE))[: config.envs]
    written(folder / "opponent.npz", opponent.save)
    if len(worst):
        written(folder / "recording.npz", machine.film(worst).save)
    text = Report(f"{report['policy']}: worst balls", sections(report)).markdown()
    write_text(folder / "adversary.md", text)
    write_json(folder / REPORT, report)
    print(text)
    print(f"{folder}/{REPORT}")
    return 0


def run_set(app: AdversaryCommandConfig) -> int:
    """Play the worst balls of an earlier report again.

    Raises:
        BundleError, EvaluationError: what is wrong with the policy, a value or a file.
    """
    before = read_report(Path(app.set))
    config = AdversaryConfig(before["level"], before["condition"], before["seed"], app.envs, app.threads)
    policy, folder = PolicyBundle.load(app.policy), Path(app.output)
    prepare(folder)
    points = np.array([row["point"] for row in before["worst"]], dtype=float).reshape(-1, len(SPACE))
    if not len(points):
        raise EvaluationError(f"set={app.set}: holds no balls; nothing to play again")
    played = replay_set(BallMachine(policy, config), points)
    rows = [
        {
            "before": row["outcome"],
            "outcome": "fall" if played.fell[i] else OUTCOMES[played.outcome[i]],
            "margin": round(float(played.margin[i]), 4),
        }
        for i, row in enumerate(before["worst"])
    ]
    back = int(played.returned.sum())
    write_json(
        folder / "set.json",
        {
            "policy": policy.name,
            "bundle_sha256": policy.bundle_sha256,
            "set_of": before["bundle_sha256"],
            "level": config.level,
            "condition": config.condition,
            "returned": back,
            "balls": rows,
        },
    )
    print(f"{policy.name}: {back} of {len(rows)} balls of the set came back; {folder}/set.json")
    return 0


def read_report(path: Path) -> dict[str, Any]:
    """An `adversary.json`.

    Raises:
        EvaluationError: missing or not such a file; names it.
    """

    def check(report: dict[str, Any]) -> None:
        if report["space"] != list(SPACE):
            raise ValueError("its balls have other coordinates")
        for key in ("level", "condition", "seed", "bundle_sha256", "even", "safe", "search", "opponent"):
            report[key]
        if any(len(row["point"]) != len(SPACE) for row in report["worst"]):
            raise ValueError("a ball has not as many coordinates as the launch space")

    return read_json(path, "rally-adversary", check)


def sections(report: dict[str, Any], video: bytes | None = None) -> list[Section]:
    """The report for people, here and, with a video (mp4) of the worst balls, on the page of rally-report."""
    what = f"{report['level']}, {report['condition']}"
    table: list[tuple[str, ...]] = [("balls", "number", "came back %", *LOST)]
    for name, key in (
        ("drawn evenly", "even"), ("tried by the search", "search"), ("of the learned opponent", "opponent"),
    ):  # fmt: skip
        row = report[key]
        kinds = (str(row["outcomes"][kind]) for kind in LOST)
        table.append((name, str(row["balls"]), percent(row["in_court"]), *kinds))
    safe = report["safe"]
    text = (
        "Single legal balls to a robot that stands ready, to be sent to the middle of the court, seed "
        f"{report['seed']}; {report['balls']} in all. {percent(safe)} % of evenly drawn balls come back together with "
        f"{safe['like']} balls like them (σ = {safe['width']} of each range): that share of the space is safe."
    )
    worst = [("outcome", "released at x, y, z m", "speed m/s", "spin rpm", "meets at x, y, z m", "after s")]
    for row in report["worst"]:
        release, meets = (", ".join(f"{v:.2f}" for v in row[key]) for key in ("release_m", "meets_m"))
        speed, after = f"{row['speed_m_s']:.1f}", f"{row['meets_after_s']:.2f}"
        worst.append((row["outcome"], release, speed, str(row["spin_rpm"]), meets, after))
    film = None if video is None else (video, f"The worst balls, {what}")
    return [
        Section(f"Against an adversary, {what}", [text], table),
        Section(
            f"Its worst balls, {what}",
            [] if film is None else ["In the order of the video."],
            worst,
            video=film,
        ),
    ]


if __name__ == "__main__":
    main()
