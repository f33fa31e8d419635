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
from sim import camera
from sim.camera import View
from sim.court import in_singles_court
from sim.gl import RenderUnavailable
from sim.recording import Recording
from sim.renderer import Renderer
from sim.scene import BALL_RADIUS, build_scene
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

TRAIL_S = 0.45
"""Length of the ball's trail, [s]."""
MARK_S = 1.6
"""How long a bounce stays marked, [s]."""
CAPTION_S = 1.5
"""How long a caption stays, [s]."""
JUMP_SPEED = 90.0
"""A ball that moves faster between two frames is another ball, [m/s]."""
CLOSE_REACH = 2.4
"""Half the width of the region with shadows in close pictures, [m]."""
IN_RGB = (1.0, 0.98, 0.75)
OUT_RGB = (1.0, 0.35, 0.25)


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
    stadium: bool = True,
    progress: bool = False,
) -> RenderReport:
    """Render a recording to an H.264 mp4 that browsers play, written whole or not at all.

    The camera stands behind and above the first robot. The ball is drawn at its true size, but never
    smaller than :data:`sim.renderer.MIN_BALL_SHARE` of the picture.

    Args:
        recording: what to show.
        path: the mp4 file.
        width, height: even numbers, [pixels].
        fps: frames a second of the video; the recording is interpolated.
        quality: key of :data:`QUALITIES`.
        close_up: also show the player from the front, in a corner.
        stadium: False shows robots on a plain floor, from the front.
        progress: show a progress bar.

    Raises:
        RenderUnavailable: no OpenGL, no ffmpeg or a missing package.
        ValueError: an unknown quality, an odd size, or a recording that is not valid.
    """
    recording.validate()
    chosen = _quality(quality)
    overlay = _overlay_class()(width, height)
    playback = _Playback(recording)
    times = np.arange(0.0, recording.duration + 1e-9, 1.0 / fps)
    scene = build_scene(
        recording.num_robots,
        stadium=stadium,
        shadow_size=chosen.shadow_size,
        samples=chosen.samples,
        max_size=(width, height),
    )
    begin = time.perf_counter()
    inset = (_even(0.235 * width), _even(0.40 * height))
    with (
        Renderer(scene, width, height) as renderer,
        VideoWriter(path, width, height, fps, chosen.crf, chosen.preset) as video,
    ):
        for t in _bar(times, progress, Path(path).name):
            ball = playback.ball(t)
            scene.pose(playback.qpos(t), ball, playback.target(t))
            if stadium:
                view, shadow_center = playback.broadcast(t)
                reach = 9.0
            else:
                view, shadow_center = playback.portrait(t)
                reach = CLOSE_REACH
            picture = np.ascontiguousarray(
                renderer.draw(
                    view,
                    shadow_center=shadow_center,
                    shadow_reach=reach,
                    trail=playback.trail(t),
                    marks=playback.marks(t),
                )
            )
            if close_up and stadium:
                near = playback.close_up(t)
                small = renderer.draw(
                    near, size=inset, shadow_center=near.at, shadow_reach=CLOSE_REACH, trail=playback.trail(t)
                )
                margin = round(24 * overlay.unit)
                overlay.inset(picture, small, width - inset[0] - margin, height - inset[1] - margin)
            overlay.board(picture, playback.board(t))
            for text, opacity in playback.captions(t):
                overlay.caption(picture, text, opacity)
            video.add(picture)
    return RenderReport(Path(path), len(times), (time.perf_counter() - begin) / len(times))


