"""The court: ITF dimensions, the net's height profile, and where a ball is in.

Frame: origin on the ground under the net's centre, x along the court toward the opponent, y to the
left of the player who stands at x < 0, z up. Metres.

Source of the figures: ITF Rules of Tennis, rule 1 (court) and Appendix on singles sticks. A ball is
in when it touches a line, so the limits below are those of the lines' outer edges and a test of the
ball's centre is lenient by the caller's `margin`.
"""

from __future__ import annotations

from typing import Literal

import torch

Half = Literal["near", "far"]

LENGTH = 23.77
HALF_LENGTH = LENGTH / 2
SINGLES_WIDTH = 8.23
SINGLES_HALF_WIDTH = SINGLES_WIDTH / 2
DOUBLES_WIDTH = 10.97
DOUBLES_HALF_WIDTH = DOUBLES_WIDTH / 2
SERVICE_LINE = 6.40
"""Distance of the service line from the net."""
NET_CENTRE_HEIGHT = 0.914
NET_POST_HEIGHT = 1.07
SINGLES_STICK = SINGLES_HALF_WIDTH + 0.914
"""|y| of the singles stick's centre: 0.914 m outside the singles line."""
NET_END = DOUBLES_HALF_WIDTH + 0.914
"""|y| of the net post: the net ends here and a ball passes beside it."""


def net_height(y: torch.Tensor) -> torch.Tensor:
    """Height of the net cord above the ground at lateral position `y`.

    The strap holds the centre at 0.914 m and the singles sticks hold the cord at 1.07 m; between them a
    cord under tension is straight to within millimetres. From the sticks to the posts it stays at 1.07 m.

    Args:
        y: any shape, m.

    Returns:
        Height, same shape, m. Beyond the posts (|y| > NET_END) there is no net, which the caller checks.
    """
    rise = (y.abs() / SINGLES_STICK).clamp(max=1.0)
    return NET_CENTRE_HEIGHT + (NET_POST_HEIGHT - NET_CENTRE_HEIGHT) * rise


def _in_half(point: torch.Tensor, half: Half, half_width: float, depth: float, margin: float) -> torch.Tensor:
    if half not in ("near", "far"):
        raise ValueError(f"half must be 'near' (x < 0) or 'far' (x > 0), got {half!r}")
    along = point[..., 0] if half == "far" else -point[..., 0]
    return (along > 0) & (along <= depth + margin) & (point[..., 1].abs() <= half_width + margin)


def in_singles_court(point: torch.Tensor, half: Half, margin: float = 0.0) -> torch.Tensor:
    """Whether a ground point lies in the singles court of one half, lines included.

    Args:
        point: (..., 2) or (..., 3), m.
        half: "near" is the player's half (x < 0), "far" the opponent's.
        margin: how far outside the line still counts, m. A ball's centre may be beyond the line by a few
            millimetres to centimetres while its footprint touches it; 0 judges the centre alone.

    Returns:
        Mask (...), bool.
    """
    return _in_half(point, half, SINGLES_HALF_WIDTH, HALF_LENGTH, margin)


def in_doubles_court(point: torch.Tensor, half: Half, margin: float = 0.0) -> torch.Tensor:
    """Like `in_singles_court`, with the doubles alleys."""
    return _in_half(point, half, DOUBLES_HALF_WIDTH, HALF_LENGTH, margin)


def in_service_box(
    point: torch.Tensor, half: Half, side: Literal["deuce", "ad"], margin: float = 0.0
) -> torch.Tensor:
    """Whether a ground point lies in a service box.

    The deuce box is on the right hand of the player who stands behind it and looks at the net.

    Args:
        point: (..., 2) or (..., 3), m.
        half: "near" or "far", see `in_singles_court`.
        side: "deuce" or "ad".
        margin: see `in_singles_court`.

    Returns:
        Mask (...), bool.
    """
    if side not in ("deuce", "ad"):
        raise ValueError(f"side must be 'deuce' or 'ad', got {side!r}")
    left = point[..., 1] if half == "near" else -point[..., 1]
    on_side = left <= margin if side == "deuce" else left >= -margin
    return _in_half(point, half, SINGLES_HALF_WIDTH, SERVICE_LINE, margin) & on_side


def line_segments() -> dict[str, tuple[tuple[float, float], tuple[float, float]]]:
    """The court's lines by name, each from (x, y) to (x, y), m: for drawing."""
    lines: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {}
    for name, sign in (("near", -1.0), ("far", 1.0)):
        end, service = sign * HALF_LENGTH, sign * SERVICE_LINE
        lines[f"{name} baseline"] = ((end, -DOUBLES_HALF_WIDTH), (end, DOUBLES_HALF_WIDTH))
        lines[f"{name} service line"] = ((service, -SINGLES_HALF_WIDTH), (service, SINGLES_HALF_WIDTH))
        lines[f"{name} centre mark"] = ((end, 0.0), (end - sign * 0.10, 0.0))
    for name, sign in (("right", -1.0), ("left", 1.0)):
        for kind, width in (("singles", SINGLES_HALF_WIDTH), ("doubles", DOUBLES_HALF_WIDTH)):
            lines[f"{name} {kind} sideline"] = ((-HALF_LENGTH, sign * width), (HALF_LENGTH, sign * width))
    lines["centre service line"] = ((-SERVICE_LINE, 0.0), (SERVICE_LINE, 0.0))
    return lines
