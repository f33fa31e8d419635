"""Files of the robot's joint angles, as others publish them."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest

from humanoid.joints import JOINT_NAMES, LOWER, UPPER
from humanoid.kinematics import build_pinocchio, to_pinocchio
from humanoid.motion import RobotMotion
from mocap.clip import Clip, ClipDataError, ClipError, ClipFormatError
from mocap.config import AppConfig
from mocap.g1_csv import parse_g1_csv, write_g1_csv
from mocap.g1_npz import parse_g1_npz, read_g1_npz
from mocap.g1_skeleton import breadth_first, joint_angles, robot_clip, robot_motion
from mocap.overrides import Overrides
from mocap.pipeline import run
from mocap.readers import read
from mocap.skeleton import to_body

T = 40


def made_up(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Root position, root quaternion (w x y z) and joints of a robot that turns and uses its whole ranges."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0.0, 1.0, T)[:, None]
    middle, half = 0.5 * (UPPER + LOWER), 0.5 * (UPPER - LOWER)
    joints = middle + 0.95 * half * np.sin(
        2.0 * np.pi * (t * rng.uniform(0.3, 1.0, 29) + rng.uniform(0, 1, 29))
    )
    place = np.concatenate([t, 0.5 * t, 0.78 + 0.02 * np.sin(9 * t)], axis=1)
    yaw, tilt = 1.0 + 2.0 * t[:, 0], 0.1 * np.sin(5 * t[:, 0])
    quat = np.stack(
        [np.cos(yaw / 2) * np.cos(tilt / 2), np.cos(yaw / 2) * np.sin(tilt / 2),
         np.sin(yaw / 2) * np.sin(tilt / 2), np.sin(yaw / 2) * np.cos(tilt / 2)], axis=1
    )  # fmt: skip
    return place, quat, joints


@pytest.fixture(scope="module")
def g1() -> Clip:
    place, quat, joints = made_up()
    return robot_clip("g1", place, quat, joints, 30.0, {"file": "g1"})


def npz(**arrays) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def same(clip: Clip, atol: float = 1e-6) -> None:
    place, quat, joints = made_up()
    a, b, c = joint_angles(clip)
    np.testing.assert_allclose(a, place, atol=atol)
    np.testing.assert_allclose(np.abs(np.sum(b * quat, axis=1)), 1.0, atol=atol)
    np.testing.assert_allclose(c, joints, atol=atol)


def test_joint_angles_come_back_exactly(g1: Clip):
    same(g1, 1e-12)


def test_the_skeleton_is_the_robots(g1: Clip):
    import pinocchio as pin

    model = build_pinocchio()
    data = model.createData()
    q = to_pinocchio(*made_up())[7]
    pin.forwardKinematics(model, data, q)
    ours = g1.positions()[7, 1:30]
    theirs = [data.oMi[model.getJointId(name)].translation for name in JOINT_NAMES]
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_it_is_a_body_like_others(g1: Clip):
    body = to_body(g1)
    assert (body.mapping, body.up, body.forward, body.unit_m) == ("g1", "z", "x", 1.0)
    np.testing.assert_allclose(body["pelvis"], made_up()[0], atol=1e-12)


def test_a_file_without_header_is_read_as_the_retargeted_lafan1_set_has_it(g1: Clip):
    clip = parse_g1_csv(write_g1_csv(g1).encode(), "walk.csv")
    same(clip)
    assert clip.fps == 30.0
    assert "quaternion xyzw" in clip.provenance["note"]
    assert "30 Hz assumed" in clip.provenance["note"]


def test_named_columns_may_stand_in_any_order():
    place, quat, joints = made_up()
    names = ["root_z", "root_x", "root_y", *reversed(JOINT_NAMES), "root_qw", "root_qx", "root_qy", "root_qz"]
    table = np.concatenate([place[:, [2, 0, 1]], joints[:, ::-1], quat], axis=1)
    text = ",".join(names) + "\n" + "\n".join(",".join(f"{v:.9f}" for v in row) for row in table)
    same(parse_g1_csv(text.encode(), "a.csv"))


def test_degrees_centimetres_and_euler_angles_are_found():
    place, _, joints = made_up()
    yaw = np.linspace(0.0, 170.0, T)
    angles = np.stack([np.zeros(T), np.zeros(T), yaw], axis=1)
    head = ["Frame", *(f"root_translate{a}" for a in "XYZ"), *(f"root_rotate{a}" for a in "XYZ")]
    head += [f"{n}_dof" for n in JOINT_NAMES]
    table = np.concatenate([np.arange(T)[:, None], 100.0 * place, angles, np.rad2deg(joints)], axis=1)
    text = ",".join(head) + "\n" + "\n".join(",".join(f"{v:.7f}" for v in row) for row in table)
    a, b, c = joint_angles(parse_g1_csv(text.encode(), "a.csv"))
    np.testing.assert_allclose(a, place, atol=1e-6)
    np.testing.assert_allclose(c, joints, atol=1e-6)
    np.testing.assert_allclose(b[:, 0], np.cos(np.deg2rad(yaw) / 2), atol=1e-6)


def test_times_give_the_rate():
    place, quat, joints = made_up()
    head = ["time", "root_x", "root_y", "root_z", "root_qw", "root_qx", "root_qy", "root_qz", *JOINT_NAMES]
    table = np.concatenate([np.arange(T)[:, None] / 120.0, place, quat, joints], axis=1)
    text = ";".join(head) + "\n" + "\n".join(";".join(f"{v:.6f}" for v in row) for row in table)
    assert parse_g1_csv(text.encode(), "a.csv").fps == 120.0


@pytest.mark.parametrize("order", ["wxyz", "xyzw"])
@pytest.mark.parametrize("names", [JOINT_NAMES, breadth_first(), tuple(sorted(JOINT_NAMES))])
def test_npz_goes_by_its_joint_names(names, order: str):
    place, quat, joints = made_up()
    data = npz(
        dof_positions=joints[:, [JOINT_NAMES.index(n) for n in names]].astype(np.float32), fps=50,
        dof_names=np.array(names), root_pos=place, root_rot=quat if order == "wxyz" else quat[:, [1, 2, 3, 0]],
    )  # fmt: skip
    clip = parse_g1_npz(data, "a.npz")
    same(clip, 1e-6)
    assert clip.fps == 50.0
    assert f"quaternion {order}" in clip.provenance["note"]


@pytest.mark.parametrize("names", [JOINT_NAMES, breadth_first()])
def test_bodies_tell_the_order_of_joints_without_names(g1: Clip, names):
    _, quat, joints = made_up()
    links = g1.positions()[:, [0, *(g1.joint_names.index(n) for n in names)]]
    turns = np.repeat(quat[:, None], 30, axis=1)
    joints = joints[:, [JOINT_NAMES.index(n) for n in names]]
    data = npz(joint_pos=joints, body_pos_w=links, body_quat_w=turns, fps=50)
    same(parse_g1_npz(data, "a.npz"))


def test_joints_without_names_are_not_guessed():
    place, quat, _ = made_up()
    data = npz(joint_pos=np.zeros((T, 29)), root_pos=place, root_quat=quat, fps=50)
    with pytest.raises(ClipFormatError, match=r"a\.npz.*joint_order"):
        parse_g1_npz(data, "a.npz")
    clip = parse_g1_npz(data, "a.npz", Overrides(joint_order="breadth_first"))
    np.testing.assert_allclose(joint_angles(clip)[2], 0.0)


def test_qpos_is_mujocos():
    place, quat, joints = made_up()
    data = npz(qpos=np.concatenate([place, quat, joints], axis=1), joint_names=np.array(JOINT_NAMES), dt=0.01)
    clip = parse_g1_npz(data, "a.npz")
    same(clip)
    assert clip.fps == 100.0


def test_the_23_joint_robot_has_its_locked_joints_at_zero():
    place, quat, joints = made_up()
    keep = [
        n for n in JOINT_NAMES if not any(p in n for p in ("waist_roll", "waist_pitch", "wrist_p", "wrist_y"))
    ]
    data = npz(
        dof_pos=joints[:, [JOINT_NAMES.index(n) for n in keep]], joint_names=np.array(keep), root_pos=place,
        root_quat=quat, fps=50,
    )  # fmt: skip
    found = joint_angles(parse_g1_npz(data, "a.npz"))[2]
    np.testing.assert_allclose(found[:, JOINT_NAMES.index("waist_pitch_joint")], 0.0)
    np.testing.assert_allclose(found[:, 3], joints[:, 3], atol=1e-9)


def test_own_motions_are_read(tmp_path, g1: Clip):
    motion = robot_motion(g1)
    motion.save(tmp_path / "m.npz")
    same(read_g1_npz(tmp_path / "m.npz"), 1e-6)
    same(read(tmp_path / "m.npz"), 1e-6)


def test_a_motion_of_the_robot_needs_no_retargeting(g1: Clip):
    motion = robot_motion(g1)
    motion.validate()
    np.testing.assert_allclose(motion.joint_pos, made_up()[2], atol=1e-9)
    assert robot_motion(g1, fps=50.0).fps == 50.0


def test_a_person_is_no_robot(clip: Clip):
    with pytest.raises(ClipError, match="retarget"):
        robot_motion(clip)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a.pop("fps"), "rate"),
        (lambda a: a.pop("root_pos"), "root position is missing"),
        (lambda a: a.update(root_quat=2.0 * a["root_quat"]), "length 2, not 1"),
        (lambda a: a.update(joint_names=np.array(JOINT_NAMES[:5])), "5 joint names for 29"),
        (
            lambda a: a.update(joint_names=np.array(["hand", *JOINT_NAMES[1:]])),
            "no column for left_hip_pitch",
        ),
        (lambda a: a.update(joint_pos=a["joint_pos"] * np.nan), "frame 0"),
        (lambda a: a.update(joint_pos=a["joint_pos"][:0]), "root position has shape|no frames"),
        (lambda a: a.update(root_quat=np.array([None, 1])), "objects, which could run code"),
    ],
)
def test_damage_is_named(change, says: str):
    place, quat, joints = made_up()
    arrays = {"joint_pos": joints, "joint_names": np.array(JOINT_NAMES), "root_pos": place, "root_quat": quat}
    arrays["fps"] = np.array(50)
    change(arrays)
    with pytest.raises(ClipError, match=rf"a\.npz.*({says})"):
        parse_g1_npz(npz(**arrays), "a.npz")


def test_a_header_that_claims_too_much_is_refused():
    data = npz(joint_pos=np.zeros((T, 29)), root_pos=np.zeros((T, 3)), root_quat=np.zeros((T, 4)))
    lie = data.replace(b"'shape': (40, 29)", b"'shape': (1<<40,)")
    lie = lie if lie != data else data.replace(b"(40, 29), }", b"(9**9,29)}")
    with pytest.raises(ClipFormatError, match=r"a\.npz"):
        parse_g1_npz(lie, "a.npz")


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("", ClipDataError, "no frames"),
        ("1,2,3\n", ClipFormatError, "3 columns without names"),
        ("a,b,c\n1,2,3\n", ClipFormatError, "root position"),
        (",".join(["0"] * 36) + "\n1,2\n", ClipFormatError, "line 2.*frame 1 has 2 values"),
        (",".join(["0"] * 36), ClipDataError, "length 0, not 1"),
    ],
)
def test_a_bad_table_is_named(text: str, error: type, says: str):
    with pytest.raises(error, match=rf"(?s)a\.csv.*{says}"):
        parse_g1_csv(text.encode(), "a.csv")


def test_orders_can_be_overridden(g1: Clip):
    # A robot that stands still and faces along x is upright in either order.
    place, _, joints = made_up()
    quat = np.tile([1.0, 0.0, 0.0, 0.0], (T, 1))
    clip = robot_clip("g1", place, quat, joints, 30.0, {})
    text = write_g1_csv(clip)
    assert "xyzw assumed" in parse_g1_csv(text.encode(), "a.csv").provenance["note"]
    told = parse_g1_csv(text.encode(), "a.csv", Overrides(quat_order="wxyz", fps=60.0, angles="rad"))
    assert told.fps == 60.0
    assert not np.allclose(joint_angles(told)[1], joint_angles(clip)[1])
    assert json.dumps(told.provenance)
    assert replace(told, name="x").unit_m == 1.0


def test_a_run_keeps_the_angles_of_a_robot_file(tmp_path):
    place, quat, joints = made_up()
    fast = robot_clip("g1", place, quat, joints, 50.0, {"file": "g1"})
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "walk.csv").write_text(write_g1_csv(fast))
    (tmp_path / "in" / "clips.yaml").write_text('"*.csv": {fps: 50}')
    config = AppConfig(input=str(tmp_path / "in"), output=str(tmp_path / "out"), workers=1)
    lines: list[str] = []
    (report,) = list(run(config, lines.append))
    assert report.ok, report.error
    assert "skeleton g1, " in lines[0] or "skeleton g1:" in lines[0]
    motion = RobotMotion.load(tmp_path / "out" / "walk.npz")
    np.testing.assert_allclose(motion.joint_pos, joints, atol=1e-6)
    np.testing.assert_allclose(motion.root_pos, place, atol=1e-6)
    assert motion.provenance["retargeted"].startswith("no")
