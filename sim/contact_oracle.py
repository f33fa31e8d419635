"""A second opinion on impacts: MuJoCo's own contact, stepped at 8 kHz.

`sim.bounce` and `sim.stringbed` take an impact as an impulse without duration. Here the same ball meets the same
court or the same free racket through a spring and a damper that act for a few milliseconds, in an engine that
shares no line with ours. For tests and docs/ball.md; far too slow to play with.

How MuJoCo is brought to Newton's restitution and Coulomb's friction, which it has no parameters for:

- `solref` in its direct form is spring and damper over mass, −k and −b. For a contact of duration T and
  restitution e the damping ratio is ζ = −ln e / √(π² + ln² e) and √k √(1 − ζ²) = π / T. The engine's steps and the
  contact's end shift e by a per cent or two, so ζ is then calibrated on a straight drop.
- `solimp` of 1e-4 makes the contact a plain penalty force. With values near one MuJoCo's convex solver lets a
  sliding contact disturb the push of its spring: a ball at 16° then rebounds with about 0.62 instead of 0.77.
- `solreffriction`, without spring and strongly damped, is friction that stops the contact point within a step or
  two if the cone allows it (elliptic cones, a high `impratio`).

What an impulse leaves out is in here: for as long as the contact lasts the ball is flattened and the lever of
friction shorter than its radius, and the racket moves. Both effects are in proportion to the duration, so results
at two durations give the limit of none (`without_duration`), which is what an impulse should equal.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np

from sim.ball import BallParams
from sim.stringbed import SEMI_LONG, SEMI_SHORT, Racket

TIMESTEP = 1.25e-4
"""8 kHz."""
DWELL = 2e-3
"""Default duration, s: shorter than on strings (3–7 ms), where the ball's centre would come within millimetres of
the string plane at 30 m/s."""
PHASES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Where in a step the touch falls; results are means over them, as a step cuts the first force short."""
FRICTION_RATE = 4e3
"""How fast friction stops a contact point, 1/s; with the inverse of the step it would be at once."""
IMPEDANCE = 1e-4
MAX_STEPS = 4000
RIM_POINTS = 256


@dataclass(frozen=True)
class OracleImpact:
    """After the contact. World frame, numpy.

    Attributes:
        vel, spin: of the ball, (3,), m/s, rad/s.
        racket_vel: of the racket's centre of mass, racket_ang: (3,), m/s, rad/s; zero on the court.
        dwell: duration of the contact, s.
    """

    vel: np.ndarray
    spin: np.ndarray
    racket_vel: np.ndarray
    racket_ang: np.ndarray
    dwell: float


def court_impact(vel: np.ndarray, spin: np.ndarray, params: BallParams, dwell: float = DWELL) -> OracleImpact:
    """A ball with velocity `vel` (3,) m/s and spin `spin` (3,) rad/s meets the court. No gravity, no air.

    Args:
        params: ball and court as numbers. Restitution at 7.1 m/s is taken at any speed.
        dwell: wanted duration, s.

    Raises:
        ValueError: the ball does not come down.
    """
    if not vel[2] < 0:
        raise ValueError(f"vel = {list(vel)} m/s: a ball that meets the court comes down")
    model = _court_model(_numbers(params), dwell)
    touch = np.array([0.0, 0.0, float(params.radius)])
    return _mean([_play(model, touch, vel, spin, None, phase) for phase in PHASES])


