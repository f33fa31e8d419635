"""The MuJoCo model against Unitree's published one, and against the table it is built from."""

import importlib.util
import os
from pathlib import Path

import mujoco
import numpy as np
import pytest

from humanoid.bodies import FEET, SOLE_HEIGHT
from humanoid.joints import (
    EFFORT_LIMIT,
    JOINT_NAMES,
    JOINTS,
    KD,
    KP,
    LOWER,
    PELVIS,
    READY_JOINT_POS,
    UPPER,
    mirror_joints,
)
from humanoid.model import build_model
from humanoid.racket import RACKET, SITE


def reference_xml() -> Path | None:
    """Unitree's description: G1_REFERENCE_XML, or the copy inside the package mjlab when installed."""
    if "G1_REFERENCE_XML" in os.environ:
        return Path(os.environ["G1_REFERENCE_XML"])
    spec = importlib.util.find_spec("mjlab")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "asset_zoo/robots/unitree_g1/xmls/g1.xml"


@pytest.fixture(scope="module")
def reference() -> mujoco.MjModel:
    path = reference_xml()
    if path is None or not path.is_file():
        pytest.skip("needs Unitree's description: pip install --no-deps mjlab, or set G1_REFERENCE_XML")
    spec = mujoco.MjSpec.from_file(str(path))
    for geom in spec.geoms:  # meshes are for looks, inertias are given
        if geom.type == mujoco.mjtGeom.mjGEOM_MESH:
            spec.delete(geom)
    for mesh in spec.meshes:
        spec.delete(mesh)
    return spec.compile()


@pytest.fixture(scope="module")
def bare() -> mujoco.MjModel:
    return build_model(racket=None, actuators=False, armature=False, floor=False)


def configurations(count: int, seed: int = 0) -> np.ndarray:
    """Random qpos (count, 36) within the joint limits, anywhere and anyhow oriented."""
    rng = np.random.default_rng(seed)
    quat = rng.standard_normal((count, 4))
    quat /= np.linalg.norm(quat, axis=1, keepdims=True)
    return np.hstack([rng.uniform(-1, 1, (count, 3)), quat, rng.uniform(LOWER, UPPER, (count, 29))])


def mass_matrix(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    full = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, full)
    return full


def test_joints_and_total_mass_are_unitrees(reference, bare):
    names = [reference.joint(i).name for i in range(reference.njnt)][1:]
    assert tuple(names) == JOINT_NAMES
    np.testing.assert_allclose(reference.jnt_range[1:], np.stack([LOWER, UPPER], axis=1), atol=1e-6)
    assert bare.body_mass.sum() == pytest.approx(reference.body_mass.sum(), abs=1e-6)


def test_kinematics_are_unitrees(reference, bare):
    ours, theirs = mujoco.MjData(bare), mujoco.MjData(reference)
    for qpos in configurations(20):
        ours.qpos[:] = theirs.qpos[:] = qpos
        mujoco.mj_kinematics(bare, ours)
        mujoco.mj_kinematics(reference, theirs)
        for joint in JOINTS:
            a, b = ours.body(joint.link), theirs.body(joint.link)
            np.testing.assert_allclose(a.xpos, b.xpos, atol=1e-6, err_msg=joint.link)
            np.testing.assert_allclose(a.xmat, b.xmat, atol=1e-6, err_msg=joint.link)


def test_the_mass_matrix_is_unitrees(reference, bare):
    ours, theirs = mujoco.MjData(bare), mujoco.MjData(reference)
    armature = np.diag(reference.dof_armature)
    for qpos in configurations(20, seed=1):
        ours.qpos[:] = theirs.qpos[:] = qpos
        mujoco.mj_forward(bare, ours)
        mujoco.mj_forward(reference, theirs)
        want = mass_matrix(reference, theirs) - armature
        np.testing.assert_allclose(mass_matrix(bare, ours), want, atol=1e-6)


def test_links_have_the_tables_masses(bare):
    assert bare.body(PELVIS.link).mass[0] == PELVIS.mass
    for joint in JOINTS:
        assert bare.body(joint.link).mass[0] == joint.mass


