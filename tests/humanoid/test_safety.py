"""The monitor's figures against hand-made motions, the shield and the guard against anything at all."""

import json

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog, nnls

from humanoid.bodies import Bodies, placements
from humanoid.joints import (
    EFFORT_LIMIT,
    JOINT_INDEX,
    JOINT_NAMES,
    KD,
    KP,
    LOWER,
    NUM_JOINTS,
    READY_JOINT_POS,
    UPPER,
    VELOCITY_LIMIT,
)
from humanoid.model import build_model
from humanoid.safety import (
    BRAKE_SHARE,
    SafetyMonitor,
    SelfCollisionMonitor,
    Shield,
    ShieldLimits,
    StateGuard,
    deceleration,
    joint_inertia,
    pd_torque,
    pose_inertia,
    stopping_point,
)

KNEE = JOINT_INDEX["left_knee_joint"]
STILL = np.zeros((1, NUM_JOINTS))
READY = READY_JOINT_POS[None].copy()
UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])


def at(joint: int, value: float, rest: np.ndarray = STILL) -> np.ndarray:
    out = rest.copy()
    out[0, joint] = value
    return out


# Braking


def test_inertia_in_a_pose_is_the_diagonal_of_the_mass_matrix():
    model = build_model(floor=False)
    data = mujoco.MjData(model)
    poses = np.random.default_rng(0).uniform(LOWER, UPPER, size=(300, NUM_JOINTS))
    inertia = np.zeros_like(poses)
    for row, pose in enumerate(poses):
        data.qpos[3], data.qpos[7:] = 1.0, pose
        mujoco.mj_forward(model, data)
        mass = np.zeros((model.nv, model.nv))
        mujoco.mj_fullM(model, data, mass)
        inertia[row] = mass.diagonal()[6:]
    np.testing.assert_allclose(pose_inertia(poses), inertia, rtol=1e-9)
    np.testing.assert_allclose(joint_inertia(), inertia.max(axis=0), rtol=1e-9)


def test_stopping_distance_is_that_of_constant_deceleration():
    speed = 3.0
    stop = stopping_point(STILL, at(KNEE, speed))[0, KNEE]
    time = speed / deceleration()[KNEE]
    assert stop == pytest.approx(speed * time - 0.5 * deceleration()[KNEE] * time**2)
    assert stopping_point(STILL, at(KNEE, -speed))[0, KNEE] == pytest.approx(-stop)


# Monitor


def test_nothing_seen_nothing_claimed():
    report = SafetyMonitor().report()
    assert report["steps"] == 0
    assert report["position_violations"] == 0
    assert report["closest_position_margin_rad"] is None
    json.dumps(report, allow_nan=False)


def test_margins_are_the_closest_over_time_and_robots():
    monitor = SafetyMonitor(2)
    poses = np.repeat(READY, 2, axis=0)
    for gap in (0.3, 0.1, 0.2):
        poses[1, KNEE] = UPPER[KNEE] - gap
        monitor.update(poses, np.zeros_like(poses), np.zeros_like(poses))
    report = monitor.report()
    knee = report["by_joint"]["left_knee_joint"]
    assert knee["closest_position_margin_rad"] == pytest.approx(0.1)
    assert report["steps"] == 6
    assert report["position_violations"] == 0


def test_a_violation_is_counted_per_control_step_and_joint():
    monitor = SafetyMonitor()
    for excess in (-0.1, 0.05, 0.02, -0.1):
        monitor.update(at(KNEE, UPPER[KNEE] + excess, READY), STILL, STILL)
    monitor.update(READY, at(KNEE, -VELOCITY_LIMIT[KNEE] - 1.0), STILL)
    monitor.update(READY, STILL, at(KNEE, EFFORT_LIMIT[KNEE] + 2.0))
    report = monitor.report()
    knee = report["by_joint"]["left_knee_joint"]
    assert (report["position_violations"], report["velocity_violations"], report["torque_violations"]) == (
        2,
        1,
        1,
    )
    assert (knee["position_violations"], knee["velocity_violations"], knee["torque_violations"]) == (2, 1, 1)
    assert knee["closest_position_margin_rad"] == pytest.approx(-0.05)
    assert knee["closest_velocity_margin_rad_s"] == pytest.approx(-1.0)
    assert knee["closest_torque_margin_nm"] == pytest.approx(-2.0)
    assert report["closest_position_joint"] == "left_knee_joint"