def racket_impact(
    centre: np.ndarray,
    vel: np.ndarray,
    spin: np.ndarray,
    racket_vel: np.ndarray,
    racket_ang: np.ndarray,
    racket: Racket,
    params: BallParams,
    dwell: float = DWELL,
    restitution: float | None = None,
) -> OracleImpact:
    """A ball meets a free racket whose frame is the world's. No gravity, no air.

    Args:
        centre: of the ball when it touches, (3,), m.
        vel, spin: of the ball, (3,), m/s, rad/s.
        racket_vel: of the string bed's centre, (3,), m/s. racket_ang: (3,), rad/s.
        racket, params: single ones.
        dwell: wanted duration, s.
        restitution: overrides the strings' (frame hits).
    """
    e = float(racket.restitution) if restitution is None else restitution
    com = tuple(float(c) for c in racket.com)
    inertia = tuple(float(racket.inertia[i, j]) for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)))
    body = (float(racket.mass), com, inertia, float(racket.friction))
    model = _racket_model(_numbers(params), body, e, dwell)
    motion = (np.asarray(racket_vel, float), np.asarray(racket_ang, float))
    return _mean([_play(model, np.asarray(centre, float), vel, spin, motion, phase) for phase in PHASES])


def without_duration(impact: Callable[[float], OracleImpact], dwell: float = DWELL) -> OracleImpact:
    """The limit of no duration, from `impact` at `dwell` and at twice that."""
    one, two = impact(dwell), impact(2 * dwell)
    return OracleImpact(
        *(
            2 * getattr(one, name) - getattr(two, name)
            for name in ("vel", "spin", "racket_vel", "racket_ang")
        ),
        dwell=0.0,
    )


def error_of_step(params: BallParams, timestep: float, dwell: float = 5e-3, speed: float = 7.1) -> float:
    """Largest error of the restitution, over where in a step the touch falls, of a drop stepped at `timestep` s.

    The contact is the one calibrated at `TIMESTEP`: what is left is what a simulation pays for its step.
    """
    ball = _numbers(params)
    model = _compile(_COURT, ball, 0.0, _solref(ball, ball[4], dwell), timestep=timestep)
    touch, down = np.array([0.0, 0.0, ball[1]]), np.array([0.0, 0.0, -speed])
    drops = [_play(model, touch, down, np.zeros(3), None, phase).vel[2] / speed for phase in PHASES]
    return max(abs(e / ball[4] - 1) for e in drops)


_Ball = tuple[float, float, float, float, float]


def _numbers(params: BallParams) -> _Ball:
    """Mass, radius, moment of inertia, friction and restitution on the court."""
    values = (params.mass, params.radius, params.inertia(), params.friction, params.restitution)
    mass, radius, inertia, friction, restitution = (float(value) for value in values)
    return mass, radius, inertia, friction, restitution


@functools.cache
def _court_model(ball: _Ball, dwell: float) -> mujoco.MjModel:
    restitution = ball[4]
    return _compile(_COURT, ball, ball[3], _solref(ball, restitution, dwell))


@functools.cache
def _racket_model(
    ball: _Ball,
    racket: tuple[float, tuple[float, ...], tuple[float, ...], float],
    restitution: float,
    dwell: float,
) -> mujoco.MjModel:
    mass, com, inertia, friction = racket
    angle = np.linspace(0.0, 2 * math.pi, RIM_POINTS, endpoint=False)
    rim = [(SEMI_LONG * math.cos(a), SEMI_SHORT * math.sin(a), z) for z in (-2e-4, 2e-4) for a in angle]
    world = f"""
      <body>
        <freejoint/>
        <inertial pos="{_text(com)}" mass="{mass}" fullinertia="{_text(inertia)}"/>
        <geom name="other" type="mesh" mesh="bed"/>
      </body>"""
    bed = f"""<asset><mesh name="bed" vertex="{" ".join(_text(p) for p in rim)}"/></asset>"""
    return _compile(world, ball, friction, _solref(ball, restitution, dwell), bed)


_COURT = '<geom name="other" type="plane" size="0 0 1"/>'


def _text(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.12g}" for value in values)


