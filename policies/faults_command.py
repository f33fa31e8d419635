"""The command `rally-faults`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING
from tqdm import tqdm

from humanoid.app import run_app
from humanoid.bundle import BundleError, PolicyBundle
from humanoid.watch import WatchError
from policies.evaluate import percent, prepare, write_text
from policies.evaluation import EvaluationConfig, EvaluationError, write_json
from policies.faults import FAULTS, FaultBench, FaultConfig, false_alarms, summarise
from policies.report import Report, Section

CONF = Path(__file__).with_name("conf")


@dataclass
class FaultsConfig:
    """Schema of policies/conf/faults.yaml.

    Attributes:
        policy: name or folder of a bundle. output: folder of the report.
        level, condition, trials, clean_minutes, seed, envs, threads: see `policies.faults.FaultConfig`.
        only: names of faults; none: all.
        progress: show bars.
    """

    policy: str = MISSING
    output: str = MISSING
    level: str = "feed"
    condition: str = "nominal"
    trials: int = 500
    clean_minutes: float = 60.0
    only: list[str] = field(default_factory=list)
    seed: int = 0
    envs: int = 128
    threads: int = 0
    progress: bool = True


def main(arguments: Sequence[str] | None = None) -> None:
    """The console command; exits with 0 when the report was written, else 2 or 130."""
    code = run_app(
        "rally-faults",
        run,
        conf=CONF,
        schema=FaultsConfig,
        config_name="faults",
        expected=(BundleError, EvaluationError, WatchError),
        arguments=arguments,
    )
    sys.exit(code)


def run(app: FaultsConfig) -> int:
    """Try all faults on one policy; returns the exit code.

    Raises:
        BundleError, EvaluationError: what is wrong with the policy or a value.
    """
    names = [fault.name for fault in FAULTS]
    unknown = sorted(set(app.only) - set(names))
    if unknown:
        raise EvaluationError(f"only={','.join(unknown)}: choose among {', '.join(names)}")
    EvaluationConfig(app.level, app.condition, seed=app.seed, envs=app.envs, threads=app.threads).check()
    if app.trials < 1:
        raise EvaluationError(f"trials={app.trials}: give 1 or more")
    policy = PolicyBundle.load(app.policy)
    folder = Path(app.output)
    prepare(folder)
    report = try_faults(policy, app)
    write_json(folder / "faults.json", report)
    text = Report(f"{report['policy']}: faults", sections(report)).markdown()
    write_text(folder / "faults.md", text)
    print(text)
    print(f"{folder}/faults.json")
    return 0


def try_faults(policy: PolicyBundle, app: FaultsConfig) -> dict[str, Any]:
    """The report, JSON-able: docs/safety.md describes every field."""
    started = time.monotonic()
    config = FaultConfig(
        app.level, app.condition, app.trials, app.clean_minutes, app.seed, app.envs, app.threads
    )
    bench = FaultBench(policy, config, policy.clean_play)
    chosen = tuple(fault for fault in FAULTS if not app.only or fault.name in app.only)
    dt = bench.dt
    clean_length = sum(config.before) / 2 + config.after
    clean_trials = round(60 * config.clean_minutes / clean_length)
    total = len(chosen) * config.trials + clean_trials
    with tqdm(total=total, unit="trial", disable=None if app.progress else True, file=sys.stderr) as bar:
        clean = bench.run((None,), clean_trials, bar.update) if clean_trials else []
        worst = bench.watch.worst()
        outcomes = bench.run(chosen, config.trials, bar.update)
    rows = {}
    for fault in chosen:
        own = summarise([outcome for outcome in outcomes if outcome.fault == fault.name], dt)
        rows[fault.name] = {"text": fault.text, **own}
    return {
        "policy": policy.name,
        "bundle_sha256": policy.bundle_sha256,
        "level": config.level,
        "condition": config.condition,
        "seed": config.seed,
        "envs": config.envs,
        "trials": config.trials,
        "limits": {name: asdict(limits) for name, limits in bench.watch.limits.items()},
        "faults": rows,
        "all": summarise(outcomes, dt),
        "clean": false_alarms(clean, dt) if clean else None,
        "clean_worst": worst if clean else None,
        "wall_s": time.monotonic() - started,
    }


def sections(report: dict[str, Any]) -> list[Section]:
    """The report for people, here and on the page of rally-report."""
    table = [("fault", "stopped %", "harm before %", "delay ms: median, 90 %, longest", "found by")]
    for name, row in [*report["faults"].items(), ("all", report["all"])]:
        delay = row["delay_ms"]
        delays = f"{delay['p50']:.0f}, {delay['p90']:.0f}, {delay['max']:.0f}" if delay else "–"
        found = ", ".join(list(row["checks"])[:3]) or "–"
        text = f"{name}: {row['text']}" if "text" in row else name
        table.append((text, percent(row["detected"]), percent(row["harmed_first"]), delays, found))
    text = [
        f"{report['trials']} trials of each kind at {report['level']}, {report['condition']}, seed {report['seed']}. "
        "Harm is a fall, a joint far beyond its range, or one faster than its motor can turn."
    ]
    clean = report["clean"]
    if clean:
        checks = ", ".join(f"{check} {count}" for check, count in clean["checks"].items()) or "none"
        text.append(
            f"Clean play: {clean['hours']:.2f} robot hours, {clean['false_stops']} false stops "
            f"({clean['false_stops_per_hour']:.1f} an hour; {checks}); of {clean['falls']} falls "
            f"{clean['falls_stopped_before']} were stopped before."
        )
    return [Section("Faults", text, table)]


if __name__ == "__main__":
    main()