def test_resting_at_the_limit_is_no_violation():
    monitor = SafetyMonitor()
    monitor.update(UPPER.astype(np.float32)[None], STILL, EFFORT_LIMIT.astype(np.float32)[None] * (1 + 1e-7))
    report = monitor.report()
    assert report["position_violations"] == report["torque_violations"] == 0


def test_a_joint_that_cannot_stop_any_more_is_a_braking_violation():
    speed = 8.0
    distance = speed**2 / (2 * deceleration(READY)[0, KNEE])
    monitor = SafetyMonitor()
    monitor.update(at(KNEE, UPPER[KNEE] - 1.1 * distance, READY), at(KNEE, speed), STILL)
    assert monitor.report()["braking_violations"] == 0
    monitor.update(at(KNEE, UPPER[KNEE] - 0.9 * distance, READY), at(KNEE, speed), STILL)
    monitor.update(at(KNEE, UPPER[KNEE] - 0.9 * distance, READY), at(KNEE, -speed), STILL)
    report = monitor.report()
    assert report["braking_violations"] == 1
    assert report["position_violations"] == 0
    assert report["closest_braking_margin_rad"] == pytest.approx(-0.1 * distance)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", range(3))
def test_values_that_are_not_finite_are_counted_by_joint_and_do_not_spread(value, which):
    monitor = SafetyMonitor(2)
    arguments = [np.repeat(READY, 2, axis=0), np.zeros((2, 29)), np.zeros((2, 29))]
    arguments[which][0, KNEE] = value
    arguments[0][1, KNEE] = UPPER[KNEE] - 0.2
    monitor.update(*arguments)
    report = monitor.report()
    assert report["non_finite"] == 1
    assert report["by_joint"]["left_knee_joint"]["non_finite"] == 1
    assert report["by_joint"]["left_knee_joint"]["closest_position_margin_rad"] == pytest.approx(0.2)
    assert report["position_violations"] == report["velocity_violations"] == report["torque_violations"] == 0
    json.dumps(report, allow_nan=False)


def test_robots_that_are_not_active_do_not_count():
    monitor = SafetyMonitor(2)
    poses = np.stack([READY_JOINT_POS, UPPER + 1.0])
    monitor.update(poses, np.zeros((2, 29)), np.zeros((2, 29)), active=np.array([True, False]))
    report = monitor.report()
    assert report["steps"] == 1
    assert report["position_violations"] == 0


def test_totals_are_sums_over_joints():
    rng = np.random.default_rng(1)
    monitor = SafetyMonitor(8)
    for _ in range(20):
        monitor.update(rng.normal(0, 3, (8, 29)), rng.normal(0, 20, (8, 29)), rng.normal(0, 60, (8, 29)))
    report = monitor.report()
    for key in ("position", "velocity", "torque", "braking"):
        total = sum(entry[f"{key}_violations"] for entry in report["by_joint"].values())
        assert report[f"{key}_violations"] == total > 0
    assert tuple(report["by_joint"]) == JOINT_NAMES


def test_misshapen_input_is_named():
    with pytest.raises(ValueError, match=r"joint_vel has shape \(1, 28\)"):
        SafetyMonitor().update(READY, np.zeros((1, 28)), STILL)


