"""Cameras: where to look from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class View:
    """A camera.

    Attributes:
        eye: its position, (3,), [m].
        at: the point in the middle of the picture, (3,), [m].
        fovy: vertical field of view, [degrees].
    """

    eye: np.ndarray
    at: np.ndarray
    fovy: float = 38.0

    @property
    def distance(self) -> float:
        """From eye to the point looked at, [m]."""
        return float(np.linalg.norm(self.at - self.eye))

    @property
    def azimuth(self) -> float:
        """Heading of the line of sight, [degrees], 0 along x, counter-clockwise."""
        forward = self.at - self.eye
        return float(np.degrees(np.arctan2(forward[1], forward[0])))

    @property
    def elevation(self) -> float:
        """[degrees], negative when looking down."""
        forward = self.at - self.eye
        return float(np.degrees(np.arctan2(forward[2], np.hypot(forward[0], forward[1]))))


def broadcast(player: np.ndarray, side: float = -1.0) -> View:
    """From behind and above a player: the player below, the net, and the whole flight of the ball above.

    Args:
        player: smoothed position of the player, (3,), [m].
        side: -1 when the player's half is x < 0, 1 otherwise.
    """
    x, y = player[0], player[1]
    eye = np.array([x + side * 6.6, 0.62 * y, 3.35])
    at = np.array([x - side * 5.2, 0.55 * y, 0.62])
    return View(eye, at, 40.0)


def stands() -> View:
    """From high behind the near baseline, as matches are broadcast: both players and every flight of the ball."""
    return View(np.array([-26.0, 0.0, 8.6]), np.array([-3.7, 0.0, 0.4]), 29.0)


def close_up(player: np.ndarray, side: float = -1.0, fovy: float = 40.0) -> View:
    """The player from the front, a little from the right: face, arms and racket.

    Args:
        player: smoothed position of the player's pelvis, (3,), [m].
        side: as in :func:`broadcast`.
        fovy: [degrees].
    """
    forward = -side
    eye = player + np.array([forward * 2.6, -forward * 1.5, 0.42])
    at = player + np.array([forward * 0.12, -forward * 0.05, 0.03])
    return View(eye, at, fovy)


def smooth(positions: np.ndarray, fps: float, time_constant: float = 0.6) -> np.ndarray:
    """Low-pass of a path forward and backward, so that it does not lag.

    Args:
        positions: (T, 3), [m].
        fps: frames a second.
        time_constant: [s].

    Returns:
        (T, 3).
    """
    share = 1.0 - np.exp(-1.0 / (fps * time_constant))
    result = np.array(positions, dtype=float)
    for order in (range(1, len(result)), range(len(result) - 2, -1, -1)):
        step = 1 if order.step > 0 else -1
        for i in order:
            result[i] = result[i - step] + share * (result[i] - result[i - step])
    return result


def portrait(player: np.ndarray, heading: float = 0.0) -> View:
    """A player alone, from the front and the racket's side.

    Args:
        player: smoothed position of the player's pelvis, (3,), [m].
        heading: where the player faces, [rad], 0 along x.
    """
    forward = np.array([np.cos(heading), np.sin(heading), 0.0])
    left = np.array([-forward[1], forward[0], 0.0])
    middle = np.array([player[0], player[1], 0.70])
    return View(middle + 3.3 * forward - 1.1 * left + np.array([0, 0, 0.45]), middle + 0.15 * forward, 30.0)
