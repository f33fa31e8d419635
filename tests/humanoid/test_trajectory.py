"""Optimised strokes: the goal is met, the robot could do it, and the Jacobian is that of the residuals."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pinocchio as pin
import pytest

import assets
from humanoid.bodies import Bodies, placements
from humanoid.dynamics import feedforward_torque, velocities
from humanoid.footing import Footing
from humanoid.joints import EFFORT_LIMIT, LOWER, UPPER, VELOCITY_LIMIT
from humanoid.kinematics import default_pinocchio, to_pinocchio
from humanoid.motion import RobotMotion
from humanoid.trajectory import (
    CHANNELS,
    KNEES,
    UPPER_BODY,
    FrameState,
    TrajectoryConfig,
    TrajectoryError,
    TrajectoryOptimizer,
    _Rows,
)
from mocap.plant import PlantConfig, plant, ready_stance, zero_moment_point

HUMAN = Path(next(iter(assets.__path__))) / "motions" / "strokes_caldas"
BEFORE = 0.84
WRIST = EFFORT_LIMIT[UPPER_BODY] < 10
EVERYTHING = TrajectoryConfig(
    torque_share=-1.0, wrist_share=-1.0, speed_share=-1.0, stop_margin=10.0, leg_margin=10.0,
    knee=float(LOWER[KNEES[0]]) + 10.0, friction=-1.0, twist=-1.0, gap=-1.0,
)  # fmt: skip
"""Limits that everything exceeds, so that no row is idle; gaps, whose rows come and go, apart."""
ROWS = (
    ["torque"] * 17
    + ["zmp"] * 4
    + ["friction"] * 2
    + ["twist"]
    + ["leg"] * 12
    + ["stop"] * 17
    + ["speed"] * 17
)
"""Rows of one frame, where none is idle."""


@pytest.fixture(scope="module")
def planted():
    human = RobotMotion.load(HUMAN / "forehand_01.npz")
    return plant(human, human.strokes[0], PlantConfig(before_s=BEFORE, after_s=0.76))


def standing(motion, support=(0.04, 0.12)):
    return Footing.planted(ready_stance()[1], motion.num_frames, support)


def make(planted, config=None, support=(0.04, 0.12)):
    return TrajectoryOptimizer(planted, BEFORE, standing(planted, support), config)


def asked(optimizer: TrajectoryOptimizer, speed: float = 0.85) -> FrameState:
    """A racket 8 cm and 6° from the human one's, at another speed."""
    own = optimizer.state(optimizer.style)
    normal = own.normal + np.array([0.0, 0.1, 0.05])
    return FrameState(
        own.pos + np.array([0.03, 0.02, -0.07]), own.vel * speed, normal / np.linalg.norm(normal)
    )


@pytest.fixture(scope="module")
def solved(planted):
    """Optimiser, goal and solution."""
    optimizer = make(planted)
    goal = asked(optimizer)
    return optimizer, goal, optimizer.solve(goal)