def test_many_robots_are_as_many_single_ones():
    rng = np.random.default_rng(2)
    together, alone = SafetyMonitor(5), [SafetyMonitor() for _ in range(5)]
    shield, shields = Shield(num_robots=5), [Shield() for _ in range(5)]
    for _ in range(10):
        q, wanted = rng.uniform(1.1 * LOWER, 1.1 * UPPER, (2, 5, 29))
        v, torque = rng.normal(0, 0.4, (2, 5, 29)) * np.stack([VELOCITY_LIMIT, EFFORT_LIMIT])[:, None]
        together.update(q, v, torque)
        safe = shield.filter(wanted, q, v)
        for k in range(5):
            row = slice(k, k + 1)
            alone[k].update(q[row], v[row], torque[row])
            np.testing.assert_array_equal(
                shields[k].filter(wanted[row], q[row], v[row]).target, safe.target[row]
            )
    for key in (
        "position_violations",
        "velocity_violations",
        "torque_violations",
        "braking_violations",
        "steps",
    ):
        assert together.report()[key] == sum(monitor.report()[key] for monitor in alone) > 0
    for key in ("position_margin_rad", "velocity_margin_rad_s", "torque_margin_nm", "braking_margin_rad"):
        closest = [monitor.report()[f"closest_{key}"] for monitor in alone]
        assert together.report()[f"closest_{key}"] == min(closest)


# Self-collision

ELBOW = JOINT_INDEX["right_elbow_joint"]
SHOULDER = JOINT_INDEX["right_shoulder_roll_joint"]


def test_the_ready_pose_hits_nothing():
    monitor = SelfCollisionMonitor()
    monitor.update(np.repeat(READY, 3, axis=0))
    report = monitor.report()
    assert report["steps"] == 3
    assert report["overlap_steps"] == 0
    assert report["by_pair"] == {}


def test_an_arm_pressed_into_the_trunk_is_counted_once_a_step_and_robot():
    """The racket's many pieces, or two pairs at once, do not make two steps of one."""
    monitor = SelfCollisionMonitor()
    inside = at(SHOULDER, 0.9, READY)
    poses = np.concatenate([READY, inside, inside])
    for _ in range(2):
        monitor.update(poses)
    report = monitor.report()
    assert (report["steps"], report["overlap_steps"]) == (6, 4)
    assert report["closest_gap_m"] < -0.01
    assert report["by_pair"][report["closest_pair"]]["closest_gap_m"] == report["closest_gap_m"]
    assert all("right" in pair or "racket" in pair for pair in report["by_pair"])
    assert max(entry["overlap_steps"] for entry in report["by_pair"].values()) == 4
    json.dumps(report, allow_nan=False)
    monitor.reset()
    assert monitor.report()["steps"] == 0


def test_poses_that_are_no_numbers_hit_nothing():
    monitor = SelfCollisionMonitor()
    monitor.update(at(ELBOW, np.nan, READY))
    report = monitor.report()
    assert (report["steps"], report["closest_gap_m"], report["closest_pair"]) == (0, None, None)


def test_self_collision_counts_the_pairs_that_are_near():
    poses = np.clip(READY_JOINT_POS + np.random.default_rng(3).normal(0.0, 0.8, (60, 29)), LOWER, UPPER)
    monitor, bodies = SelfCollisionMonitor(), Bodies()
    monitor.update(poses)
    near, report = bodies.near(*placements(poses), SelfCollisionMonitor.WITHIN), monitor.report()
    hit = near.gap < 0.0
    assert report["overlap_steps"] == len(np.unique(near.frame[hit])) > 0
    assert report["closest_gap_m"] == pytest.approx(near.gap.min())
    frames = {}
    for frame, pair in zip(near.frame[hit], near.pair[hit], strict=True):
        frames.setdefault(bodies.labels[pair], set()).add(frame)
    counted = {name: entry["overlap_steps"] for name, entry in report["by_pair"].items()}
    assert counted == {name: len(rows) for name, rows in frames.items()}


# Shield


def test_a_harmless_command_passes_unchanged():
    shield = Shield()
    wanted = READY + 0.02
    result = shield.filter(wanted, READY, STILL)
    np.testing.assert_array_equal(result.target, wanted)
    assert result.interventions == []


def test_the_torque_of_the_command_stays_within_the_effort():
    shield = Shield(limits=ShieldLimits(target_rate=1e3))
    wanted = np.where(np.arange(29) % 2, UPPER, LOWER)[None]
    result = shield.filter(wanted, READY, STILL)
    assert (np.abs(pd_torque(result.target, READY, STILL)) <= EFFORT_LIMIT * (1 + 1e-9)).all()
    assert {change.kind for change in result.interventions} == {"torque"}