def test_the_racket_adds_its_mass_at_the_hand():
    model = build_model()
    assert model.body("racket").mass[0] == RACKET.mass
    without = build_model(racket=None)
    assert model.body_mass.sum() - without.body_mass.sum() == pytest.approx(RACKET.mass)
    with pytest.raises(KeyError):
        without.site(SITE)


def test_motors_are_the_tables_servos_clipped_to_their_effort():
    model = build_model(floor=False)
    model.opt.gravity[:] = 0.0
    data = mujoco.MjData(model)
    data.qpos[7:] = READY_JOINT_POS
    data.ctrl[:] = READY_JOINT_POS + 0.01
    data.qvel[6:] = 0.1
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(data.actuator_force, KP * 0.01 - KD * 0.1, atol=1e-9)
    data.ctrl[:] = READY_JOINT_POS + 10.0
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(data.actuator_force, EFFORT_LIMIT)


def test_mirrored_joints_give_mirrored_links():
    index, sign = mirror_joints()
    model = build_model(racket=None, floor=False)
    data, mirrored = mujoco.MjData(model), mujoco.MjData(model)
    other = {"left": "right", "right": "left"}
    for q in np.random.default_rng(2).uniform(LOWER, UPPER, size=(10, 29)):
        data.qpos[7:], mirrored.qpos[7:] = q, q[index] * sign
        mujoco.mj_kinematics(model, data)
        mujoco.mj_kinematics(model, mirrored)
        for joint in JOINTS:
            side, _, rest = joint.link.partition("_")
            twin = f"{other[side]}_{rest}" if side in other else joint.link
            # Unitree's left and right differ by rounding of a hundredth of a millimetre here and there.
            np.testing.assert_allclose(
                mirrored.body(twin).xpos,
                data.body(joint.link).xpos * [1, -1, 1],
                atol=2e-4,
                err_msg=joint.link,
            )


def test_feet_touch_the_floor_with_their_soles():
    model = build_model()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    for side, link in zip(("left", "right"), FEET, strict=True):
        sole = data.site(f"{side}_foot").xpos
        assert data.body(link).xpos[2] - sole[2] == pytest.approx(SOLE_HEIGHT, abs=1e-3)
        bottoms = [
            data.geom(f"{side}_foot{i}").xpos[2] - model.geom(f"{side}_foot{i}").size[0] for i in range(4)
        ]
        np.testing.assert_allclose(bottoms, sole[2], atol=1e-3)


def test_only_feet_and_floor_collide_by_default():
    model = build_model()
    names = {
        model.geom(i).name for i in range(model.ngeom) if model.geom_contype[i] or model.geom_conaffinity[i]
    }
    assert names == {"floor", *(f"{side}_foot{i}" for side in ("left", "right") for i in range(4))}


def test_a_spec_can_be_decorated():
    model = build_model(decorate=lambda spec: spec.worldbody.add_site(name="extra"))
    assert model.site("extra").name == "extra"


def touching(joint, angle, **pose):
    """Names of the parts that a solid robot in the ready pose touches when one joint is at another angle."""
    model = build_model(self_collision=True)
    data = mujoco.MjData(model)
    data.qpos[2] = pose.get("height", 2.0)
    data.qpos[7:] = READY_JOINT_POS
    data.joint(joint).qpos[:] = angle
    mujoco.mj_forward(model, data)
    return {tuple(sorted((model.geom(c.geom1).name, model.geom(c.geom2).name))) for c in data.contact}


def test_parts_and_racket_of_a_solid_robot_meet_each_other_and_the_racket_the_floor():
    assert touching("right_elbow_joint", 0.4) == set()
    inside = touching("right_shoulder_roll_joint", 0.9)
    assert any({"pelvis", "torso"} & {part.split("_")[0] for part in pair} for pair in inside)
    assert any("racket" in "".join(pair) for pair in touching("right_shoulder_yaw_joint", 1.6))
    down = touching("right_shoulder_pitch_joint", 0.6, height=0.3)
    assert any("floor" in pair and "racket" in "".join(pair) for pair in down)
    # Held, the racket touches neither the hand nor the arm that holds it.
    assert not any("racket" in "".join(pair) for pair in touching("right_wrist_yaw_joint", 0.5))
