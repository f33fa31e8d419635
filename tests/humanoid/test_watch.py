from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from humanoid.bodies import placements
from humanoid.joints import EFFORT_LIMIT, JOINT_INDEX, KD, KP, LOWER, READY_JOINT_POS, UPPER, VELOCITY_LIMIT
from humanoid.watch import (
    CHECKS,
    FEATURES,
    CheckLimits,
    Level,
    Senses,
    Statistics,
    Watch,
    WatchError,
    load_limits,
    make_limits,
)

DT = 0.02
ANKLES = placements(READY_JOINT_POS[None])[0][
    0, [list(JOINT_INDEX).index(f"{s}_ankle_roll_joint") + 1 for s in ("left", "right")]
]
HEIGHT = float(-ANKLES[:, 2].mean()) + 0.035
"""Of the pelvis in the ready pose."""
NEVER = {name: CheckLimits(reason="not here") for name in CHECKS}


def standing(n=1, time=0.0, noise=1e-7, seed=0):
    """Robots that stand in the ready pose; readings that are alive, as sensors are."""
    rng = np.random.default_rng((seed, round(time / DT)))

    def near(values):
        values = np.broadcast_to(np.asarray(values, dtype=float), (n, len(values)))
        return values + noise * rng.normal(size=values.shape)

    still = np.zeros(29)
    return Senses(
        joint_pos=near(READY_JOINT_POS), joint_vel=near(still), torque=near(still), root_quat=near([1, 0, 0, 0]),
        base_ang_vel=near([0, 0, 0]), root_pos=near([0, 0, HEIGHT]), root_lin_vel=near([0, 0, 0]),
        target=near(READY_JOINT_POS), asked=near(READY_JOINT_POS), time=np.full(n, time), age=np.zeros(n),
        ball_pos=near([0, 0, 1]), ball_vel=near([0, 0, 0]), ball_valid=np.ones((n, 1)),
    )  # fmt: skip


def watched(change=lambda senses, step: senses, steps=30, **options):
    watch = Watch(**options)
    for step in range(steps):
        watch.update(change(standing(watch.num_robots, step * DT), step))
    return watch


def value(watch, check, robot=0):
    return watch.value[robot, CHECKS.index(check)]


def test_a_robot_that_stands_is_well():
    watch = watched()
    assert watch.level.tolist() == [Level.OK]
    assert watch.causes() == []


def test_every_threshold_has_its_reason():
    for name, limits in load_limits().items():
        assert limits.reason.strip(), name


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda v: v.pop("tilt"), "tilt"),
        (lambda v: v.update(mood={"warn": 1}), "mood"),
        (lambda v: v.update(tilt={"warn": 2, "stop": 1}), "tilt"),
        (lambda v: v.update(tilt={"warn": 1, "halt": 2}), "tilt"),
        (lambda v: v.update(tilt={"warn": 1, "stop": 2, "hold": 0}), "tilt"),
        (lambda v: v.update(tilt={"warn": 1, "at_once": 0.5}), "tilt"),
    ],
)
def test_limits_that_make_no_sense_are_refused_by_name(change, text):
    values = dict(NEVER)
    change(values)
    with pytest.raises(WatchError, match=text):
        make_limits(values)


def set_joint(name, joint, given):
    def change(senses, step):
        table = getattr(senses, name).copy()
        table[:, JOINT_INDEX[joint]] = given(step) if callable(given) else given
        return replace(senses, **{name: table})

    return change


def set_row(name, given, start=10):
    def change(senses, step):
        if step < start:
            return senses
        table = np.broadcast_to(np.asarray(given(step), dtype=float), getattr(senses, name).shape).copy()
        return replace(senses, **{name: table})

    return change


def sliding(senses, step):
    x = 1.5 * DT * step
    return replace(
        senses,
        root_pos=senses.root_pos + np.array([x, 0, 0]),
        root_lin_vel=senses.root_lin_vel + np.array([1.5, 0, 0]),
    )