def _compile(
    world: str,
    ball: _Ball,
    friction: float,
    solref: tuple[float, float],
    asset: str = "",
    timestep: float = TIMESTEP,
) -> mujoco.MjModel:
    mass, radius, inertia, *_ = ball
    return mujoco.MjModel.from_xml_string(f"""
<mujoco>
  <compiler boundmass="0" balanceinertia="false"/>
  <option timestep="{timestep}" gravity="0 0 0" cone="elliptic" impratio="1e6" iterations="100" tolerance="1e-14"/>
  {asset}
  <worldbody>
    <body>
      <freejoint/>
      <inertial pos="0 0 0" mass="{mass}" diaginertia="{inertia} {inertia} {inertia}"/>
      <geom name="ball" type="sphere" size="{radius}"/>
    </body>
    {world}
  </worldbody>
  <contact>
    <pair geom1="other" geom2="ball" condim="3" friction="{friction} {friction} 0 0 0"
          solimp="{IMPEDANCE} {IMPEDANCE} 0.001 0.5 2" solref="{-solref[0]} {-solref[1]}"
          solreffriction="0 {-FRICTION_RATE * IMPEDANCE}"/>
  </contact>
</mujoco>""")


@functools.cache
def _solref(ball: _Ball, restitution: float, dwell: float) -> tuple[float, float]:
    """Stiffness (1/s²) and damping (1/s) of a contact with that restitution and duration."""

    def rates(ratio: float) -> tuple[float, float]:
        rate = math.pi / dwell / math.sqrt(1 - ratio * ratio)
        return rate * rate, 2 * ratio * rate

    def found(ratio: float) -> float:
        model = _compile(_COURT, ball, 0.0, rates(ratio))
        down = np.array([0.0, 0.0, -10.0])
        touch = np.array([0.0, 0.0, ball[1]])
        return _mean([_play(model, touch, down, np.zeros(3), None, phase) for phase in PHASES]).vel[2] / 10.0

    log = math.log(max(restitution, 1e-3))
    ratio = -log / math.hypot(math.pi, log)
    for _ in range(3):
        # ln e is nearly in proportion to the damping ratio.
        ratio *= log / math.log(found(ratio)) if restitution < 1 else 1.0
    return rates(ratio)


def _play(
    model: mujoco.MjModel,
    touch: np.ndarray,
    vel: np.ndarray,
    spin: np.ndarray,
    racket: tuple[np.ndarray, np.ndarray] | None,
    phase: float,
) -> OracleImpact:
    """One contact, from a fraction `phase` of a step before the touch until the bodies part."""
    data = mujoco.MjData(model)
    step = model.opt.timestep
    data.qpos[:3], data.qpos[3] = touch - phase * step * np.asarray(vel), 1.0
    data.qvel[:3], data.qvel[3:6] = vel, spin
    if racket is not None:
        data.qpos[7:10], data.qpos[10] = -phase * step * racket[0], 1.0
        data.qvel[6:9], data.qvel[9:12] = racket
    touching = 0
    for _ in range(MAX_STEPS):
        mujoco.mj_step(model, data)
        if data.ncon:
            touching += 1
        elif touching:
            break
    else:
        raise RuntimeError(
            "the contact oracle's ball did not touch and leave; give it a touch and an approach"
        )
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, data.qpos[3:7])
    after = OracleImpact(
        data.qvel[:3].copy(),
        turn.reshape(3, 3) @ data.qvel[3:6],
        np.zeros(3),
        np.zeros(3),
        touching * step,
    )
    if racket is None:
        return after
    mujoco.mju_quat2Mat(turn, data.qpos[10:14])
    ang = turn.reshape(3, 3) @ data.qvel[9:12]
    com = turn.reshape(3, 3) @ model.body_ipos[2]
    return OracleImpact(after.vel, after.spin, data.qvel[6:9] + np.cross(ang, com), ang, after.dwell)


def _mean(impacts: list[OracleImpact]) -> OracleImpact:
    names = ("vel", "spin", "racket_vel", "racket_ang")
    means = (np.mean([getattr(impact, name) for impact in impacts], axis=0) for name in names)
    return OracleImpact(*means, dwell=float(np.mean([impact.dwell for impact in impacts])))
