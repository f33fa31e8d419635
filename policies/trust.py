"""The command `rally-report`: one page that says how far to trust a policy.

It looks for no figures of its own. What rally-eval, rally-faults, rally-adversary, rally-influence and
rally-reward-check found about this very bundle is put together, held against what a use of the policy asks for
(`REQUIREMENTS`), and written as one HTML file that needs nothing else, videos included. A figure is taken at the
cautious end of its interval; what was not tested is not met.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING

from humanoid.app import run_app
from humanoid.approval import USES
from humanoid.bundle import BundleError, PolicyBundle
from humanoid.joints import EFFORT_LIMIT, JOINT_NAMES, LOWER, UPPER, VELOCITY_LIMIT
from policies import adversary_command, faults_command, influence, reward_check
from policies.evaluate import prepare
from policies.evaluation import Evaluation, EvaluationError, read_evaluation, read_json, written
from policies.report import (
    Report,
    Section,
    figure_axes,
    outcome_table,
    plot_landings,
    png,
    provenance,
    result_table,
    safety_table,
    split_table,
    write_bytes,
)
from sim.coverage import SPACES, survey
from sim.gl import RenderUnavailable
from sim.launcher import LEVELS, Launcher
from sim.recording import Recording, RecordingError

CONF = Path(__file__).with_name("conf")
COVERAGE_BALLS = 400
"""The space of balls is surveyed with so many draws: the reference is eight times as many."""
WRITTEN = {
    "report.json": "eval",
    "faults.json": "faults",
    "adversary.json": "adversary",
    "influence.json": "influence",
    "reward_check.json": "reward-check",
}
"""What is evidence, by file name, and the command it comes from."""


@dataclass(frozen=True)
class Evidence:
    """What was found about one bundle.

    Attributes:
        evaluations: by level, condition and whether behind the shield.
        faults: of rally-faults. adversary: of rally-adversary, by level and condition. influence: of rally-influence.
            reward_check: of rally-reward-check.
        videos: recordings of worst balls, by level and condition.
        others: files about other bundles, which are not used.
    """

    evaluations: dict[tuple[str, str, bool], Evaluation]
    faults: dict[str, Any] | None
    adversary: dict[tuple[str, str], dict[str, Any]]
    influence: dict[str, Any] | None
    reward_check: dict[str, Any] | None
    videos: dict[tuple[str, str], Path]
    others: tuple[Path, ...]

    def report(self, level: str, condition: str, shield: bool = False) -> dict[str, Any] | None:
        """A report of rally-eval, or None."""
        found = self.evaluations.get((level, condition, shield))
        return None if found is None else found.report


@dataclass(frozen=True)
class Requirement:
    """What a use of a policy asks for.

    Attributes:
        text: in words. bound: and its number. least: whether the figure must be the bound or more, else or less.
        measure: the figure, cautiously, or None where there is none. unit: of both.
        use: the first of `humanoid.approval.USES` that asks for it; those after it do too.
        why: reason for the bound.
    """

    text: str
    bound: float
    least: bool
    measure: Callable[[Evidence], float | None]
    unit: str
    use: str
    why: str

    def met(self, evidence: Evidence) -> bool:
        """Whether it is."""
        value = self.measure(evidence)
        return value is not None and (value >= self.bound if self.least else value <= self.bound)


def _in_court(level: str, condition: str) -> Callable[[Evidence], float | None]:
    def measure(evidence: Evidence) -> float | None:
        report = evidence.report(level, condition)
        return None if report is None else 100 * report["in_court"]["low"]

    return measure


def _falls(level: str, condition: str) -> Callable[[Evidence], float | None]:
    def measure(evidence: Evidence) -> float | None:
        report = evidence.report(level, condition)
        return None if report is None else report["falls_per_100"]

    return measure


def _faults(read: Callable[[dict[str, Any]], float | None]) -> Callable[[Evidence], float | None]:
    return lambda evidence: None if evidence.faults is None else read(evidence.faults)


def _false_stops(faults: dict[str, Any]) -> float | None:
    return faults["clean"]["false_stops_per_hour"] if faults["clean"] else None


def _beyond(evidence: Evidence) -> float | None:
    report = evidence.report("feed", "nominal", shield=True)
    return None if report is None else 100.0 * report["safety"]["position_violations"] / report["balls"]


def _adversarial(part: str) -> Callable[[Evidence], float | None]:
    def measure(evidence: Evidence) -> float | None:
        report = evidence.adversary.get(("feed", "nominal"))
        if report is None:
            return None
        return 100 * (report[part] if part == "safe" else report[part]["in_court"])["low"]

    return measure


REQUIREMENTS = (
    Requirement("faults that the watch finds before harm", 99.0, True,
                _faults(lambda f: 100 * f["all"]["detected"]["low"]), "%", "tethered",
                "what breaks on a robot must stop it; the tether catches the hundredth"),
    Requirement("faults that come to harm first", 1.0, False,
                _faults(lambda f: 100 * f["all"]["harmed_first"]["high"]), "%", "tethered", "the other side of it"),
    Requirement("stops for no reason in clean play", 1.0, False, _faults(_false_stops), "an hour", "tethered",
                "a watch that cries wolf is switched off"),
    Requirement("falls, feed, nominal", 0.5, False, _falls("feed", "nominal"), "per 100 balls", "tethered",
                "fewer than one in a session of 200 balls"),
    Requirement("joint steps beyond a range behind the shield, feed", 1.0, False, _beyond, "per 100 balls", "tethered",
                "the stops are hard; a touch at low speed is not damage"),
    Requirement("in court, feed, real", 90.0, True, _in_court("feed", "real"), "%", "free",
                "who stands near must know where the ball goes"),
    Requirement("falls, feed, real", 0.5, False, _falls("feed", "real"), "per 100 balls", "free",
                "a free robot that falls breaks"),
    Requirement("feasible balls that come back with all those like them, feed", 80.0, True, _adversarial("safe"), "%",
                "free", "no holes in the space of what people play"),
    Requirement("balls of a learned opponent that come back, feed", 50.0, True, _adversarial("opponent"), "%", "free",
                "whoever looks for weak points finds few"),
    Requirement("hours on a real robot", 10.0, True, lambda evidence: 0.0, "h", "free",
                "simulation says nothing of cables, heat and wear; none so far"),
)  # fmt: skip


@dataclass
class TrustConfig:
    """Schema of policies/conf/report.yaml.

    Attributes:
        policy: a released policy by name, or a bundle's folder (with a slash).
        evidence: folders with what rally-eval, rally-faults, rally-adversary, rally-influence and rally-reward-check
            wrote.
        output: the page, .html.
        videos: render and embed the worst balls. coverage: survey the space of balls.
        width, height: of the videos.
    """

    policy: str = MISSING
    evidence: list[str] = field(default_factory=list)
    output: str = MISSING
    videos: bool = True
    coverage: bool = True
    width: int = 640
    height: int = 360


def main(arguments: Sequence[str] | None = None) -> None:
    """The console command; exits with 0 when the page was written, else 2 or 130."""
    code = run_app(
        "rally-report",
        run,
        conf=CONF,
        schema=TrustConfig,
        config_name="report",
        expected=(BundleError, EvaluationError),
        arguments=arguments,
    )
    sys.exit(code)


def run(app: TrustConfig) -> int:
    """Write the page; returns the exit code.

    Raises:
        BundleError, EvaluationError: what is wrong with the policy, a value or a file.
    """
    output = Path(app.output)
    if output.suffix != ".html":
        raise EvaluationError(f"output={app.output}: give a name that ends in .html")
    policy = PolicyBundle.load(app.policy)
    evidence = gather(policy.bundle_sha256, [Path(name) for name in app.evidence])
    prepare(output.parent)
    videos = films(evidence.videos, app.width, app.height) if app.videos else {}
    page = make_page(policy, evidence, videos, app.coverage)
    written(output, lambda path: write_bytes(path, page.html().encode()))
    verdict, lacking = judge(evidence)
    print(f"{policy.name}: {VERDICTS[verdict]}")
    for requirement in lacking:
        print(f"  lacking for {requirement.use}: {line(requirement, evidence)}")
    if evidence.others:
        print(f"  not used, of other bundles: {', '.join(map(str, evidence.others))}")
    print(
        f"{output} ({output.stat().st_size / 1e6:.1f} MB, SHA-256 {hashlib.sha256(output.read_bytes()).hexdigest()})"
    )
    return 0


def gather(sha: str, folders: Sequence[Path]) -> Evidence:
    """What folders hold about the bundle `sha`.

    Raises:
        EvaluationError: no such folder, a damaged file, or two files about the same.
    """
    evaluations: dict[tuple[str, str, bool], Evaluation] = {}
    adversary: dict[tuple[str, str], dict[str, Any]] = {}
    videos: dict[tuple[str, str], Path] = {}
    single: dict[str, dict[str, Any]] = {}
    others: list[Path] = []

    def put(target: dict, key: Any, value: Any, file: Path) -> None:
        if key in target:
            raise EvaluationError(f"{file}: a second one about the same; leave one of them out")
        target[key] = value

    for folder in folders:
        if not folder.is_dir():
            raise EvaluationError(f"evidence={folder}: no such folder")
        for file in sorted(folder.rglob("*.json")):
            if file.name not in WRITTEN:
                continue
            content = read_json(file, f"rally-{WRITTEN[file.name]}", lambda c: c["bundle_sha256"])
            if content["bundle_sha256"] != sha:
                others.append(file)
            elif file.name == "report.json":
                found = read_evaluation(file.parent)
                report = found.report
                key = (report["level"], report["condition"], report["shield"] is not None)
                if report.get("solid", True):
                    put(evaluations, key, found, file)
                else:
                    others.append(file)
            elif file.name == "adversary.json":
                report = adversary_command.read_report(file)
                put(adversary, (report["level"], report["condition"]), report, file)
                recording = file.with_name("recording.npz")
                if recording.exists():
                    videos[report["level"], report["condition"]] = recording
            else:
                put(single, file.stem, content, file)
    order = {level: place for place, level in enumerate(LEVELS)}
    evaluations = dict(sorted(evaluations.items(), key=lambda row: (row[0][2], row[0][1], order[row[0][0]])))
    return Evidence(
        evaluations, single.get("faults"), adversary, single.get("influence"), single.get("reward_check"), videos,
        tuple(others),
    )  # fmt: skip


def judge(evidence: Evidence) -> tuple[str, list[Requirement]]:
    """The farthest use that all requirements are met for, and the requirements that are not met."""
    lacking = [requirement for requirement in REQUIREMENTS if not requirement.met(evidence)]
    verdict = USES[0]
    for use in USES[1:]:
        if any(USES.index(requirement.use) <= USES.index(use) for requirement in lacking):
            break
        verdict = use
    return verdict, lacking


VERDICTS = {
    "simulation": "trust it in simulation, and on no robot",
    "tethered": "it may be tried on a tethered robot, with a person at the switch",
    "free": "it may be tried on a robot that stands free, with a person at the switch",
}


def line(requirement: Requirement, evidence: Evidence) -> str:
    """A requirement and what was measured, in words."""
    value = requirement.measure(evidence)
    measured = "not tested" if value is None else f"{value:.1f} {requirement.unit}"
    sign = "≥" if requirement.least else "≤"
    return f"{requirement.text}: wanted {sign} {requirement.bound:g} {requirement.unit}, found {measured}"


def films(
    recordings: Mapping[tuple[str, str], Path], width: int, height: int
) -> dict[tuple[str, str], bytes]:
    """Videos (mp4) of recordings; without what they need, none, and a line says so.

    Raises:
        EvaluationError: a damaged recording.
    """
    from sim.render import render

    out = {}
    for key, path in recordings.items():
        try:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "worst.mp4"
                render(Recording.load(path), file, width=width, height=height, close_up=False, replay=False)
                out[key] = file.read_bytes()
        except RenderUnavailable as error:
            print(f"no videos: {error}")
            break
        except RecordingError as error:
            raise EvaluationError(f"{path}: {error}") from None
    return out


def make_page(
    policy: PolicyBundle, evidence: Evidence, videos: Mapping[tuple[str, str], bytes], coverage: bool = True
) -> Report:
    """The page, see the module."""
    verdict, lacking = judge(evidence)
    rows = [("asked for by", "what", "found", "met", "why this bound")]
    for requirement in REQUIREMENTS:
        what, found = line(requirement, evidence).split(", found ")
        met = "yes" if requirement not in lacking else "no"
        rows.append((requirement.use, what, found, met, requirement.why))
    sections = [
        Section(
            "Verdict",
            [
                f"{policy.name}: {VERDICTS[verdict]}.",
                f"Bundle SHA-256 {policy.bundle_sha256}. Rates count at the cautious end of their 95 % interval; what "
                "was not tested is not met. A person decides: rally-approve shows this and asks.",
            ],
            rows,
        )
    ]
    plain = {key[:2]: e for key, e in evidence.evaluations.items() if not key[2]}
    for condition in dict.fromkeys(key[1] for key in plain):
        main = {level: e for (level, c), e in plain.items() if c == condition}
        sections += _returns(policy.name, condition, main)
    if evidence.evaluations:
        sections.append(_margins_section(evidence))
    shielded = {level: e for (level, _, shield), e in evidence.evaluations.items() if shield}
    if shielded:
        sections.append(
            Section("Behind the shield", ["The same balls, with the safety shield between policy and motors."],
                    result_table({policy.name: shielded}))
        )  # fmt: skip
    sections += _found("Faults", "rally-faults", evidence.faults, faults_command.sections)
    for key, report in evidence.adversary.items():
        sections += adversary_command.sections(report, videos.get(key))
    if not evidence.adversary:
        sections += _found("Against an adversary", "rally-adversary", None, adversary_command.sections)
    if coverage and plain:
        sections.append(_coverage_section(plain))
    sections += _found("What the policy relies on", "rally-influence", evidence.influence, influence.sections)
    again = ("Trained again with the same reward", "rally-reward-check")
    sections += _found(*again, evidence.reward_check, reward_check.sections)
    sections.append(_limits_section())
    sources = [("source", "licence", "attribution")]
    sources += [(s["name"], s["licence"], s["attribution"]) for s in policy.manifest["data_sources"]]
    sections.append(
        Section("Data and licences", [f"Licence of the policy: {policy.manifest['licence']}"], sources)
    )
    if plain:
        first = next(iter(dict.fromkeys(key[1] for key in plain)))
        results = {policy.name: {level: e for (level, c), e in plain.items() if c == first}}
        sections.append(Section("Provenance", [], [("what", "value"), *provenance(results).items()]))
    return Report(f"How far to trust {policy.name}", sections)


def _returns(name: str, condition: str, main: Mapping[str, Evaluation]) -> list[Section]:
    results = {name: main}
    balls = ", ".join(f"{level} {e.report['balls']}" for level, e in main.items())
    return [
        Section(
            f"Returns, {condition}",
            [
                f"Balls: {balls}; seed {next(iter(main.values())).report['seed']}. In court: the first bounce is in "
                "the opponent's singles court. Success: within 2.5 m of the target. In brackets Wilson 95 % intervals."
            ],
            result_table(results),
            ("landings.png", plot_landings(main), f"Where balls landed, {condition}"),
        ),
        Section(f"Outcomes, {condition}", [], outcome_table(results)),
        Section(f"By stroke and zone, {condition}", ["In court %."], split_table(main)),
        Section(f"Joints and body, {condition}", ["Joint steps beyond a limit."], safety_table(results)),
    ]


def _found(
    title: str,
    command: str,
    report: dict[str, Any] | None,
    sections: Callable[[dict[str, Any]], list[Section]],
) -> list[Section]:
    """A command's own sections, or one that says it was not run."""
    if report is None:
        return [Section(title, [f"Not tested: {command} was not run on this bundle."])]
    return sections(report)


