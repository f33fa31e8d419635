"""Videos of recordings and motions, and filmstrips of motions. Needs the ``render`` extra and OpenGL (EGL).

Where either is missing, :class:`sim.gl.RenderUnavailable` says so in one line and callers go on without.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from humanoid.files import atomic_write
from humanoid.motion import RobotMotion
from sim.camera import View
from sim.gl import RenderUnavailable
from sim.match_view import stand_in
from sim.playback import Playback
from sim.recording import Recording
from sim.renderer import Renderer
from sim.scene import Scene, build_scene
from sim.video import VideoWriter, find_ffmpeg

__all__ = [
    "QUALITIES",
    "Quality",
    "RenderReport",
    "RenderUnavailable",
    "check_available",
    "motion_recording",
    "render",
    "render_motion",
    "render_strip",
]


@dataclass(frozen=True)
class Quality:
    """What a picture costs.

    Attributes:
        shadow_size: resolution of the shadow map, 0 for no shadows.
        samples: multisampling.
        crf, preset: of the video encoder.
    """

    shadow_size: int
    samples: int
    crf: int
    preset: str


QUALITIES: dict[str, Quality] = {
    "draft": Quality(0, 0, 27, "ultrafast"),
    "standard": Quality(2048, 4, 21, "veryfast"),
    "high": Quality(4096, 8, 18, "medium"),
}

REPLAY_SPEED = 0.2
REPLAY_BEFORE, REPLAY_AFTER = 0.40, 0.34
"""Part of the recording before and after the strike that is replayed, [s]."""
COURT_REACH = 9.0
"""Half the width of the region with shadows in pictures of the court, [m]."""
STANDS_REACH = 14.5
"""The same where the whole court is seen."""
CLOSE_REACH = 2.4
"""Half the width of the region with shadows in close pictures, [m]."""


@dataclass(frozen=True)
class RenderReport:
    """What was rendered.

    Attributes:
        path: the video.
        frames: in it.
        seconds_per_frame: wall time, encoding included, [s].
    """

    path: Path
    frames: int
    seconds_per_frame: float


def check_available() -> None:
    """See whether videos can be made here.

    Raises:
        RenderUnavailable: with one line that says what is missing.
    """
    from sim.gl import create_context

    _overlay_class()
    find_ffmpeg()
    create_context(16, 16).free()


def render(
    recording: Recording,
    path: str | os.PathLike,
    *,
    width: int = 1280,
    height: int = 720,
    fps: float = 25.0,
    quality: str = "standard",
    close_up: bool = True,
    replay: bool = True,
    stadium: bool = True,
    progress: bool = False,
) -> RenderReport:
    """Render a recording to an H.264 mp4 that browsers play, written whole or not at all.

    The camera stands behind and above the first robot, at a match (`Recording.players`) in the stands. The
    ball is drawn at its true size, but never smaller than :data:`sim.renderer.MIN_BALL_SHARE` of the picture.

    Args:
        recording: what to show.
        path: the mp4 file.
        width, height: even numbers, [pixels].
        fps: frames a second of the video; the recording is interpolated.
        quality: key of :data:`QUALITIES`.
        close_up: also show the player from the front, in a corner; at a match either one.
        replay: end with the best stroke in slow motion.
        stadium: False shows robots on a plain floor, from the front.
        progress: show a progress bar.

    Raises:
        RenderUnavailable: no OpenGL, no ffmpeg or a missing package.
        ValueError: an unknown quality, an odd size, or a recording that is not valid.
    """
    recording.validate()
    chosen = _quality(quality)
    overlay = _overlay_class()(width, height)
    playback = Playback(recording)
    times = np.arange(0.0, recording.duration + 1e-9, 1.0 / fps)
    scene = build_scene(
        recording.num_robots,
        stadium=stadium,
        shadow_size=chosen.shadow_size,
        samples=chosen.samples,
        max_size=(width, height),
    )
    begin = time.perf_counter()
    frames = 0
    with (
        Renderer(scene, width, height) as renderer,
        VideoWriter(path, width, height, fps, chosen.crf, chosen.preset) as video,
    ):
        film = _Film(playback, scene, renderer, overlay)
        shots = [(float(t), film.live if stadium else film.portrait) for t in times]
        strike = playback.best_strike() if replay and stadium else None
        if strike is not None:
            last = min(strike + REPLAY_AFTER, recording.duration)
            slow = np.arange(max(strike - REPLAY_BEFORE, 0.0), last, REPLAY_SPEED / fps)
            shots += [(float(t), film.replay) for t in slow]
        film.close_up = close_up and stadium
        for t, shot in _bar(shots, progress, Path(path).name):
            video.add(shot(t))
            frames += 1
    return RenderReport(Path(path), frames, (time.perf_counter() - begin) / frames)


class _Film:
    """The shots of a video: each method gives a finished picture for a time of the recording."""

    def __init__(self, playback: Playback, scene: Scene, renderer: Renderer, overlay) -> None:
        self.playback, self.scene, self.renderer, self.overlay = playback, scene, renderer, overlay
        self.stand_in = stand_in(playback.recording)
        self.close_up = True

    def live(self, t: float) -> np.ndarray:
        """The court from behind the player or from the stands, the players' close-ups in corners."""
        playback, overlay = self.playback, self.overlay
        view, center = playback.broadcast(t)
        picture = self._draw(t, view, center, STANDS_REACH if playback.is_match else COURT_REACH)
        if self.close_up:
            for robot in range(min(self.scene.num_robots, 2)):
                self._inset(picture, t, robot)
        overlay.board(picture, playback.recording.title, playback.figures(t))
        # Below the middle the near player of a match would be covered.
        corner = (24, 132) if playback.is_match else None
        for text, opacity in playback.captions(t):
            overlay.caption(picture, text, opacity, corner)
        return picture

    def _inset(self, picture: np.ndarray, t: float, robot: int) -> None:
        """A player from the front: the first robot at the bottom on the right, the second at the top."""
        width, height = self.renderer.width, self.renderer.height
        wide, tall = (0.18, 0.32) if self.playback.is_match else (0.235, 0.40)
        size = (_even(wide * width), _even(tall * height))
        near = self.playback.close_up(t, robot)
        small = self.renderer.draw(
            near,
            size=size,
            shadow_center=near.at,
            shadow_reach=CLOSE_REACH,
            trail=self.playback.trail(t),
        )
        margin = round(24 * self.overlay.unit)
        top = margin if robot else height - size[1] - margin
        self.overlay.inset(picture, small, width - size[0] - margin, top)

    def portrait(self, t: float) -> np.ndarray:
        """The player alone."""
        view, center = self.playback.portrait(t)
        picture = self._draw(t, view, center, CLOSE_REACH)
        self.overlay.board(picture, self.playback.recording.title, self.playback.figures(t))
        for text, opacity in self.playback.captions(t):
            self.overlay.caption(picture, text, opacity)
        return picture

    def replay(self, t: float) -> np.ndarray:
        """The player on court from the front, in slow motion."""
        view, center = self.playback.portrait(t)
        picture = self._draw(t, view, center, CLOSE_REACH)
        u = self.overlay.unit
        self.overlay.tag(picture, f"REPLAY  ×{REPLAY_SPEED:g}", 24 * u, 24 * u)
        return picture

    def _draw(self, t: float, view: View, center: np.ndarray, reach: float) -> np.ndarray:
        playback = self.playback
        other = self.stand_in
        beside = {} if other is None else {other.kind: other.at(t)}
        self.scene.pose(playback.qpos(t), playback.ball(t), playback.target(t), **beside)
        picture = self.renderer.draw(
            view, shadow_center=center, shadow_reach=reach, trail=playback.trail(t), marks=playback.marks(t)
        )
        return np.ascontiguousarray(picture)


