"""What the checks of the safety watch compute in a control step; :mod:`humanoid.watch` says what they mean.

Robots are records. What depends on a value that is not finite becomes NaN here, and :func:`judge` makes that a stop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from humanoid.compiled import compiled, record
from humanoid.joints import NUM_JOINTS

CHECKS = (
    "position", "speed", "torque", "servo", "encoder", "action", "gains",
    "non_finite", "age", "clock", "heat", "joint_frozen", "action_frozen", "tilt", "gyro", "imu_frozen", "base",
    "base_frozen", "height", "sole_tilt", "sole_height", "slip", "capture", "power", "ball", "ball_jumps",
    "ball_frozen", "novelty",
)  # fmt: skip
"""Names of the checks; the first seven are the largest over the joints."""
BY_JOINT = 7
_HEAT, _JOINT_FROZEN = CHECKS.index("heat"), CHECKS.index("joint_frozen")
OK, WARN, LIMIT, STOP = range(4)
GRAVITY = 9.81
HEAT_S, POWER_S, DRIFT_S, JUMPS_S, GAINS_S = 10.0, 0.5, 0.5, 1.0, 0.5
"""Time constants of averages and of what is added up, s."""
DOUBT = 0.02
"""Gains are believed right as if a second of torques of this share of the limit, squared, had said so."""
JUMP = 1.0
"""A ball that is so far from where it should be is another one, m."""
LARGEST = 1e6
"""Nothing that is measured is larger, in any unit."""
DIRECTIONS = 12
"""Directions in which a hull is looked at."""

_SIZES = {
    "joint_pos": NUM_JOINTS, "joint_vel": NUM_JOINTS, "root_quat": 4, "base_ang_vel": 3, "root_pos": 3,
    "root_lin_vel": 3, "ball_pos": 3, "ball_vel": 3, "ball_valid": 1, "time": 1, "target": NUM_JOINTS,
    "asked": NUM_JOINTS, "soles": 4,
}  # fmt: skip
"""What is kept of a step to be compared with the next, with sizes."""


def _named(fields: dict[str, Any]) -> np.dtype:
    """A record of numbers that go by their names, and all together as the array `numbers`."""
    sizes = [np.dtype(kind).itemsize for kind in fields.values()]
    return record(
        {
            "names": [*fields, "numbers"],
            "formats": [*fields.values(), ("f8", (sum(sizes) // 8,))],
            "offsets": [*(sum(sizes[:k]) for k in range(len(sizes))), 0],
        }
    )


READING = _named({name: ("f8", (size,)) for name, size in _SIZES.items()})
VALUE = _named(dict.fromkeys(CHECKS, "f8"))
SUMS = record([(name, "f8", (NUM_JOINTS,)) for name in ("aa", "bb", "ab", "ya", "yb")])
"""Sums of the least squares that find gains: of spring (a), damping (b) and what torques are off (y)."""
FEATURE = _named(
    {name: ("f8", (NUM_JOINTS,)) for name in ("joint_pos", "joint_vel", "torque", "change")}
    | {"up": ("f8", (3,)), "height": "f8", "root_vel": ("f8", (2,)), "base_ang_vel": ("f8", (3,))}
)
"""What `novelty` looks at."""
FEATURES = FEATURE.itemsize // 8
FIRST = record([("step", "i8"), ("joint", "i8"), ("value", "f8")])
"""A check's first warning or stop; -1: none, or of no joint."""
ROBOT = record(
    [
        ("now", READING), ("before", READING), ("torque", "f8", (NUM_JOINTS,)), ("fresh", "i8"), ("value", VALUE),
        ("by_joint", "f8", (BY_JOINT, NUM_JOINTS)), ("same", "f8", (NUM_JOINTS,)), ("heat", "f8", (NUM_JOINTS,)),
        ("power", "f8"), ("drift", "f8", (NUM_JOINTS,)), ("turn_drift", "f8", (3,)), ("base_drift", "f8", (3,)),
        ("ball_drift", "f8", (3,)), ("sums", SUMS), ("jumps", "f8"), ("feature", FEATURE),
        ("count", "i8", (len(CHECKS),)), ("level", "i8"), ("steps", "i8"), ("worst", "f8", (len(CHECKS),)),
        ("first", FIRST, (2, len(CHECKS))),
    ]
)  # fmt: skip
"""What the watch knows of a robot; `by_joint`: values of the checks over the joints."""
JOINT = record([(name, "f8") for name in ("kp", "kd", "middle", "half", "velocity", "effort", "noise")])
"""Gains, range, motor's limits, and the torque that an encoder's noise makes up."""
THRESHOLD = record([("warn", "f8"), ("stop", "f8"), ("hold", "i8"), ("at_once", "f8")])