def racket_of(motion: RobotMotion) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Racket at the strike: position, velocity by central differences, z axis."""
    model = default_pinocchio()
    data = model.createData()
    places = []
    t = round(BEFORE * motion.fps)
    for q in to_pinocchio(motion.root_pos, motion.root_quat, motion.joint_pos)[t - 1 : t + 2]:
        pin.framesForwardKinematics(model, data, q)
        places.append(data.oMf[model.getFrameId("racket")].copy())
    vel = (places[2].translation - places[0].translation) * motion.fps / 2
    return places[1].translation, vel, places[1].rotation[:, 2]


# Solutions


def test_the_goal_is_met(solved):
    _, goal, solution = solved
    pos, vel, z = racket_of(solution.motion)
    assert np.linalg.norm(pos - goal.pos) < 0.002
    assert np.arccos(np.clip(z @ goal.normal, -1, 1)) < np.radians(0.3)
    # Over two frames a swing's velocity changes a little.
    assert np.linalg.norm(vel - goal.vel) < 0.02 * np.linalg.norm(goal.vel)


def test_the_figures_are_those_of_the_solution(solved):
    optimizer, goal, solution = solved
    state = optimizer.state(solution.coefficients)
    assert solution.goal_error[0] == pytest.approx(np.linalg.norm(state.pos - goal.pos), abs=1e-6)
    assert solution.goal_error[1] == pytest.approx(np.linalg.norm(state.vel - goal.vel), abs=1e-5)
    pos, _, _ = racket_of(solution.motion)
    np.testing.assert_allclose(state.pos, pos, atol=1e-6)


def test_the_other_face_meets_the_opposite_normal(solved):
    optimizer, goal, solution = solved
    other = replace(goal, normal=-goal.normal, sign=-1.0)
    again = optimizer.solve(other, solution.coefficients, 1)
    assert again.cost <= solution.cost * (1 + 1e-9)
    assert again.goal_error[2] < 1e-3


def test_it_begins_and_ends_at_rest_in_the_given_pose(solved, planted):
    motion = solved[2].motion
    for row, next_row in ((0, 1), (-1, -2)):
        np.testing.assert_allclose(motion.joint_pos[row], planted.joint_pos[row], atol=1e-5)
        np.testing.assert_allclose(motion.root_pos[row], planted.root_pos[row], atol=1e-6)
        np.testing.assert_allclose(motion.root_quat[row], planted.root_quat[row], atol=1e-6)
        # Position and two derivatives are held: it moves with the third power of time.
        speed = np.abs(motion.joint_pos[row] - motion.joint_pos[next_row]) * motion.fps
        assert (speed < 0.01 * VELOCITY_LIMIT).all()


def test_the_feet_stay_on_their_soles(solved):
    model = default_pinocchio()
    data = model.createData()
    motion = solved[2].motion
    for q in to_pinocchio(motion.root_pos, motion.root_quat, motion.joint_pos):
        pin.framesForwardKinematics(model, data, q)
        for side, sole in zip(("left", "right"), ready_stance()[1], strict=True):
            off = pin.log6(data.oMf[model.getFrameId(f"{side}_foot")].actInv(sole)).vector
            assert np.abs(off).max() < 1e-5


def test_joints_and_their_speeds_stay_in_their_limits(solved):
    motion = solved[2].motion
    assert (motion.joint_pos > LOWER).all()
    assert (motion.joint_pos < UPPER).all()
    v = velocities(motion.root_pos, motion.root_quat, motion.joint_pos, motion.fps)[:, 6:]
    assert (np.abs(v) < VELOCITY_LIMIT).all()


def test_torque_and_balance_limits_are_kept_where_a_free_motion_breaks_them(planted):
    """Torques and zero-moment point as other parts of this package compute them."""
    strict = TrajectoryConfig(torque_share=0.5, wrist_share=0.4)
    free = replace(strict, torque_share=9.0, wrist_share=9.0)
    share, beyond = {}, {}
    support = (0.04, 0.12)
    for name, config, area in (("strict", strict, support), ("free", free, (9.0, 9.0))):
        optimizer = make(planted, config, area)
        motion = optimizer.solve(asked(optimizer, 1.1)).motion
        torque, _ = feedforward_torque(
            motion.root_pos, motion.root_quat, motion.joint_pos, motion.contacts, motion.fps
        )
        usable = np.where(WRIST, strict.wrist_share, strict.torque_share)
        share[name] = (np.abs(torque[:, UPPER_BODY]) / EFFORT_LIMIT[UPPER_BODY] / usable).max()
        zmp = zero_moment_point(motion.root_pos, motion.root_quat, motion.joint_pos, motion.fps)
        middle = np.mean([sole.translation[:2] for sole in ready_stance()[1]], axis=0)
        beyond[name] = (np.abs(zmp - middle) - support).max()
    assert share["strict"] < 1.15
    assert share["free"] > 1.3
    assert beyond["strict"] < 0.01
    assert beyond["free"] > 0.02


def test_more_steps_cost_less(solved):
    optimizer, goal, solution = solved
    costs = [optimizer.solve(goal, optimizer.style, steps).cost for steps in (1, 3)]
    assert costs[0] > costs[1] > 0.99 * solution.cost


def test_a_motion_that_strikes_as_asked_hardly_changes(planted):
    optimizer = make(planted, TrajectoryConfig(style_joint=0.05))
    solution = optimizer.solve(optimizer.state(optimizer.style), optimizer.style, 5)
    assert solution.goal_error[0] < 0.002
    off = solution.motion.joint_pos[:, UPPER_BODY] - planted.joint_pos[:, UPPER_BODY]
    assert np.sqrt((off**2).mean()) < 0.05


def test_set_style_pulls_toward_another_motion(planted, solved):
    _, goal, solution = solved
    optimizer = make(planted)
    other = solution.coefficients.copy()
    # The left arm, which the goal leaves alone, 0.3 rad from where the goal's solution has it.
    left = 4 + 3 + np.arange(7)
    bump = 0.3 * np.sin(np.linspace(0, np.pi, optimizer.count - 6))
    other[left[:, None], np.arange(3, optimizer.count - 3)] += bump
    distance = {}
    for joint in (0.05, 1.5):
        optimizer.set_style(other, joint)
        found = optimizer.solve(goal, solution.coefficients, 4)
        distance[joint] = np.abs(found.coefficients - other)[left].max()
        assert found.goal_error[0] < 0.002
    assert distance[0.05] < 0.3 * distance[1.5]


def test_the_styles_factor_on_the_pelvis_is_not_kept(planted):
    """A second call does not multiply the first one's factor."""
    once, twice = make(planted), make(planted)
    once.set_style(once.style, 0.3, 0.5)
    twice.set_style(twice.style, 0.9, 0.1)
    twice.set_style(twice.style, 0.3, 0.5)
    np.testing.assert_array_equal(once._linear, twice._linear)