def motion_recording(motion: RobotMotion) -> Recording:
    """A motion as a recording without a ball; strokes become captions at their strikes."""
    frames = motion.num_frames
    return Recording(
        fps=motion.fps,
        qpos=np.concatenate([motion.root_pos, motion.root_quat, motion.joint_pos], axis=1),
        ball_pos=np.zeros((frames, 3)),
        ball_visible=np.zeros(frames, dtype=bool),
        target=np.full((frames, 2), np.nan),
        captions=[(stroke.strike_s, f"{stroke.hand} {stroke.kind}") for stroke in motion.strokes],
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
    height: int = 420,
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
    playback = _Playback(motion_recording(motion))
    wide = _even(0.90 * height)
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


class _Playback:
    """A recording at any time, with everything derived from it: camera paths, trails, bounces, tallies."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        robots = recording.qpos.reshape(recording.num_frames, recording.num_robots, -1)
        self._qpos = robots
        self._sides = np.where(robots[0, :, 0] <= 0.0, -1.0, 1.0)
        self._slow = camera.smooth(robots[:, 0, :3], recording.fps, 0.7)
        self._quick = camera.smooth(robots[:, 0, :3], recording.fps, 0.2)
        ball, visible = recording.ball_pos, recording.ball_visible
        step = np.linalg.norm(np.diff(ball, axis=0), axis=1) * recording.fps
        same = visible[1:] & visible[:-1] & (step < JUMP_SPEED)
        self._same = np.concatenate([[False], same])
        self._speed = np.concatenate([[0.0], np.where(same, step, 0.0)])
        self._bounces = self._find_bounces()
        self._caption_times = np.array([t for t, _ in recording.captions])

    def _find_bounces(self) -> list[tuple[float, np.ndarray, bool]]:
        """Time, point and whether it lies in the singles court, of each bounce."""
        import torch

        recording = self.recording
        z = recording.ball_pos[:, 2]
        result = []
        for i in range(1, recording.num_frames - 1):
            if not (self._same[i] and self._same[i + 1]) or z[i] > 0.45:
                continue
            falling, rising = z[i] - z[i - 1], z[i + 1] - z[i]
            if z[i] <= z[i - 1] and z[i] < z[i + 1] and (rising - falling) * recording.fps > 1.0:
                before = (z[i] - BALL_RADIUS) <= 0.5 * (falling + rising) or rising < -falling
                near = recording.ball_pos[i]
                share = np.clip((z[i] - BALL_RADIUS) / max(-falling, 1e-6), 0.0, 1.0) if before else 0.0
                point = near + share * (near - recording.ball_pos[i - 1])
                place = torch.tensor([point[0], point[1]])
                half = "far" if point[0] > 0 else "near"
                inside = bool(in_singles_court(place, half, margin=BALL_RADIUS))
                result.append((i / recording.fps, np.array([point[0], point[1], 0.0]), inside))
        return result

    def _index(self, t: float) -> tuple[int, int, float]:
        last = self.recording.num_frames - 1
        exact = min(max(t * self.recording.fps, 0.0), last)
        low = min(int(exact + 1e-6), last)
        high = min(low + 1, last)
        return low, high, min(max(exact - low, 0.0), 1.0)

    def qpos(self, t: float) -> np.ndarray:
        low, high, share = self._index(t)
        a, b = self._qpos[low], self._qpos[high]
        result = a + share * (b - a)
        sign = np.where((a[:, 3:7] * b[:, 3:7]).sum(-1, keepdims=True) < 0, -1.0, 1.0)
        quat = a[:, 3:7] + share * (sign * b[:, 3:7] - a[:, 3:7])
        result[:, 3:7] = quat / np.linalg.norm(quat, axis=-1, keepdims=True)
        return result

    def ball(self, t: float) -> np.ndarray | None:
        low, high, share = self._index(t)
        if not self.recording.ball_visible[low]:
            return None
        a = self.recording.ball_pos[low]
        if high == low or not self._same[high]:
            return a
        return a + share * (self.recording.ball_pos[high] - a)

    def target(self, t: float) -> np.ndarray | None:
        target = self.recording.target[self._index(t)[0]]
        return target if np.isfinite(target).all() else None

    def trail(self, t: float) -> np.ndarray | None:
        now = self.ball(t)
        if now is None:
            return None
        low = self._index(t)[0]
        first = low
        oldest = max(0, round((t - TRAIL_S) * self.recording.fps))
        while first > oldest and self._same[first]:
            first -= 1
        return np.concatenate([self.recording.ball_pos[first : low + 1], now[None]])

    def marks(self, t: float):
        result = []
        for at, point, inside in self._bounces:
            age = t - at
            if 0.0 <= age < MARK_S:
                result.append((point, 0.9 * (1.0 - age / MARK_S), IN_RGB if inside else OUT_RGB))
        return result

    def captions(self, t: float) -> list[tuple[str, float]]:
        """The latest caption with its opacity, at most one."""
        shown = np.flatnonzero((self._caption_times <= t) & (t < self._caption_times + CAPTION_S))
        if len(shown) == 0:
            return []
        age = t - self._caption_times[shown[-1]]
        return [(self.recording.captions[shown[-1]][1], float(min(1.0, (CAPTION_S - age) / 0.3)))]

    def board(self, t: float):
        from sim.overlay import Board

        low = self._index(t)[0]
        score = self.recording.score
        figures = []
        if "balls" in score:
            balls = int(score["balls"][low])
            figures.append(("balls", str(balls)))
            for name, label in (("returned", "returned"), ("success", "on target")):
                if name in score:
                    share = f"{100 * int(score[name][low]) / balls:.0f} %" if balls else "–"
                    figures.append((label, share))
        if self.recording.ball_visible.any():
            speed = self._speed[low]
            figures.append(("ball", f"{speed:.0f} m/s" if speed > 0 else "–"))
        return Board(self.recording.title, figures)

    def broadcast(self, t: float) -> tuple[View, np.ndarray]:
        low, high, share = self._index(t)
        player = self._slow[low] + share * (self._slow[high] - self._slow[low])
        side = self._sides[0]
        return camera.broadcast(player, side), np.array([player[0] - side * 4.0, 0.5 * player[1], 0.0])

    def close_up(self, t: float) -> View:
        low, high, share = self._index(t)
        return camera.close_up(
            self._quick[low] + share * (self._quick[high] - self._quick[low]), self._sides[0]
        )

    def portrait(self, t: float) -> tuple[View, np.ndarray]:
        """The player alone, from the front, at a distance that holds racket and feet."""
        low, high, share = self._index(t)
        player = self._quick[low] + share * (self._quick[high] - self._quick[low])
        view = camera.portrait(player, self._heading)
        return view, np.array([player[0], player[1], 0.0])

    @property
    def _heading(self) -> float:
        """Mean heading of the first robot, [rad]."""
        w, x, y, z = self._qpos[:, 0, 3:7].T
        yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        return float(np.arctan2(np.sin(yaw).mean(), np.cos(yaw).mean()))


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


def _bar(times: np.ndarray, progress: bool, name: str):
    if not progress:
        return times
    from tqdm import tqdm

    return tqdm(times, desc=name, unit="frame", dynamic_ncols=True)