@compiled
def judge(robots, joints, ankles, corners, ready_height, pos, rot, clock, ball, mean, whiten, thresholds, dt):
    """Take a control step of robots into account.

    Args:
        robots: ROBOT, (N,); their readings in `now` and `torque`, whose soles are filled in here.
        joints: JOINT, (29,). ankles: numbers of the ankle roll links, (2,). corners: of the soles in them, (4, 3), m.
        ready_height: of the pelvis, m. pos, rot: links in the pelvis's frame, (N, 30, 3), m, and (N, 30, 3, 3).
        clock, ball: whether they are watched.
        mean, whiten: of the features of clean play, (FEATURES,), (FEATURES, K); K = 0: not watched.
        thresholds: THRESHOLD, (CHECKS,). dt: control period, s.
    """
    unit = np.empty((DIRECTIONS, 2))
    for k in range(DIRECTIONS):
        unit[k, 0], unit[k, 1] = np.cos(k * 2.0 * np.pi / DIRECTIONS), np.sin(k * 2.0 * np.pi / DIRECTIONS)
    off, points = np.empty(whiten.shape[1]), np.empty((2, len(corners), 3))
    for i in range(len(robots)):
        r = robots[i]
        if r.fresh:
            # What compares with the step before finds no change.
            r.before.numbers[:] = r.now.numbers
            r.before.time[0] -= dt
        _judge_joints(r, joints, dt)
        _judge_motors(r, joints, dt)
        _judge_body(r, dt)
        _judge_feet(r, ankles, corners, ready_height, pos[i], rot[i], unit, points, dt)
        if clock:
            r.value.clock = abs(r.now.time[0] - r.before.time[0] - dt)
        if ball:
            _judge_ball(r, dt)
        _judge_features(r, mean, whiten, off)
        if r.fresh:
            # A first step says nothing of these.
            r.value.action_frozen = r.value.imu_frozen = r.value.base_frozen = r.value.ball_frozen = 0.0
            r.value.slip = 0.0
        _judge_numbers(r)
        _decide(r, thresholds)
        r.before.numbers[:] = r.now.numbers
        r.fresh = 0
        r.steps += 1


@compiled
def _judge_joints(r, joints, dt):
    """What is seen of each joint alone, and the largest of it."""
    now, before, value, size = r.now, r.before, r.value, r.by_joint
    frozen = 0.0
    for j in range(len(joints)):
        joint, q, v = joints[j], now.joint_pos[j], now.joint_vel[j]
        dq, dv = q - before.joint_pos[j], v - before.joint_vel[j]
        size[0, j] = abs(q - joint.middle) - joint.half
        size[1, j] = abs(v) / joint.velocity
        size[2, j] = abs((now.asked[j] - q) * joint.kp - joint.kd * v) / joint.effort
        _judge_servo(r, joint, j, dv, dt)
        # Of a first step no velocity has led anywhere yet.
        led = 0.0 if r.fresh else v + before.joint_vel[j]
        # Somewhere between the velocities before and after it went: a blow shows in both of them, not in between.
        off = _beyond(dq - 0.5 * dt * led, abs(dv) * 0.5 * dt)
        r.drift[j] = r.drift[j] * (1.0 - dt / DRIFT_S) + off
        size[4, j] = abs(r.drift[j])
        size[5, j] = abs(now.asked[j] - before.asked[j]) / (joint.velocity * dt)
        if dq == 0.0 and dv == 0.0:
            r.same[j] += 1.0 if abs(now.target[j] - before.target[j]) > 1e-3 else 0.0
        else:
            r.same[j] = 0.0
        frozen = max(frozen, r.same[j])
    value.joint_frozen = frozen
    for k in range(BY_JOINT):
        value.numbers[k] = _largest(size[k])
    value.action_frozen = value.action_frozen + 1.0 if value.action == 0.0 else 0.0


