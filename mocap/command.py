"""The command `rally-retarget`."""

from __future__ import annotations

import sys

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from humanoid.motion import MotionError
from mocap.clip import ClipError
from mocap.config import AppConfig
from mocap.pipeline import find_clips, run

ConfigStore.instance().store(name="schema", node=AppConfig)


@hydra.main(version_base="1.3", config_path="conf", config_name="retarget")
def main(config: DictConfig) -> None:
    """Hydra's entry point; exits with 0 when all clips were retargeted, 1 when any failed, 2 when nothing
    could be done.
    """
    sys.exit(execute(config))


def execute(config: DictConfig) -> int:
    """Run the command for a composed configuration; returns the exit code."""
    missing = [key for key in ("input", "output") if OmegaConf.is_missing(config, key)]
    if missing:
        return _complain(f"{' and '.join(f'{k}=PATH' for k in missing)} missing; see rally-retarget --help")
    try:
        app = OmegaConf.to_object(config)
    except OmegaConfBaseException as e:
        return _complain(str(e).splitlines()[0])
    assert isinstance(app, AppConfig)
    problem = _check(app)
    if problem:
        return _complain(problem)
    failed = done = 0
    try:
        from pathlib import Path

        total = len(find_clips(Path(app.input)))
        with tqdm(total=total, unit="clip", disable=not app.progress or None, file=sys.stderr) as bar:
            for report in run(app, lambda text: bar.write(text, file=sys.stdout)):
                done += 1
                failed += not report.ok
                bar.update()
    except (ClipError, MotionError) as e:
        return _complain(str(e))
    except KeyboardInterrupt:
        return _complain(
            f"interrupted after {done} clips; their motions and report.json are in {app.output}, "
            "and resume=true goes on"
        )
    except OSError as e:
        return _complain(f"{e.filename or app.output}: {e.strerror}; what was written before is kept")
    print(f"{done - failed} of {done} clips retargeted to {app.output}, report in {app.output}/report.json")
    return 1 if failed else 0


def _check(app: AppConfig) -> str | None:
    """What is wrong with a value, or None."""
    if app.hand not in (None, "right", "left"):
        return f"hand={app.hand}: choose right or left"
    if app.clean.nan_frames not in ("error", "interpolate"):
        return f"clean.nan_frames={app.clean.nan_frames}: choose error or interpolate"
    if app.unit_m is not None and not app.unit_m > 0.0:
        return f"unit_m={app.unit_m}: give a positive number of metres per unit, for example 0.01"
    if app.fps is not None and not 1.0 <= app.fps <= 10000.0:
        return f"fps={app.fps}: give frames a second between 1 and 10000"
    if app.workers is not None and app.workers < 1:
        return f"workers={app.workers}: give at least 1, or leave it out for all cores"
    if not 10.0 <= app.retarget.fps <= 1000.0:
        return f"retarget.fps={app.retarget.fps}: give frames a second between 10 and 1000"
    if not 0.5 <= app.retarget.leg_stretch < 1.0:
        return f"retarget.leg_stretch={app.retarget.leg_stretch}: give a fraction from 0.5 to below 1"
    return None


def _complain(text: str) -> int:
    print(f"rally-retarget: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
