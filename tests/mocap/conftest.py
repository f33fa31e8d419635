"""A made-up player for the tests of mocap, and the real recordings where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

from mocap.benchmark import synthetic_clip, to_bvh
from mocap.clip import Clip
from mocap.retarget import Retargeted, retarget
from mocap.robot import RobotModel, default_robot
from mocap.skeleton import Body, to_body

SHARED = Path(__file__).resolve().parents[3] / "shared" / "mocap"


@pytest.fixture(scope="session")
def clip() -> Clip:
    """Ten seconds: marching, and three forehands."""
    return synthetic_clip(10.0)


@pytest.fixture(scope="session")
def bvh_text() -> str:
    """Two seconds of the same as a BVH file."""
    return to_bvh(synthetic_clip(2.0, 50.0))


@pytest.fixture(scope="session")
def body(clip: Clip) -> Body:
    return to_body(clip)


@pytest.fixture(scope="session")
def robot() -> RobotModel:
    return default_robot()


@pytest.fixture(scope="session")
def motion(body: Body, robot: RobotModel) -> Retargeted:
    return retarget(body, robot)


@pytest.fixture(scope="session")
def shared_mocap() -> Path:
    """The folder of archives beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"no real recordings at {SHARED}")
    return SHARED