@compiled
def _judge_servo(r, joint, j, dv, dt):
    """What a motor's torque is off, and which gains it speaks of."""
    q, damping, torque = r.now.joint_pos[j], joint.kd * r.now.joint_vel[j], r.torque[j]
    # Which of the last two targets it follows, the command's way to the motors decides.
    new, old = joint.kp * (r.now.target[j] - q), joint.kp * (r.before.target[j] - q)
    first, second = _within(new - damping, joint.effort), _within(old - damping, joint.effort)
    missing = 0.5 * (first + second) - torque
    r.by_joint[3, j] = (abs(missing) - 0.5 * abs(first - second)) / joint.effort
    # Least squares of what torques are off by spring and damping, as shares of the motor's limit. Which target and
    # velocity the torque belongs to is known to half a step, and encoders are noisy.
    leeway = 0.5 * (joint.kd * abs(dv) + abs(first - second)) + joint.noise
    y = -_beyond(missing, leeway) / joint.effort
    # A motor at its limit says nothing.
    free = 1.0 if abs(torque) < 0.9 * joint.effort else 0.0
    a, b = 0.5 * (new + old) / joint.effort * free, -damping / joint.effort * free
    sums, keep = r.sums, 1.0 - dt / GAINS_S
    sums.aa[j] = sums.aa[j] * keep + a * a
    sums.bb[j] = sums.bb[j] * keep + b * b
    sums.ab[j] = sums.ab[j] * keep + a * b
    sums.ya[j] = sums.ya[j] * keep + y * a
    sums.yb[j] = sums.yb[j] * keep + y * b
    aa, bb, ab = sums.aa[j] + DOUBT * GAINS_S / dt, sums.bb[j] + DOUBT * GAINS_S / dt, sums.ab[j]
    spring, brake = abs(bb * sums.ya[j] - ab * sums.yb[j]), abs(aa * sums.yb[j] - ab * sums.ya[j])
    r.by_joint[6, j] = abs(np.maximum(spring, brake) / (aa * bb - ab * ab))


@compiled
def _judge_motors(r, joints, dt):
    """Heat and power."""
    power, hottest = 0.0, 0.0
    for j in range(len(joints)):
        share = r.torque[j] / joints[j].effort
        r.heat[j] += (share * share - r.heat[j]) * (dt / HEAT_S)
        hottest = np.maximum(hottest, r.heat[j])
        power += abs(r.torque[j] * r.now.joint_vel[j])
    r.power += (power - r.power) * (dt / POWER_S)
    r.value.heat, r.value.power = np.sqrt(hottest), r.power


@compiled
def _judge_body(r, dt):
    """The pelvis's measurements against each other."""
    now, before, keep = r.now, r.before, 1.0 - dt / DRIFT_S
    a, b = before.root_quat, now.root_quat
    # Turn since the last step, a⁻¹ b, in the pelvis's frame.
    side = np.sign(a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3])
    nothing = _nothing(a) + _nothing(b)
    turn = (
        a[0] * b[1] - a[1] * b[0] - a[2] * b[3] + a[3] * b[2] + nothing,
        a[0] * b[2] - a[2] * b[0] + a[1] * b[3] - a[3] * b[1] + nothing,
        a[0] * b[3] - a[3] * b[0] - a[1] * b[2] + a[2] * b[1] + nothing,
    )
    half = 0.0 if r.fresh else 0.5 * dt
    for k in range(3):
        led = half * (now.base_ang_vel[k] + before.base_ang_vel[k])
        r.turn_drift[k] = r.turn_drift[k] * keep + 2.0 * turn[k] * side - led
        led = half * (now.root_lin_vel[k] + before.root_lin_vel[k])
        r.base_drift[k] = r.base_drift[k] * keep + now.root_pos[k] - before.root_pos[k] - led
    value = r.value
    value.gyro, value["base"] = np.sqrt(_square(r.turn_drift)), np.sqrt(_square(r.base_drift))
    still = _same(now.root_quat, before.root_quat) and _same(now.base_ang_vel, before.base_ang_vel)
    value.imu_frozen = value.imu_frozen + 1.0 if still else 0.0
    still = _same(now.root_pos, before.root_pos) and _same(now.root_lin_vel, before.root_lin_vel)
    value.base_frozen = value.base_frozen + 1.0 if still else 0.0


