"""The racket in the robot's right hand, as a rigid body.

Racket frame: origin at the centre of the string bed, x along the long axis from handle to tip, z the
string-bed normal on the palm's side (the face that meets a forehand), y completing a right-handed frame.

The racket lies along the forearm when the wrist is straight, so that wrist roll (a 25 N·m motor) turns
the face, and the two 5 N·m wrist motors have the centrifugal pull of a swing working for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from humanoid.joints import JOINT_INDEX, JOINTS

LINK = "right_wrist_yaw_link"
SITE = "racket"


def _joints_to(link: str) -> np.ndarray:
    by_link = {joint.link: joint for joint in JOINTS}
    names = []
    while link in by_link:
        names.append(by_link[link].name)
        link = by_link[link].parent
    return np.array([JOINT_INDEX[name] for name in reversed(names)])


ARM_JOINTS = _joints_to(LINK)
"""Waist and right arm in the joint table, from the pelvis out: the chain that carries the racket, shape (10,)."""


@dataclass(frozen=True)
class Racket:
    """Mass properties of a strung racket (ranges: ITF and published surveys).

    Attributes:
        length: butt to tip, [m].
        mass: [kg], 0.30–0.34.
        balance: butt to centre of mass, [m], 0.32–0.33.
        swingweight: about an axis 10 cm from the butt, in the string plane, [kg m²], 0.029–0.034.
        twistweight: about the long axis, [kg m²], 0.0013–0.0016.
        half_length: semi-axis of the string bed along the long axis, [m].
        half_width: semi-axis of the string bed across, [m].
        frame: width of the frame around the strings, [m].
        butt: butt of the handle along x of :data:`LINK`, [m]. No source: it puts the hand on the grip.
    """

    length: float = 0.685
    mass: float = 0.32
    balance: float = 0.325
    swingweight: float = 0.032
    twistweight: float = 0.0014
    half_length: float = 0.165
    half_width: float = 0.13
    frame: float = 0.012
    butt: float = 0.04

    @property
    def center(self) -> float:
        """Butt to string-bed centre, [m]."""
        return self.length - self.frame - self.half_length

    @property
    def com(self) -> np.ndarray:
        """Centre of mass in the racket frame, [m], shape (3,)."""
        return np.array([self.balance - self.center, 0.0, 0.0])

    @property
    def inertia(self) -> np.ndarray:
        """Principal moments about the centre of mass in the racket frame, [kg m²], shape (3,).

        The swingweight's axis lies in the string plane (y); the moment about the normal (z) is larger by
        the twistweight, as for a flat body.
        """
        swing = self.swingweight - self.mass * (self.balance - 0.1) ** 2
        return np.array([self.twistweight, swing, swing + self.twistweight])

    @property
    def position(self) -> np.ndarray:
        """String-bed centre in the frame of :data:`LINK`, [m], shape (3,)."""
        return np.array([self.butt + self.center, 0.0, 0.0])


QUAT = np.array([sqrt(0.5), -sqrt(0.5), 0.0, 0.0])
"""Racket frame in the frame of :data:`LINK`, w, x, y, z: x stays, the string-bed normal z is the link's y
(the palm's side)."""

RACKET = Racket()