KNEE = "left_knee_joint"
FAILS = {
    "position": (set_joint("joint_pos", KNEE, UPPER[JOINT_INDEX[KNEE]] + 0.2), 0.2),
    "speed": (set_joint("joint_vel", KNEE, 1.2 * VELOCITY_LIMIT[JOINT_INDEX[KNEE]]), 1.2),
    "torque": (set_joint("asked", KNEE, READY_JOINT_POS[JOINT_INDEX[KNEE]] + 30 * EFFORT_LIMIT[3] / KP[3]), 30.0),
    "servo": (set_joint("torque", KNEE, 0.6 * EFFORT_LIMIT[JOINT_INDEX[KNEE]]), 0.6),
    # A drift of 0.6 rad/s for ever comes to 0.6 rad/s times the time constant.
    "encoder": (set_joint("joint_pos", KNEE, lambda step: 0.85 + 0.6 * DT * step), 0.6 * 0.5 * (1 - 0.96**29)),
    "action": (set_joint("asked", KNEE, lambda step: 6.0 * VELOCITY_LIMIT[3] * DT * (step % 2)), 6.0),
    "non_finite": (set_row("ball_pos", lambda step: np.nan), None),
    "age": (lambda senses, step: replace(senses, age=np.array([0.08])), 0.08),
    "clock": (lambda senses, step: replace(senses, time=senses.time * 3), 0.04),
    "heat": (set_joint("torque", KNEE, EFFORT_LIMIT[3]), np.sqrt(1 - (1 - DT / 10) ** 300)),
    "action_frozen": (set_row("asked", lambda step: READY_JOINT_POS), 19),
    "tilt": (set_row("root_quat", lambda step: [np.cos(0.5), np.sin(0.5), 0, 0]), 1.0),
    "gyro": (set_row("base_ang_vel", lambda step: [0, 0, 0.4], 0), 0.4 * 0.5 * (1 - 0.96**29)),
    "imu_frozen": (lambda s, t: set_row("root_quat", lambda step: [1, 0, 0, 0])(
        set_row("base_ang_vel", lambda step: [0, 0, 0])(s, t), t), 19),
    "base": (set_row("root_lin_vel", lambda step: [0, 0.3, 0], 0), 0.3 * 0.5 * (1 - 0.96**29)),
    "base_frozen": (lambda s, t: set_row("root_pos", lambda step: [0, 0, HEIGHT])(
        set_row("root_lin_vel", lambda step: [0, 0, 0])(s, t), t), 19),
    "height": (set_row("root_pos", lambda step: [0, 0, HEIGHT - 0.4]), 0.4),
    "sole_tilt": (set_row("root_quat", lambda step: [np.cos(0.2), 0, np.sin(0.2), 0]), 0.4),
    "sole_height": (set_row("root_pos", lambda step: [0, 0, HEIGHT + 0.2]), 0.2),
    "slip": (sliding, 1.5),
    "ball": (set_row("ball_vel", lambda step: [3.0, 0, 0], 0), 3.0 * 0.5 * (1 - 0.96**29)),
    "ball_frozen": (set_row("ball_pos", lambda step: [0, 0, 1.0]), 19),
}  # fmt: skip


@pytest.mark.parametrize("check", FAILS)
def test_what_is_wrong_shows_in_its_check(check):
    change, size = FAILS[check]
    watch = watched(change, 300 if check == "heat" else 30)
    assert value(watch, check) > load_limits()[check].warn
    if size is not None:
        assert value(watch, check) == pytest.approx(size, rel=0.02)
    assert check in {cause.check for cause in watch.causes()}


def test_the_joint_is_named():
    watch = watched(FAILS["servo"][0])
    assert {cause.joint for cause in watch.causes() if cause.check == "servo"} == {KNEE}