@compiled
def _judge_feet(r, ankles, corners, ready_height, pos, rot, unit, points, dt):
    """How the robot stands on its soles."""
    now, value = r.now, r.value
    up, low, tilt, speed = r.feature.up, np.empty(2), np.empty(2), np.empty(2)
    turn = _rotation(now.root_quat)
    for k in range(3):
        up[k] = turn[2, k]
    for side in range(2):
        ankle, lowest = ankles[side], np.inf
        for c in range(len(corners)):
            for row in range(3):
                at = now.root_pos[row]
                for m in range(3):
                    local = pos[ankle, m]
                    for k in range(3):
                        local += rot[ankle, m, k] * corners[c, k]
                    at += turn[row, m] * local
                points[side, c, row] = at
            lowest = np.minimum(lowest, points[side, c, 2])
        upright, square = 0.0, 0.0
        for k in range(3):
            upright += turn[2, k] * rot[ankle, k, 2]
        low[side], tilt[side] = lowest, np.arccos(_within(upright, 1.0))
        for k in range(2):
            total = 0.0
            for c in range(len(corners)):
                total += points[side, c, k]
            now.soles[2 * side + k] = total / len(corners)
            square += (now.soles[2 * side + k] - r.before.soles[2 * side + k]) ** 2
        speed[side] = np.sqrt(square) / dt
    value.tilt = np.arccos(_within(turn[2, 2], 1.0))
    value.height = ready_height - now.root_pos[2]
    value.sole_tilt = np.minimum(tilt[0], tilt[1])
    value.sole_height = abs(np.minimum(low[0], low[1]))
    value.slip = speed[0] if low[0] < low[1] else speed[1]
    # Beyond the soles: in some direction farther than every corner.
    horizon = np.sqrt(np.maximum(now.root_pos[2], 0.1) / GRAVITY)
    x, y = now.root_pos[0] + now.root_lin_vel[0] * horizon, now.root_pos[1] + now.root_lin_vel[1] * horizon
    farthest = -np.inf
    for d in range(len(unit)):
        reach = -np.inf
        for side in range(2):
            for c in range(len(corners)):
                reach = np.maximum(reach, unit[d, 0] * points[side, c, 0] + unit[d, 1] * points[side, c, 1])
        farthest = np.maximum(farthest, unit[d, 0] * x + unit[d, 1] * y - reach)
    value.capture = farthest


@compiled
def _judge_ball(r, dt):
    """The ball's place against its velocity."""
    now, before, value = r.now, r.before, r.value
    both = not r.fresh and now.ball_valid[0] + before.ball_valid[0] > 1.5  # seen now and a step ago
    off, half = np.empty(3), 0.0 if r.fresh else 0.5 * dt
    for k in range(3):
        led = half * (now.ball_vel[k] + before.ball_vel[k])
        off[k] = now.ball_pos[k] - before.ball_pos[k] - led
    size = np.sqrt(_square(off))
    counts = 1.0 if both and size < JUMP else 0.0
    for k in range(3):
        r.ball_drift[k] = r.ball_drift[k] * (1.0 - dt / DRIFT_S) + off[k] * counts
    value.ball = np.sqrt(_square(r.ball_drift))
    r.jumps = r.jumps * (1.0 - dt / JUMPS_S) + (1.0 if both and size >= JUMP else 0.0)
    value.ball_jumps = r.jumps
    still = both and _same(now.ball_pos, before.ball_pos)
    value.ball_frozen = value.ball_frozen + 1.0 if still else 0.0