def _margins_section(evidence: Evidence) -> Section:
    return Section(
        "Joint margins",
        [
            "How near each joint came to the end of its range, to its largest speed and to its largest torque, as a "
            "share of the limit. Red is beyond it: a position beyond its stop, a torque that was asked for and not "
            "there."
        ],
        (),
        ("margins.png", plot_heat(evidence.evaluations), "Closest margin of every joint in every evaluation"),
    )


def plot_heat(evaluations: Mapping[tuple[str, str, bool], Evaluation]) -> bytes:
    """Closest margins, joints as rows and evaluations as columns, a panel for each quantity; PNG."""
    limits = {
        "position": ("closest_position_margin_rad", 0.5 * (UPPER - LOWER)),
        "velocity": ("closest_velocity_margin_rad_s", VELOCITY_LIMIT),
        "torque": ("closest_torque_margin_nm", EFFORT_LIMIT),
    }
    figure, axes = figure_axes(3.4 + 0.55 * len(limits) * len(evaluations), 7.6, len(limits))
    columns = [f"{level} {c}{' shield' if shield else ''}" for level, c, shield in evaluations]
    image = None
    for panel, (name, (key, limit)) in zip(axes, limits.items(), strict=True):
        values = [
            [e.report["safety"]["by_joint"][joint][key] for joint in JOINT_NAMES]
            for e in evaluations.values()
        ]
        share = 100 * np.array(values, dtype=float).T / limit[:, None]
        image = panel.imshow(np.clip(share, -50, 50), cmap="RdYlGn", vmin=-50, vmax=50, aspect="auto")
        panel.set_title(name)
        panel.set_xticks(range(len(columns)), columns, rotation=90, fontsize=8)
        panel.set_yticks([])
    axes[0].set_yticks(range(len(JOINT_NAMES)), [n.removesuffix("_joint") for n in JOINT_NAMES], fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.5, label="% of the limit")
    return png(figure)