def test_a_target_that_suits_a_fast_joints_period_passes():
    """A wrist at 11 rad/s without acceleration: the target of the period's middle asks for 5.5 N·m at its beginning."""
    wrist = JOINT_INDEX["right_wrist_yaw_joint"]
    shield, speed = Shield(limits=ShieldLimits(target_rate=1e3)), at(wrist, 11.0)
    q, later = at(wrist, -0.6, READY), at(wrist, -0.6 + 11.0 * 0.02, READY)
    shield.filter(q, at(wrist, -0.82, READY), speed)
    wanted = at(wrist, -0.6 + 11.0 * 0.01 + KD[wrist] / KP[wrist] * 11.0, READY)
    assert pd_torque(wanted, q, speed)[0, wrist] > EFFORT_LIMIT[wrist] > 0
    np.testing.assert_array_equal(shield.filter(wanted, q, speed).target, wanted)
    greedy = shield.filter(at(wrist, 3.0, READY), q, speed).target
    assert pd_torque(greedy, later, speed)[0, wrist] == pytest.approx(EFFORT_LIMIT[wrist])


def test_what_the_waist_can_be_stopped_from_depends_on_the_arms():
    waist, roll = (
        JOINT_INDEX["waist_roll_joint"],
        [JOINT_INDEX[f"{side}_shoulder_roll_joint"] for side in ("left", "right")],
    )
    q, speed = at(waist, 0.2, READY), at(waist, 3.5)
    wide = q.copy()
    wide[0, roll] = 1.5, -1.5
    assert "braking" not in Shield().filter(q, q, speed).changed
    assert "braking" in Shield().filter(wide, wide, speed).changed


def test_a_target_that_outruns_the_motor_is_held_back():
    shield = Shield()
    shield.filter(READY, READY, STILL)
    result = shield.filter(at(KNEE, READY[0, KNEE] + 1.5, READY), READY, STILL)
    assert "rate" in result.changed
    assert result.target[0, KNEE] - READY[0, KNEE] <= 2.0 * VELOCITY_LIMIT[KNEE] * 0.02 + 1e-9


def test_some_robots_start_anew():
    shield = Shield(num_robots=2)
    both, far = np.repeat(READY, 2, axis=0), np.repeat(at(KNEE, READY[0, KNEE] + 1.5, READY), 2, axis=0)
    shield.filter(both, both, np.zeros((2, 29)))
    shield.reset(robots=np.array([False, True]))
    result = shield.filter(far, far, np.zeros((2, 29)))
    assert result.target[0, KNEE] < far[0, KNEE]
    assert result.target[1, KNEE] == far[1, KNEE]


def test_a_target_beyond_the_range_is_brought_back():
    shield = Shield()
    near = at(KNEE, UPPER[KNEE] - 0.05, READY)
    shield.reset(near)
    result = shield.filter(at(KNEE, UPPER[KNEE] + 0.2, READY), near, STILL)
    assert result.target[0, KNEE] == UPPER[KNEE]
    (change,) = result.interventions
    assert (change.kind, change.joint, change.robot) == ("position", "left_knee_joint", 0)
    assert change.change == pytest.approx(-0.2)


@pytest.mark.parametrize("inertia_share", [1.0, 0.5])
@pytest.mark.parametrize("end", ["upper", "lower"])
def test_joints_that_race_toward_their_limits_are_braked_before_them(end, inertia_share):
    """Joints with the inertia of their pose, or half of it, sent beyond their limits at full torque."""
    dt, physics = 0.02, 0.001
    wanted = (UPPER + 2.0 if end == "upper" else LOWER - 2.0)[None]
    worst = {}
    for shielded in (False, True):
        shield = Shield(dt=dt)
        q, v = READY, STILL
        for _ in range(60):
            inertia = inertia_share * pose_inertia(q)
            target = shield.filter(wanted, q, v).target if shielded else wanted
            for _ in range(round(dt / physics)):
                torque = np.clip(pd_torque(target, q, v), -EFFORT_LIMIT, EFFORT_LIMIT)
                v = v + physics * torque / inertia
                q = q + physics * v
            worst[shielded] = min(worst.get(shielded, np.inf), (UPPER - q).min(), (q - LOWER).min())
    assert worst[False] < -1.0
    assert worst[True] > -0.001