@compiled
def _judge_features(r, mean, whiten, off):
    now, feature = r.now, r.feature
    for j in range(len(r.torque)):
        feature.joint_pos[j], feature.joint_vel[j] = now.joint_pos[j], now.joint_vel[j]
        feature.torque[j], feature.change[j] = r.torque[j], now.joint_vel[j] - r.before.joint_vel[j]
    feature.height = now.root_pos[2]
    for k in range(2):
        feature.root_vel[k] = now.root_lin_vel[k]
    for k in range(3):
        feature.base_ang_vel[k] = now.base_ang_vel[k]
    if len(off) == 0:
        return
    off[:] = 0.0
    for row in range(len(mean)):
        away = feature.numbers[row] - mean[row]
        for k in range(len(off)):
            off[k] += away * whiten[row, k]
    r.value.novelty = np.sqrt(_square(off) / len(off))


@compiled
def _judge_numbers(r):
    """Nothing that is not finite hides in what a check does not read, and what is no number is no answer."""
    value, largest = r.value, 0.0
    for k in range(len(r.now.numbers)):
        largest = np.maximum(largest, abs(r.now.numbers[k]))
    value.non_finite = (1.0 if largest > LARGEST else 0.0) + 0.0 * largest
    unknown = 0.0
    for k in range(len(value.numbers)):
        if not value.numbers[k] < np.inf:
            value.numbers[k] = np.inf
            unknown += 1.0
    value.non_finite += unknown
    for k in range(len(value.numbers)):
        if not value.numbers[k] < np.inf:
            value.numbers[k] = LARGEST


@compiled
def _decide(r, thresholds):
    """The level, and what is noted."""
    level = STOP if r.level == STOP else OK
    for k in range(len(thresholds)):
        value, threshold = r.value.numbers[k], thresholds[k]
        r.worst[k] = max(r.worst[k], value)
        r.count[k] = r.count[k] + 1 if value > threshold.stop else 0
        if value > threshold.warn:
            level = max(level, WARN)
            _note(r, 0, k)
        if r.count[k] >= threshold.hold or value > threshold.at_once:
            level = STOP
            _note(r, 1, k)
    r.level = level


@compiled
def _note(r, row, check):
    first = r.first[row, check]
    if first.step < 0:
        first.step, first.value = r.steps, r.value.numbers[check]
        if check < BY_JOINT:
            first.joint = _at_largest(r.by_joint[check])
        elif check == _HEAT:
            first.joint = _at_largest(r.heat)
        elif check == _JOINT_FROZEN:
            first.joint = _at_largest(r.same)


@compiled
def _at_largest(values):
    """Where the largest value is, or the first that is no number."""
    at, largest = 0, -np.inf
    for j in range(len(values)):
        value = values[j] if np.isfinite(values[j]) else np.inf
        if value > largest:
            at, largest = j, value
    return at


@compiled
def _largest(values):
    out = values[0]
    for j in range(1, len(values)):
        out = np.maximum(out, values[j])
    return out


@compiled
def _within(value, bound):
    """Clip to ± `bound`; NaN stays."""
    return np.minimum(np.maximum(value, -bound), bound)


@compiled
def _beyond(value, bound):
    """What of a value is beyond ± `bound`."""
    return value - _within(value, bound)


@compiled
def _square(vector):
    out = 0.0
    for k in range(len(vector)):
        out += vector[k] * vector[k]
    return out


@compiled
def _same(a, b):
    """Whether two vectors are the same to the bit."""
    same = True
    for k in range(len(a)):
        same &= a[k] - b[k] == 0.0
    return same


@compiled
def _nothing(quat):
    """0, or NaN where a quaternion's products are not finite: a turn by it is none in no direction."""
    out = 0.0
    for k in range(4):
        out += 0.0 * (quat[k] * quat[k])
    return out


@compiled
def _rotation(quat):
    """Rotation matrix of a unit quaternion, NaN if it is not finite."""
    w, x, y, z = quat[0], quat[1], quat[2], quat[3]
    return _nothing(quat) + np.array(
        (
            (w * w + x * x - y * y - z * z, 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)),
            (2.0 * (x * y + w * z), w * w - x * x + y * y - z * z, 2.0 * (y * z - w * x)),
            (2.0 * (x * z - w * y), 2.0 * (y * z + w * x), w * w - x * x - y * y + z * z),
        )
    )