def _coverage_section(plain: Mapping[tuple[str, str], Evaluation]) -> Section:
    table: list[tuple[str, ...]] = [
        ("level", "balls judged", "in", "cells hit %", "ideal %", "discrepancy", "ideal")
    ]
    for level, balls in {level: e.report["balls"] for (level, _), e in plain.items()}.items():
        number = min(balls, COVERAGE_BALLS)
        found = survey(Launcher(level), number, next(iter(plain.values())).report["seed"])
        for name, (drawn, even) in found.rows().items():
            shares = ("–" if c.occupied is None else f"{100 * c.occupied:.0f}" for c in (drawn, even))
            table.append(
                (level, str(balls), name, *shares, f"{drawn.discrepancy:.3f}", f"{even.discrepancy:.3f}")
            )
    return Section(
        "What was tried, and what not",
        [
            f"How evenly draws like those judged fill the space of feasible balls, by {COVERAGE_BALLS} draws (or as "
            "many as were judged, if fewer). Cells hit: of those that should hold a ball. Discrepancy: largest "
            "difference of a box's share from what is feasible. Ideal: as many balls of a Sobol sequence. Spaces: "
            f"{', '.join(SPACES)}."
        ],
        table,
    )


def _limits_section() -> Section:
    return Section(
        "Limits of validity",
        [
            "Everything here is simulation: MuJoCo with rigid bodies, ideal position servos with torque limits, a flat "
            "floor, one court, one racket. Nothing was verified on a robot.",
            "The faults are those of the list, one at a time. The watch's thresholds come from clean play of this "
            "policy.",
            "The adversary keeps to the ranges of its level, and to one ball at a time.",
            "Rates are of the balls that were drawn; see what was tried, and what not.",
        ],
    )


if __name__ == "__main__":
    main()
