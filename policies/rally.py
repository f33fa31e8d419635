"""The main job: a stroke from motion capture, the shipped policy judged beside a robot that only stands, a
report and a video. `make rally` runs it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from humanoid.app import run_app
from humanoid.bundle import BundleError, PolicyBundle
from humanoid.motion import MotionError, RobotMotion
from policies.evaluate import judge, prepare, text_table
from policies.evaluation import (
    Evaluation,
    EvaluationConfig,
    EvaluationError,
    write_evaluation,
    write_json,
    written,
)
from policies.report import write_report
from sim.gl import RenderUnavailable
from sim.launcher import LEVELS

CONF = Path(__file__).with_name("conf")
STROKES = Path(__file__).resolve().parent.parent / "assets" / "motions" / "strokes_caldas"


@dataclass
class RallyConfig:
    """Schema of policies/conf/rally.yaml.

    Attributes:
        policy: that is judged; a released policy, or a bundle's folder (with a slash). "stand" only stands.
        baseline: that is judged beside it with the same balls.
        balls: judged at each level.
        condition: nominal or real. seed: of everything random.
        stroke: of assets/motions/strokes_caldas that is shown.
        video: whether to render; video_level: level of the episode that is shown; quality: of the pictures.
        threads: of the physics, 0 for all cores.
        output: folder of everything.
    """

    policy: str = "strike"
    baseline: str = "stand"
    balls: int = 200
    condition: str = "nominal"
    seed: int = 0
    stroke: str = "forehand_08"
    video: bool = True
    video_level: str = "feed"
    quality: str = "standard"
    threads: int = 0
    output: str = "out/rally"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the main job; exits with 0 when all figures were written, else 2 or 130."""
    code = run_app(
        "rally",
        run,
        conf=CONF,
        schema=RallyConfig,
        config_name="rally",
        expected=(BundleError, EvaluationError, MotionError),
        arguments=arguments,
    )
    sys.exit(code)


def run(app: RallyConfig) -> int:
    """Do it all; returns the exit code."""
    begin = time.perf_counter()
    EvaluationConfig("feed", app.condition, app.balls, app.seed, threads=app.threads).check()
    stroke = find_stroke(app.stroke)
    if app.video_level not in LEVELS:
        raise EvaluationError(f"video_level={app.video_level}: choose {', '.join(LEVELS)}")
    names = dict.fromkeys((app.policy, app.baseline))
    policies = [PolicyBundle.load(name) for name in names]
    output = Path(app.output)
    prepare(output)

    print("1/4  A stroke, from a person to the robot")
    made = show_stroke(stroke, output, pictures=app.video)
    print(f"\n2/4  {app.balls} balls a level, three levels, {' and '.join(p.name for p in policies)}")
    results: dict[str, dict[str, Evaluation]] = {}
    for policy in policies:
        results[policy.name] = {}
        for level in LEVELS:
            record = int(policy is policies[0] and level == app.video_level)
            config = EvaluationConfig(
                level, app.condition, app.balls, app.seed, threads=app.threads, record=record
            )
            evaluation = judge(policy, config)
            write_evaluation(output / policy.name / level, evaluation)
            results[policy.name][level] = evaluation
        print(f"\n{policy.name}\n{text_table([e.report for e in results[policy.name].values()])}")
    print("\n3/4  Report")
    summary = {name: [e.report for e in levels.values()] for name, levels in results.items()}
    written(output / "summary.json", lambda path: write_json(path, summary))
    made += write_report(output, results, {"stroke shown": app.stroke})
    made += [output / "summary.json"]
    print("\n4/4  Video")
    recording = results[policies[0].name][app.video_level].recording
    if not app.video:
        print("not asked for (video=false)")
    elif recording is not None:
        made += film(recording, output / "rally.mp4", app.quality)
    print(f"\nDone in {time.perf_counter() - begin:.0f} s:")
    for path in made:
        print(f"  {path}")
    print(f"  {output}/POLICY/LEVEL/report.json and balls.csv")
    return 0


def find_stroke(name: str) -> dict:
    """Entry of a shipped stroke in its set's manifest.

    Raises:
        EvaluationError: there is no such stroke.
    """
    manifest = json.loads((STROKES / "manifest.json").read_text())
    strokes = {stroke["name"]: stroke for stroke in manifest["strokes"]}
    if name not in strokes:
        raise EvaluationError(f"stroke={name}: choose {', '.join(strokes)}")
    return strokes[name]


def show_stroke(stroke: dict, output: Path, pictures: bool = True) -> list[Path]:
    """Print what a retargeted stroke is worth and draw its filmstrip; gives the files made."""
    print(quality_line(stroke))
    if not pictures:
        return []
    try:
        from sim.render import render_strip

        motion = RobotMotion.load(STROKES / stroke["file"])
        path = written(output / "stroke.png", lambda path: render_strip(motion, path))
        return [path]
    except (RenderUnavailable, ImportError) as error:
        print(f"no filmstrip: {error}")
        return []


def quality_line(stroke: dict) -> str:
    """What retargeting measured about one stroke of a set's manifest."""
    q, strike, source = stroke["quality"], stroke["strike"], stroke["source"]
    through, beyond, fast = (
        f"{100 * q[key]:.1f} %"
        for key in ("penetration_fraction", "limit_violations", "velocity_violations_fraction")
    )
    return (
        f"{stroke['name']}, {stroke['kind']}, from {source['clip']} at {source['strike_s']:.1f} s: "
        f"racket {strike['speed_m_s']:.1f} m/s at the strike, face {strike['square_deg']:.1f}° off its way\n"
        f"feet slide {100 * q['slide_m_s']:.1f} cm/s, through the floor in {through} of the frames; "
        f"limbs {q['direction_error_deg']:.1f}° from the person's; "
        f"beyond joint limits {beyond}, beyond motor speeds {fast}"
    )


def film(recording, path: Path, quality: str = "standard") -> list[Path]:
    """Render a recording; gives the files made, none where pictures cannot be had, and says why."""
    try:
        from sim.render import render

        report = render(recording, path, quality=quality, progress=sys.stderr.isatty())
    except (RenderUnavailable, ImportError) as error:
        print(f"no video: {error}")
        return []
    except OSError as error:
        reason = error.strerror or str(error)
        raise EvaluationError(f"{path}: not written ({reason}); make room or choose another place") from None
    print(f"{report.frames} frames, {report.seconds_per_frame:.2f} s a frame")
    return [path]


if __name__ == "__main__":
    main()