@pytest.mark.parametrize("time", [0.0, -1.0, 1.6, 7.0])
def test_a_strike_outside_the_motion_is_an_error(planted, time):
    with pytest.raises(TrajectoryError, match=rf"forehand_01.*time {time:.2f} s lies outside the motion"):
        TrajectoryOptimizer(planted, time, standing(planted))


# The Jacobian


@pytest.fixture(scope="module")
def slopes(planted):
    """Directional derivatives of all residuals by the Jacobian and by finite differences, by rows and by what
    moves. Rows with a kink between the two points are left out."""
    optimizer = make(planted, EVERYTHING, (-1.0, -1.0))
    rng = np.random.default_rng(0)
    c, goal = optimizer.style.copy(), asked(optimizer)
    size = np.append(np.full(4, 0.003), np.full(CHANNELS - 4, 0.01))[:, None]
    c[:, optimizer.free] += size * rng.standard_normal(c[:, optimizer.free].shape)
    optimizer._solve_legs(optimizer._states(c)[0])  # Once more than needed, to rounding.
    here, jac, *_ = optimizer._residual(c, goal, True)
    legs = optimizer._legs.copy()
    kinds = np.array(ROWS * optimizer.frames + ["position", "velocity", "normal"] * 3)
    assert jac is not None
    assert len(kinds) == len(here)
    out, step = {}, 3e-5
    for what, channels in (("arms", slice(4, None)), ("pelvis", slice(0, 3)), ("heading", slice(3, 4))):
        way = np.zeros_like(c)
        way[channels, optimizer.free] = rng.standard_normal(way[channels, optimizer.free].shape)
        sides = []
        for sign in (1, -1):
            # From the same start the legs' solver errs alike on both sides.
            optimizer._legs = legs.copy()
            sides.append(optimizer._residual(c + sign * step * way, goal, False)[0])
        ahead, behind = sides[0] - here, here - sides[1]
        smooth = np.abs(ahead - behind) < 0.05 * np.abs(ahead + behind) + 1e-6 * np.abs(here).max()
        assert smooth.mean() > 0.99
        for kind in dict.fromkeys(kinds):
            rows = (kinds == kind) & smooth
            told = jac[rows] @ way[:, optimizer.free].reshape(-1)
            out[kind, what] = told, (ahead + behind)[rows] / (2 * step)
    return out