def bounds(q, v, last_vel, last):
    """The shield's linear bounds low ≤ A u ≤ high on the targets u of one robot, most important first."""
    effort, travel, diagonal = EFFORT_LIMIT, 0.02 * v, np.diag(KP)
    # kp (u − q) − kd q̇ within the effort, now or where the joint is at the period's end.
    now = KP * q + KD * v
    torque = (
        diagonal,
        now - effort + KP * np.minimum(travel, 0.0),
        now + effort + KP * np.maximum(travel, 0.0),
    )
    gained = np.where((v - last_vel) * v > 0.0, v - last_vel, 0.0)
    end, margin = q + 0.02 * (v + 0.5 * gained), ShieldLimits().brake_margin * (UPPER - LOWER)
    racing = []
    for slowing in (deceleration(), deceleration(q[None])[0]):
        ahead = stopping_point(end, v + gained, slowing)
        racing.append(((v > 0) & (ahead > UPPER - margin), (v < 0) & (ahead < LOWER + margin)))
    rising, falling = racing[1] if np.any(racing[0]) else (np.zeros(29, dtype=bool),) * 2
    stop = stopping_point(q, v, deceleration(q[None])[0])
    brake = np.where((stop > UPPER) | (stop < LOWER), effort, BRAKE_SHARE * effort)
    braking = diagonal, np.where(falling, now + brake, -np.inf), np.where(rising, now - brake, np.inf)
    step = 2.0 * VELOCITY_LIMIT * 0.02
    return torque, braking, (np.eye(29), LOWER, UPPER), (np.eye(29), last - step, last + step)


def nearest(wanted, levels):
    """The quadratic programme with priorities by solvers: level after level the least misses, then, held to them, the
    nearest point, by non-negative least squares (Lawson and Hanson, Solving Least Squares Problems, 1974, ch. 23)."""
    rows, ends = np.empty((0, 29)), np.empty(0)  # What is held: rows u ≤ ends.
    for a, low, high in levels:
        a, b = np.concatenate([a, -a]), np.concatenate([high, -low])
        a, b = a[np.isfinite(b)], b[np.isfinite(b)]
        size = len(b)
        found = linprog(
            np.append(np.zeros(29), np.ones(size)),
            np.block([[a, -np.eye(size)], [rows, np.zeros((len(rows), size))]]),
            np.append(b, ends),
            bounds=[(None, None)] * 29 + [(0.0, None)] * size,
        )
        assert found.success, found.message
        rows, ends = np.concatenate([rows, a]), np.append(ends, b + found.x[29:] + 1e-6)
    system = np.vstack([-rows.T, rows @ wanted - ends])
    off = system @ nnls(system, np.append(np.zeros(29), 1.0))[0] - np.append(np.zeros(29), 1.0)
    return wanted - off[:-1] / off[-1]


@pytest.mark.parametrize("seed", range(6))
def test_the_safe_command_is_the_solution_of_the_quadratic_programme(seed):
    rng = np.random.default_rng(seed)
    shield = Shield()
    q, before = rng.uniform(LOWER, UPPER, (2, 1, 29))
    last_vel, v = rng.normal(0.0, 0.3, (2, 1, 29)) * VELOCITY_LIMIT
    shield.filter(before, q - 0.02 * v, last_vel)
    last = shield.last
    wanted = rng.uniform(1.5 * LOWER, 1.5 * UPPER, (1, 29))
    shielded = shield.filter(wanted, q, v)
    assert set(shielded.changed) == {"rate", "position", "braking", "torque"}
    expected = nearest(wanted[0], bounds(q[0], v[0], last_vel[0], last[0]))
    np.testing.assert_allclose(shielded.target[0], expected, atol=1e-5)


