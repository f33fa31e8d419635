"""The command `rally-render`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from humanoid.motion import MotionError, RobotMotion
from sim.gl import RenderUnavailable
from sim.recording import Recording, RecordingError


@dataclass
class RenderConfig:
    """Schema of policies/conf/render.yaml.

    Attributes:
        recording: file of a game, as rally-eval writes it. Give this or ``motion``.
        motion: file of a robot motion, shown without physics.
        output: video (.mp4), or for a motion also a filmstrip (.png).
        width, height: even numbers, [pixels].
        fps: frames a second of the video.
        quality: draft, standard or high.
        close_up: show the player from the front in a corner.
        replay: end a game with its best stroke in slow motion.
        pictures: number of pictures in a filmstrip.
        progress: show a progress bar when the output is a terminal.
    """

    recording: str | None = None
    motion: str | None = None
    output: str = MISSING
    width: int = 1280
    height: int = 720
    fps: float = 25.0
    quality: str = "standard"
    close_up: bool = True
    replay: bool = True
    pictures: int = 7
    progress: bool = True


ConfigStore.instance().store(name="render_schema", node=RenderConfig)


@hydra.main(version_base="1.3", config_path="conf", config_name="render")
def main(config: DictConfig) -> None:
    """Hydra's entry point; exits with 0 when the file was written, else 2."""
    sys.exit(execute(config))


def execute(config: DictConfig) -> int:
    """Run the command for a composed configuration; returns the exit code."""
    if OmegaConf.is_missing(config, "output"):
        return _complain("output=FILE.mp4 is missing; see rally-render --help")
    try:
        app = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        return _complain(str(error).splitlines()[0])
    assert isinstance(app, RenderConfig)
    problem = _check(app)
    if problem:
        return _complain(problem)
    try:
        print(_run(app))
    except (RecordingError, MotionError, RenderUnavailable) as error:
        return _complain(str(error))
    except OSError as error:
        reason = f"{error.filename or app.output}: {error.strerror}" if error.strerror else str(error)
        return _complain(f"{reason}; no file was written")
    except KeyboardInterrupt:
        return _complain("interrupted; no file was written")
    return 0


def _check(app: RenderConfig) -> str | None:
    """What is wrong with a value, or None."""
    from sim.render import QUALITIES

    if (app.recording is None) == (app.motion is None):
        return "give either recording=FILE.npz or motion=FILE.npz; see rally-render --help"
    suffix = Path(app.output).suffix.lower()
    allowed = (".mp4",) if app.recording is not None else (".mp4", ".png")
    if suffix not in allowed:
        return f"output={app.output}: give a name that ends in {' or '.join(allowed)}"
    if app.quality not in QUALITIES:
        return f"quality={app.quality}: choose {', '.join(QUALITIES)}"
    for key, largest in (("width", 3840), ("height", 2160)):
        value = getattr(app, key)
        if value % 2 or not 64 <= value <= largest:
            return f"{key}={value}: give an even number from 64 to {largest}"
    if not 1.0 <= app.fps <= 240.0:
        return f"fps={app.fps}: give frames a second from 1 to 240"
    if not 2 <= app.pictures <= 40:
        return f"pictures={app.pictures}: give a number from 2 to 40"
    return None


def _run(app: RenderConfig) -> str:
    """Render; returns the line to print."""
    from sim.render import motion_recording, render, render_strip

    if app.motion is not None and Path(app.output).suffix.lower() == ".png":
        motion = RobotMotion.load(app.motion)
        path = render_strip(motion, app.output, count=app.pictures, quality=app.quality)
        return f"{path}: {app.pictures} pictures of {motion.name}"
    if app.motion is not None:
        recording = motion_recording(RobotMotion.load(app.motion))
    else:
        assert app.recording is not None
        recording = Recording.load(app.recording)
    report = render(
        recording,
        app.output,
        width=app.width,
        height=app.height,
        fps=app.fps,
        quality=app.quality,
        close_up=app.close_up and app.recording is not None,
        replay=app.replay,
        stadium=app.recording is not None,
        progress=app.progress and sys.stderr.isatty(),
    )
    return (
        f"{report.path}: {report.frames / app.fps:.1f} s of video, {report.frames} frames, "
        f"{report.seconds_per_frame:.2f} s a frame"
    )


def _complain(text: str) -> int:
    print(f"rally-render: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
