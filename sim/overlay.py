"""The score board and captions drawn over a picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

Rgb = tuple[int, int, int]

PANEL: Rgb = (12, 18, 26)
WHITE: Rgb = (246, 248, 250)
MUTED: Rgb = (168, 180, 192)
GOOD: Rgb = (92, 214, 132)
FAIR: Rgb = (250, 190, 70)
BAD: Rgb = (244, 104, 92)
_TONES = {
    "returned": GOOD,
    "success": GOOD,
    "on target": GOOD,
    "in": GOOD,
    "winner": GOOD,
    "ace": GOOD,
    "out": FAIR,
    "net": FAIR,
    "short": FAIR,
    "fault": FAIR,
    "double": FAIR,
    "volleyed": FAIR,
    "reached": FAIR,
    "miss": BAD,
    "fall": BAD,
}


class Overlay:
    """Draws on pictures of one size.

    Args:
        width, height: of the pictures, [pixels]. Type is sized for 720 lines and scales with the height.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.unit = height / 720.0
        self._font = cv2.FontFace("sans")

    def board(self, picture: np.ndarray, title: str, figures: Sequence[tuple[str, str]]) -> None:
        """The score board, top left; changes the picture.

        Args:
            picture: (height, width, 3) uint8, RGB.
            title: first line, e.g. policy and level.
            figures: (label, value), left to right.
        """
        u = self.unit
        pad, gap = 18 * u, 30 * u
        widths = [
            max(self._width(label, 12, 600), self._width(value, 27, 600), 52 * u) for label, value in figures
        ]
        inner = max(sum(widths) + gap * max(len(widths) - 1, 0), self._width(title, 15, 500))
        tall = (82 if title else 56) * u if figures else 34 * u
        if not figures and not title:
            return
        x, y = 24 * u, 24 * u
        self.panel(picture, x, y, inner + 2 * pad, tall + 14 * u)
        cursor = y + 12 * u
        if title:
            self.text(picture, title, x + pad, cursor + 16 * u, 15, WHITE, 500)
            cursor += 28 * u
        left = x + pad
        for (label, value), wide in zip(figures, widths, strict=True):
            self.text(picture, label.upper(), left, cursor + 13 * u, 12, MUTED, 600)
            self.text(picture, value, left, cursor + 44 * u, 27, WHITE, 600)
            left += wide + gap

    def caption(
        self, picture: np.ndarray, text: str, opacity: float = 1.0, corner: tuple[float, float] | None = None
    ) -> None:
        """An outcome, below the middle, or with its upper left corner at (x, y) [pixels of 720 lines]; changes the
        picture."""
        u = self.unit
        size = 24
        wide = self._width(text, size, 600)
        total = wide + 62 * u
        x, y = (self.width - total) / 2, self.height - 82 * u
        if corner is not None:
            x, y = corner[0] * u, corner[1] * u
        before = picture.copy() if opacity < 1.0 else None
        self.panel(picture, x, y, total, 46 * u, radius=23 * u)
        centre = (round(x + 26 * u), round(y + 23 * u))
        cv2.circle(picture, centre, max(round(7 * u), 2), tone(text), -1, cv2.LINE_AA)
        self.text(picture, text, x + 43 * u, y + 31.5 * u, size, WHITE, 600)
        if before is not None:
            top, bottom = self._rows(y, y + 46 * u)
            share = max(opacity, 0.0)
            region = picture[top:bottom]
            region[:] = cv2.addWeighted(region, share, before[top:bottom], 1.0 - share, 0.0)

    def tag(self, picture: np.ndarray, text: str, x: float, y: float) -> None:
        """A small label with its upper left corner at (x, y) [pixels]; changes the picture."""
        u = self.unit
        wide = self._width(text, 13, 600)
        self.panel(picture, x, y, wide + 20 * u, 25 * u, radius=6 * u)
        self.text(picture, text, x + 10 * u, y + 17.5 * u, 13, WHITE, 600)

    def inset(self, picture: np.ndarray, small: np.ndarray, x: int, y: int) -> None:
        """A picture in the picture, with round corners and a thin rim; changes ``picture``."""
        u = self.unit
        tall, wide = small.shape[:2]
        mask = self._rounded(wide, tall, 14 * u)[..., None]
        rim = self._rounded(wide + 4, tall + 4, 15 * u)[..., None]
        area = picture[y - 2 : y + tall + 2, x - 2 : x + wide + 2].astype(np.float32)
        area += (np.array(WHITE, dtype=np.float32) - area) * (0.55 * rim)
        inner = area[2:-2, 2:-2]
        inner += (small - inner) * mask
        picture[y - 2 : y + tall + 2, x - 2 : x + wide + 2] = area.astype(np.uint8)

    def panel(self, picture: np.ndarray, x: float, y: float, wide: float, tall: float, radius=None) -> None:
        """A dark translucent rounded box; changes the picture."""
        left, top = round(x), round(y)
        mask = self._rounded(round(wide), round(tall), 12 * self.unit if radius is None else radius)
        area = picture[top : top + mask.shape[0], left : left + mask.shape[1]]
        mask = 0.66 * mask[: area.shape[0], : area.shape[1], None]
        area[:] = (area * (1.0 - mask) + np.array(PANEL, dtype=np.float32) * mask).astype(np.uint8)

    def text(self, picture, text: str, x: float, y: float, size: float, rgb: Rgb, weight: int = 400) -> None:
        """Text whose baseline starts at (x, y) [pixels]; ``size`` for 720 lines; changes the picture."""
        cv2.putText(picture, text, (round(x), round(y)), rgb, self._font, self._points(size), weight)

    def _points(self, size: float) -> int:
        return max(round(size * self.unit), 4)

    def _width(self, text: str, size: float, weight: int) -> float:
        return cv2.getTextSize((10, 10), text, (0, 0), self._font, self._points(size), weight)[2]

    def _rows(self, top: float, bottom: float) -> tuple[int, int]:
        return max(int(top) - 1, 0), min(int(bottom) + 2, self.height)

    @staticmethod
    def _rounded(wide: int, tall: int, radius: float) -> np.ndarray:
        """Coverage of a rounded box, (tall, wide), 0–1."""
        radius = min(radius, wide / 2, tall / 2)
        x = np.abs(np.arange(wide) + 0.5 - wide / 2)[None] - (wide / 2 - radius)
        y = np.abs(np.arange(tall) + 0.5 - tall / 2)[:, None] - (tall / 2 - radius)
        distance = np.hypot(np.maximum(x, 0), np.maximum(y, 0)) + np.minimum(np.maximum(x, y), 0)
        return np.clip(radius - distance + 0.5, 0.0, 1.0).astype(np.float32)


def tone(text: str) -> Rgb:
    """Colour of an outcome: green returned, amber net, out or another fault, red missed or fallen, else white."""
    lowered = text.lower()
    for word, rgb in _TONES.items():
        if lowered.startswith(word):
            return rgb
    return WHITE