def test_a_command_that_is_not_finite_is_replaced_by_the_last_one():
    shield = Shield()
    shield.filter(READY + 0.01, READY, STILL)
    result = shield.filter(at(KNEE, np.nan, READY), READY, STILL)
    assert result.target[0, KNEE] == pytest.approx(READY[0, KNEE] + 0.01)
    assert [change.kind for change in result.interventions] == ["non_finite"]


@settings(max_examples=150, deadline=None)
@given(
    arrays(np.float64, (3, 2, NUM_JOINTS), elements=st.floats(allow_nan=True, allow_infinity=True)),
    arrays(np.float64, (3, 2, NUM_JOINTS), elements=st.floats(-50, 50)),
)
def test_whatever_comes_in_what_goes_out_is_finite_and_within_the_effort(wild, mild):
    shield = Shield(num_robots=2)
    for target, q, v in (wild, mild, (wild[0], mild[1], mild[2]), (mild[0], wild[1], mild[2])):
        result = shield.filter(target, q, v)
        assert np.isfinite(result.target).all()
        known = np.isfinite(q) & np.isfinite(v) & (np.abs(q) < 1e3) & (np.abs(v) < 1e4)
        with np.errstate(all="ignore"):
            now = KP * (result.target - q) - KD * v
            then = now - KP * 0.02 * v
            # Within the effort now or at the period's end, or in between.
            spared = np.where(np.sign(now) != np.sign(then), 0.0, np.minimum(np.abs(now), np.abs(then)))
        assert (spared <= EFFORT_LIMIT * (1 + 1e-6) + 1e-6)[known].all()
        assert (shield.last >= LOWER).all()
        assert (shield.last <= UPPER).all()


@settings(max_examples=100, deadline=None)
@given(arrays(np.float64, (3, 1, NUM_JOINTS), elements=st.floats(-1, 1)))
def test_for_slow_joints_within_their_range_the_target_stays_within_the_range(unit):
    middle, half = (UPPER + LOWER) / 2, (UPPER - LOWER) / 2
    q = middle + 0.8 * half * unit[0]
    result = Shield().filter(middle + 3 * half * unit[1], q, 0.1 * unit[2])
    assert (result.target >= LOWER).all()
    assert (result.target <= UPPER).all()


# Guard


def kinds(**changes):
    state = {
        "joint_pos": READY_JOINT_POS,
        "joint_vel": np.zeros(29),
        "root_quat": UPRIGHT,
        "base_ang_vel": np.zeros(3),
        "age": 0.005,
    }
    return [fault.kind for fault in StateGuard().check_state(**(state | changes))]


def tilted(degrees):
    half = np.radians(degrees) / 2
    return np.array([np.cos(half), 0.0, np.sin(half), 0.0])


def test_a_standing_robot_has_no_fault():
    assert kinds() == []


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"root_quat": tilted(61)}, "tilt"),
        ({"root_quat": tilted(180)}, "tilt"),
        ({"root_quat": np.zeros(4)}, "orientation"),
        ({"root_quat": np.full(4, np.nan)}, "non_finite"),
        ({"base_ang_vel": np.array([0, np.inf, 0])}, "non_finite"),
        ({"age": 0.07}, "stale"),
        ({"age": np.nan}, "stale"),
        ({"joint_pos": at(KNEE, np.nan)[0]}, "non_finite"),
        ({"joint_pos": at(KNEE, UPPER[KNEE] + 0.4)[0]}, "position"),
        ({"joint_vel": at(KNEE, 31.0)[0]}, "velocity"),
        ({"signals": {"ball_pos": np.array([0, 0, np.nan])}}, "non_finite"),
    ],
)
def test_each_kind_of_fault_is_found(changes, kind):
    assert kinds(**changes) == [kind]


def test_tilt_within_the_limit_is_no_fault():
    assert kinds(root_quat=tilted(59)) == []


def test_faults_name_the_joint():
    (fault,) = StateGuard().check_state(at(KNEE, np.nan)[0], np.zeros(29), UPRIGHT, np.zeros(3))
    assert "left_knee_joint" in fault.detail


def test_a_state_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(28,\)"):
        kinds(joint_vel=np.zeros(28))