KINDS = (*dict.fromkeys(ROWS), "position", "velocity", "normal")
LEGS_LEFT_OUT = [
    (kind, what) for kind in ("torque", "zmp", "friction", "twist") for what in ("pelvis", "heading")
]
"""A Jacobian that neglects how the legs' map changes in time: their own velocity and acceleration do not move with
the pelvis in it. Nor does the frame of the pelvis's velocity turn with its heading."""
LEFT_OUT = [*LEGS_LEFT_OUT, ("velocity", "heading")]


@pytest.mark.parametrize(
    ("kind", "what"),
    [(k, w) for k in KINDS for w in ("arms", "pelvis", "heading") if (k, w) not in LEFT_OUT],
)
def test_the_jacobian_is_the_finite_difference(slopes, kind, what):
    told, seen = slopes[kind, what]
    assert np.linalg.norm(told - seen) < 1e-5 * np.linalg.norm(seen) + 1e-6


@pytest.mark.parametrize(("kind", "what"), LEFT_OUT)
def test_the_jacobian_is_nearly_the_finite_difference(slopes, kind, what):
    """The larger part of a slope is enough for a Gauss–Newton step."""
    told, seen = slopes[kind, what]
    assert np.linalg.norm(told - seen) < 0.25 * np.linalg.norm(seen)


def test_the_slopes_of_gaps_are_finite_differences(planted):
    """With so wide a margin that arms, racket, legs and floor all are too near."""
    optimizer = make(planted, TrajectoryConfig(gap=0.15))
    rng = np.random.default_rng(3)
    c = optimizer.style.copy()
    c[4:, optimizer.free] += 0.05 * rng.standard_normal(c[4:, optimizer.free].shape)

    def gaps(c):
        x, v, a = optimizer._states(c)
        legs = optimizer._solve_legs(x)
        q, _, _ = optimizer._dynamics(x, v, a, legs.angles)
        rows = _Rows(True)
        least = optimizer._gap_rows(rows, q, x, legs.follow)
        return rows, least

    for _ in range(3):
        rows, least = gaps(c)
    assert least < 0.1
    legs = optimizer._legs.copy()
    jac = rows.jacobian(optimizer.basis)
    assert len(jac) > 100
    way = np.zeros_like(c)
    way[:, optimizer.free] = rng.standard_normal(way[:, optimizer.free].shape)
    told = jac @ way[:, optimizer.free].reshape(-1)
    step, sides = 1e-6, []
    for sign in (1, -1):
        optimizer._legs = legs.copy()
        sides.append(gaps(c + sign * step * way)[0].values())
    assert len(sides[0]) == len(sides[1]) == len(told)
    seen = (sides[0] - sides[1]) / (2 * step)
    assert np.linalg.norm(told - seen) < 1e-3 * np.linalg.norm(seen)


def test_arms_and_racket_keep_clear_where_a_free_motion_does_not(planted):
    def least(config):
        optimizer = make(planted, config)
        own = optimizer.state(optimizer.style)
        # Lower, nearer to the body, slower: there the swing passes the legs.
        goal = replace(own, pos=own.pos + np.array([-0.1, 0.3, -0.25]), vel=0.7 * own.vel)
        motion = optimizer.solve(goal).motion
        pos, rot = placements(motion.joint_pos)
        return Bodies().near(pos, rot, 1.0).gap.min()

    assert least(TrajectoryConfig(gap=-1.0)) < -0.005
    assert least(TrajectoryConfig()) > 0.0
