from dataclasses import replace

import numpy as np
import pytest

from mocap.quality import assess
from mocap.retarget import Retargeted
from mocap.robot import RobotModel


def changed(motion: Retargeted, robot: RobotModel, **fields) -> Retargeted:
    out = replace(motion, **fields)
    pos, rot = robot.tree.forward(out.root_pos, out.root_rot, out.q)
    return replace(out, joint_pos=pos, joint_rot=rot)


def test_a_good_motion_meets_the_targets(motion: Retargeted, robot: RobotModel):
    quality = assess(motion, robot)
    assert quality.slide_m_s < 0.03
    assert quality.penetration_fraction < 0.005
    assert quality.float_fraction < 0.01
    assert quality.direction_error_deg < 8.0
    assert quality.limit_violations == 0
    assert quality.velocity_violations_fraction < 0.001
    assert quality.wrist_correlation > 0.98


def test_a_lifted_motion_floats(motion: Retargeted, robot: RobotModel):
    lifted = changed(motion, robot, root_pos=motion.root_pos + np.array([0, 0, 0.03]))
    assert assess(lifted, robot).float_fraction == 1.0


def test_a_sunk_motion_penetrates(motion: Retargeted, robot: RobotModel):
    sunk = changed(motion, robot, root_pos=motion.root_pos - np.array([0, 0, 0.03]))
    assert assess(sunk, robot).penetration_fraction == 1.0


def test_a_drifting_motion_slides(motion: Retargeted, robot: RobotModel):
    drift = np.arange(len(motion.q))[:, None] / motion.fps * np.array([0.2, 0.0, 0.0])
    assert assess(changed(motion, robot, root_pos=motion.root_pos + drift), robot).slide_m_s == pytest.approx(
        0.2, abs=0.01
    )


def test_joints_past_their_limits_are_counted(motion: Retargeted, robot: RobotModel):
    q = motion.q.copy()
    q[10:15, 3] = robot.tree.upper[3] + 0.1
    quality = assess(changed(motion, robot, q=q), robot)
    assert quality.limit_violations == 5
    assert quality.velocity_violations_fraction > 0.0
    assert "limits 5" in quality.line()