def motion_recording(motion: RobotMotion) -> Recording:
    """A motion as a recording without a ball; strokes become captions at their strikes."""
    frames = motion.num_frames
    return Recording(
        fps=motion.fps,
        qpos=np.concatenate([motion.root_pos, motion.root_quat, motion.joint_pos], axis=1),
        ball_pos=np.zeros((frames, 3)),
        ball_visible=np.zeros(frames, dtype=bool),
        target=np.full((frames, 2), np.nan),
        captions=[(stroke.strike_s, stroke.kind.capitalize()) for stroke in motion.strokes],
        title=motion.name,
    )


def render_motion(motion: RobotMotion, path: str | os.PathLike, **options) -> RenderReport:
    """Render a motion kinematically, on a plain floor. Options as for :func:`render`."""
    return render(motion_recording(motion), path, **{"stadium": False, "close_up": False, **options})


def render_strip(
    motion: RobotMotion,
    path: str | os.PathLike,
    *,
    count: int = 7,
    height: int = 360,
    start_s: float | None = None,
    end_s: float | None = None,
    quality: str = "standard",
) -> Path:
    """A PNG filmstrip of a motion: evenly spaced moments side by side, the strike framed.

    Args:
        motion: what to show.
        path: the PNG file, written whole or not at all.
        count: pictures.
        height: of the strip, [pixels].
        start_s, end_s: part of the motion, [s]; by default its first stroke, or all of it.
        quality: key of :data:`QUALITIES`.

    Returns:
        The path.

    Raises:
        RenderUnavailable: no OpenGL or a missing package.
    """
    import cv2

    chosen = _quality(quality)
    stroke = motion.strokes[0] if motion.strokes else None
    start = start_s if start_s is not None else (stroke.start_s if stroke else 0.0)
    end = end_s if end_s is not None else (stroke.end_s if stroke else motion.duration)
    times = np.linspace(max(start, 0.0), min(end, motion.duration), count)
    struck = None
    if stroke is not None and times[0] <= stroke.strike_s <= times[-1]:
        struck = int(np.argmin(np.abs(times - stroke.strike_s)))
        times[struck] = stroke.strike_s
    playback = Playback(motion_recording(motion))
    wide = _even(height)
    overlay = _overlay_class()(wide, round(1.5 * height))
    scene = build_scene(
        stadium=False, shadow_size=chosen.shadow_size, samples=chosen.samples, max_size=(wide, height)
    )
    tiles = []
    with Renderer(scene, wide, height) as renderer:
        for number, t in enumerate(times):
            qpos = playback.qpos(t)
            scene.pose(qpos)
            view, shadow_center = playback.portrait(t)
            tile = np.ascontiguousarray(
                renderer.draw(view, shadow_center=shadow_center, shadow_reach=CLOSE_REACH)
            )
            label = f"{t - stroke.strike_s:+.2f} s" if stroke is not None else f"{t:.2f} s"
            overlay.tag(tile, "strike" if number == struck else label, 10, height - 34 * overlay.unit)
            if number == struck:
                cv2.rectangle(tile, (1, 1), (wide - 2, height - 2), (245, 102, 26), 3, cv2.LINE_AA)
            tiles.append(tile)
    done, encoded = cv2.imencode(".png", np.hstack(tiles)[..., ::-1])
    if not done:
        raise OSError(f"{path}: the picture could not be encoded")
    with atomic_write(path) as file:
        file.write(encoded.tobytes())
    return Path(path)


def _quality(name: str) -> Quality:
    if name not in QUALITIES:
        raise ValueError(f"quality {name!r} is none of {', '.join(QUALITIES)}")
    return QUALITIES[name]


def _even(value: float) -> int:
    return max(2 * round(value / 2.0), 2)


def _overlay_class():
    try:
        from sim.overlay import Overlay
    except ImportError as error:
        raise RenderUnavailable(
            f"{error.name or error} is missing; pip install 'humanoid-rally[render]'"
        ) from None
    return Overlay


def _bar(shots: list, progress: bool, name: str):
    if not progress:
        return shots
    from tqdm import tqdm

    return tqdm(shots, desc=name, unit="frame", dynamic_ncols=True)