def test_a_joint_that_repeats_itself_while_its_target_moves_is_found():
    def change(senses, step):
        q, v, target = senses.joint_pos.copy(), senses.joint_vel.copy(), senses.target.copy()
        q[:, 3], v[:, 3], target[:, 3] = 0.8, 0.0, 0.8 + 0.002 * step
        return replace(senses, joint_pos=q, joint_vel=v, target=target)

    watch = watched(change, limits=NEVER)
    assert value(watch, "joint_frozen") == 29
    # One that rests where it shall rest is none.
    watch = watched(lambda s, t: replace(change(s, t), target=s.target), limits=NEVER)
    assert value(watch, "joint_frozen") == 0


def test_power_is_that_of_the_motors():
    def change(senses, step):
        return set_joint("torque", KNEE, 40.0)(set_joint("joint_vel", KNEE, 5.0)(senses, step), step)

    assert value(watched(change, 200, limits=NEVER), "power") == pytest.approx(200.0, rel=0.01)


def test_a_ball_that_jumps_is_counted_and_a_new_ball_is_one_jump():
    def jumping(senses, step):
        return replace(senses, ball_pos=senses.ball_pos + np.array([3.0 * (step // 5), 0, 0]))

    assert value(watched(jumping), "ball_jumps") > 3
    once = watched(lambda s, t: replace(s, ball_pos=s.ball_pos + np.array([3.0 * (t > 10), 0, 0])))
    assert 0 < value(once, "ball_jumps") <= 1
    assert once.level[0] == Level.OK


def test_capture_point_outside_the_soles():
    fast = watched(set_row("root_lin_vel", lambda step: [0, 1.5, 0]), 12)
    ahead = 1.5 * np.sqrt(HEIGHT / 9.81)
    edge = (ANKLES[:, 1] + 0.03).max()
    assert value(fast, "capture") == pytest.approx(ahead - edge, abs=0.01)
    assert value(watched(steps=12), "capture") < 0


def test_turning_with_the_gyro_is_no_drift():
    def turning(senses, step):
        angle = 2.0 * DT * step
        quat = np.array([[np.cos(angle / 2), 0, 0, np.sin(angle / 2)]])
        return replace(senses, root_quat=quat, base_ang_vel=np.array([[0, 0, 2.0]]))

    assert value(watched(turning, limits=NEVER), "gyro") < 1e-3
    # Nor does it matter which of its two signs the quaternion has.
    assert value(watched(lambda s, t: replace(s, root_quat=s.root_quat * (-1) ** t)), "gyro") < 1e-3


def test_novelty_is_the_distance_from_what_was_seen():
    seen = np.random.default_rng(0).normal(size=(20_000, FEATURES))
    # The last two always go together: apart they are new, though each for itself is usual.
    seen[:, -1] = seen[:, -2]
    statistics = Statistics.of(seen, least=0.1)
    usual, apart = np.zeros((2, FEATURES))
    apart[-2:] = 1.0, -1.0
    distance = [np.linalg.norm((x - statistics.mean) @ statistics.whiten) for x in (usual, apart)]
    assert distance[0] < 0.2
    assert distance[1] == pytest.approx(np.sqrt(2) / 0.1, rel=0.05)
    watch = watched(limits=NEVER, statistics=statistics)
    off = (watch.features[0] - statistics.mean) @ statistics.whiten
    assert value(watch, "novelty") == pytest.approx(np.sqrt((off**2).mean()))
    np.testing.assert_allclose(watch.features[0, :29], READY_JOINT_POS, atol=1e-5)
    np.testing.assert_allclose(watch.features[0, -9:], [0, 0, 1, HEIGHT, 0, 0, 0, 0, 0], atol=1e-5)


def test_statistics_of_other_features_are_refused():
    with pytest.raises(WatchError, match=str(FEATURES)):
        Watch(statistics=Statistics(np.zeros(FEATURES), np.zeros((FEATURES - 1, 3))))


def test_a_torque_between_those_of_the_last_two_targets_is_no_servo_fault():
    def late(senses, step):
        target, torque = senses.target.copy(), senses.torque.copy()
        target[:, 3] += 0.05 * step
        # The motor has had the newest target for half the period.
        torque[:, 3] = KP[3] * 0.05 * (step - 0.5)
        return replace(senses, target=target, torque=torque)

    assert value(watched(late, 8, limits=NEVER), "servo") < 1e-5
    assert value(watched(lambda s, t: replace(late(s, t), torque=s.torque), 8, limits=NEVER), "servo") > 0.2


def test_a_stop_holds_until_the_reset_and_no_other_robot_stops():
    watch = Watch(3)
    for step in range(40):
        senses = standing(3, step * DT)
        if 10 <= step < 13:
            senses.root_quat[1] = [0, 1, 0, 0]
        stopped = watch.update(senses)
        assert stopped.tolist() == [False, step >= 10, False]
    assert watch.level.tolist() == [Level.OK, Level.STOP, Level.OK]
    causes = [cause for cause in watch.causes(1) if cause.level == Level.STOP]
    assert causes[0].step == 10
    assert "tilt" in {cause.check for cause in causes}
    assert watch.causes(0) == []
    watch.reset(np.array([False, True, False]))
    for step in range(40, 50):
        watch.update(standing(3, step * DT))
    assert watch.level.tolist() == [Level.OK] * 3
    assert watch.causes(1) == []


def test_a_stop_waits_until_its_value_has_held():
    limits = {**NEVER, "height": CheckLimits(0.1, 0.2, 3, reason="here")}
    for steps, level in ((2, Level.OK), (3, Level.STOP)):
        watch = watched(
            lambda s, t, steps=steps: replace(s, root_pos=s.root_pos - [0, 0, 0.5 * (10 <= t < 10 + steps)]),
            limits=limits,
        )
        assert watch.level[0] == level


def test_what_is_far_beyond_stops_at_once():
    limits = {**NEVER, "height": CheckLimits(0.1, 0.2, 5, 0.6, "here")}
    for drop, level in ((0.5, Level.OK), (0.7, Level.STOP)):
        watch = watched(
            lambda s, t, d=drop: replace(s, root_pos=s.root_pos - [0, 0, d * (t == 10)]), limits=limits
        )
        assert watch.level[0] == level
    (cause,) = [cause for cause in watch.causes() if cause.level == Level.STOP]
    assert cause.step == 10
    assert watch.explain(cause) == "height is 0.7, above 0.6: here"


def test_the_shields_doing_is_a_level_of_its_own():
    watch = watched()
    watch.limited(np.array([True]))
    assert watch.level[0] == Level.LIMIT
    watch.update(standing(1, 30 * DT))
    assert watch.level[0] == Level.OK


def test_many_robots_are_as_many_single_ones():
    def wild(n, step, rows):
        senses = standing(8, step * DT, noise=0.05, seed=3)
        return Senses(
            **{
                f.name: None if getattr(senses, f.name) is None else getattr(senses, f.name)[rows]
                for f in fields(Senses)
            }
        )

    together, alone = Watch(8), [Watch() for _ in range(8)]
    for step in range(20):
        together.update(wild(8, step, slice(None)))
        for k, watch in enumerate(alone):
            watch.update(wild(8, step, slice(k, k + 1)))
    np.testing.assert_allclose(together.value, np.concatenate([watch.value for watch in alone]), atol=1e-12)
    assert together.level.tolist() == [int(watch.level[0]) for watch in alone]


ANYTHING = st.floats(allow_nan=True, allow_infinity=True, width=64)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from([f.name for f in fields(Senses)]),
    data=st.data(),
)
def test_whatever_comes_in_nothing_raises_and_no_nonsense_passes(name, data):
    watch = Watch()
    for step in range(3):
        watch.update(standing(1, step * DT))
    senses = standing(1, 3 * DT)
    table = data.draw(arrays(float, getattr(senses, name).shape, elements=ANYTHING))
    stopped = watch.update(replace(senses, **{name: table}))
    assert np.isfinite(watch.value).all()
    if not (np.abs(table) <= 1e6).all():
        assert stopped[0]
        assert watch.level[0] == Level.STOP


def test_a_wrong_shape_is_named():
    senses = standing(1)
    with pytest.raises(ValueError, match="root_quat"):
        Watch().update(replace(senses, root_quat=senses.root_quat[:, :3]))
    with pytest.raises(ValueError, match="torque"):
        Watch().update(replace(senses, torque=senses.torque[:, :3]))


def test_worst_values_are_kept():
    watch = watched(lambda s, t: replace(s, age=np.array([0.03 if t == 5 else 0.0])))
    assert watch.worst()["age"] == 0.03


def test_limits_are_those_of_the_joint_table():
    for bound, sign in ((LOWER, -1), (UPPER, 1)):
        q = bound + 0.3 * sign
        watch = watched(lambda s, t, q=q: replace(s, joint_pos=q[None] + 1e-9 * t), 5, limits=NEVER)
        assert value(watch, "position") == pytest.approx(0.3, abs=1e-6)
    assert KD.shape == KP.shape


def swinging(spring=1.0, damping=1.0, noise=(0.0, 0.0), joint="right_elbow_joint", start=0, limit=1.0):
    """A joint that follows a target which swings by 0.6 rad at 2 Hz, with motors of other gains from `start` on."""
    i, rng = JOINT_INDEX[joint], np.random.default_rng(0)

    def change(senses, step):
        phase = 2 * np.pi * 2.0 * step * DT
        q = READY_JOINT_POS[i] + 0.5 * np.sin(phase - 0.5)
        v = 0.5 * 4 * np.pi * np.cos(phase - 0.5)
        target = READY_JOINT_POS[i] + 0.6 * np.sin(phase)
        a, b = (spring, damping) if step >= start else (1.0, 1.0)
        torque = np.clip(
            a * KP[i] * (target - q) - b * KD[i] * v, -limit * EFFORT_LIMIT[i], limit * EFFORT_LIMIT[i]
        )
        tables = {}
        for name, number in (
            ("joint_pos", q + noise[0] * rng.normal()), ("joint_vel", v + noise[1] * rng.normal()),
            ("target", target), ("asked", target), ("torque", torque),
        ):  # fmt: skip
            tables[name] = getattr(senses, name).copy()
            tables[name][:, i] = number
        return replace(senses, **tables)

    return change


def test_right_gains_are_known_for_right():
    assert value(watched(swinging(), 100), "gains") < 0.05
    assert value(watched(swinging(noise=(0.005, 0.3)), 100), "gains") < 0.2


@pytest.mark.parametrize(("spring", "damping"), [(1.0, 0.1), (2.5, 1.0), (2.5, 0.1)])
def test_wrong_gains_are_found_within_a_swing(spring, damping):
    watch = watched(swinging(spring, damping, start=50), 50 + 30)
    causes = [cause for cause in watch.causes() if cause.check == "gains" and cause.level == Level.STOP]
    assert causes
    assert causes[0].joint == "right_elbow_joint"
    assert 50 <= causes[0].step < 80


def test_motors_at_their_limit_say_nothing_of_gains():
    """Half the torque that is asked for is cut off: that is no other gain."""
    i = JOINT_INDEX["right_elbow_joint"]
    assert KP[i] * 0.6 > 0.1 * EFFORT_LIMIT[i]

    def change(senses, step):
        senses = swinging()(senses, step)
        torque = senses.torque.copy()
        torque[:, i] = np.sign(torque[:, i]) * 0.95 * EFFORT_LIMIT[i]
        return replace(senses, torque=torque)

    assert value(watched(change, 60), "gains") < 0.05


def test_a_joint_that_rests_says_nothing_of_gains():
    assert value(watched(steps=100), "gains") < 1e-3
