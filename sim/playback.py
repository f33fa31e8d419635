"""A recording at any time, with what a spectator wants to know."""

from __future__ import annotations

import numpy as np
import torch

from sim import camera
from sim.camera import View
from sim.court import in_singles_court
from sim.recording import Recording
from sim.renderer import Mark
from sim.scene import BALL_RADIUS

TRAIL_S = 0.45
"""Length of the ball's trail, [s]."""
MARK_S = 1.6
"""How long a bounce stays marked, [s]."""
CAPTION_S = 1.5
"""How long a caption stays, [s]."""
JUMP_SPEED = 90.0
"""A ball that moves faster between two frames is another ball, [m/s]."""
STRIKE_REACH = 1.8
"""A ball that turns round within this distance of the pelvis was struck, [m]."""
STRIKE_GAIN = 6.0
"""... when its speed along the court grew by this much, [m/s]."""
IN_RGB = (1.0, 0.98, 0.75)
OUT_RGB = (1.0, 0.35, 0.25)


class Playback:
    """A recording at any time, with everything derived from it: camera paths, trails, bounces, tallies."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        robots = recording.qpos.reshape(recording.num_frames, recording.num_robots, -1)
        self._qpos = robots
        self._sides = np.where(robots[0, :, 0] <= 0.0, -1.0, 1.0)
        self._slow = camera.smooth(robots[:, 0, :3], recording.fps, 0.7)
        self._quick = [
            camera.smooth(robots[:, robot, :3], recording.fps, 0.2) for robot in range(robots.shape[1])
        ]
        ball, visible = recording.ball_pos, recording.ball_visible
        step = np.linalg.norm(np.diff(ball, axis=0), axis=1) * recording.fps
        same = visible[1:] & visible[:-1] & (step < JUMP_SPEED)
        self._same = np.concatenate([[False], same])
        self._speed = np.concatenate([[0.0], np.where(same, step, 0.0)])
        self._bounces = self._find_bounces()
        self._caption_times = np.array([t for t, _ in recording.captions])

    def _find_bounces(self) -> list[tuple[float, np.ndarray, bool]]:
        """Time, point and whether it lies in the singles court, of each bounce."""
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

    def strikes(self) -> list[tuple[float, float]]:
        """Time [s] and gain of speed along the court [m/s] of each stroke of the first robot."""
        recording, side = self.recording, self._sides[0]
        velocity = -side * np.diff(recording.ball_pos[:, 0]) * recording.fps
        result = []
        for i in range(1, recording.num_frames - 1):
            if not (self._same[i] and self._same[i + 1]):
                continue
            gain = velocity[i] - velocity[i - 1]
            near = np.linalg.norm(recording.ball_pos[i] - self._qpos[i, 0, :3]) < STRIKE_REACH
            if near and velocity[i - 1] < 0.0 < velocity[i] and gain > STRIKE_GAIN:
                result.append((i / recording.fps, float(gain)))
        return result

    def best_strike(self) -> float | None:
        """Time of the hardest stroke that was returned, by its caption; else of the hardest; or None."""
        strikes = self.strikes()
        if not strikes:
            return None
        good = [strike for strike in strikes if self._outcome(strike[0]).lower().startswith("return")]
        return max(good or strikes, key=lambda strike: strike[1])[0]

    def _outcome(self, t: float) -> str:
        """The first caption after a time."""
        later = [text for at, text in self.recording.captions if at >= t]
        return later[0] if later else ""

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

    def marks(self, t: float) -> list[Mark]:
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

    def figures(self, t: float) -> list[tuple[str, str]]:
        low = self._index(t)[0]
        recording = self.recording
        score = recording.score
        figures: list[tuple[str, str]] = []
        for side, player in zip(("near", "far"), recording.players, strict=False):
            parts = (f"{side}_sets", f"{side}_games", side)
            values = [int(score[key][low]) for key in parts if key in score]
            figures.append((player, "  ".join("Ad" if value < 0 else str(value) for value in values)))
        if "rally" in score:
            figures.append(("rally", str(int(score["rally"][low]))))
        if "balls" in score:
            balls = int(score["balls"][low])
            figures.append(("balls", str(balls)))
            for name, label in (("returned", "returned"), ("success", "on target")):
                if name in score:
                    share = f"{100 * int(score[name][low]) / balls:.0f} %" if balls else "–"
                    figures.append((label, share))
        if recording.ball_visible.any():
            speed = self._speed[low]
            figures.append(("ball", f"{speed:.0f} m/s" if speed > 0 else "–"))
        return figures

    @property
    def is_match(self) -> bool:
        """Two players, and a score between them."""
        return bool(self.recording.players)

    def broadcast(self, t: float) -> tuple[View, np.ndarray]:
        """The court from behind the player, of a match from the stands, and the middle of what has shadows."""
        if self.is_match:
            return camera.stands(), np.zeros(3)
        low, high, share = self._index(t)
        player = self._slow[low] + share * (self._slow[high] - self._slow[low])
        side = self._sides[0]
        return camera.broadcast(player, side), np.array([player[0] - side * 4.0, 0.5 * player[1], 0.0])

    def close_up(self, t: float, robot: int = 0) -> View:
        """A player from the front."""
        return camera.close_up(self._near(t, robot), self._sides[robot])

    def _near(self, t: float, robot: int = 0) -> np.ndarray:
        """Smoothed position of a robot, (3,), [m]."""
        low, high, share = self._index(t)
        path = self._quick[robot]
        return path[low] + share * (path[high] - path[low])

    def portrait(self, t: float) -> tuple[View, np.ndarray]:
        """The player alone, from the front, at a distance that holds racket and feet."""
        player = self._near(t)
        view = camera.portrait(player, self._heading)
        return view, np.array([player[0], player[1], 0.0])

    @property
    def _heading(self) -> float:
        """Mean heading of the first robot, [rad]."""
        w, x, y, z = self._qpos[:, 0, 3:7].T
        yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        return float(np.arctan2(np.sin(yaw).mean(), np.cos(yaw).mean()))
