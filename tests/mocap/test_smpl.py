"""SMPL parameters as AMASS has them."""

import io

import numpy as np
import pytest

from mocap.benchmark import synthetic_clip
from mocap.clip import Clip, ClipError
from mocap.overrides import Overrides
from mocap.readers import read
from mocap.rotations import axis_matrix, normalize
from mocap.samples import to_smpl
from mocap.skeleton import to_body
from mocap.smpl import COUNT, JOINTS, parse_smpl, typical_joints


@pytest.fixture(scope="module")
def player() -> Clip:
    return synthetic_clip(1.0, 60.0)


def npz(**arrays) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def plain(frames: int = 3, **changes) -> dict:
    return {
        "poses": np.zeros((frames, 156)),
        "trans": np.zeros((frames, 3)),
        "mocap_framerate": 120.0,
    } | changes


@pytest.mark.parametrize("width", [66, 72, 156, 165])
@pytest.mark.parametrize("rate_key", ["mocap_framerate", "mocap_frame_rate"])
def test_the_limbs_point_where_the_players_do(player: Clip, width: int, rate_key: str):
    body = to_body(parse_smpl(to_smpl(player, width=width, rate_key=rate_key), "a.npz"))
    person = to_body(player)
    assert (body.up, body.unit_m, body.fps) == ("z", 1.0, 60.0)
    for a, b in (("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"), ("left_hip", "left_knee"),
                 ("left_knee", "left_ankle")):  # fmt: skip
        np.testing.assert_allclose(normalize(body[b] - body[a]), normalize(person[b] - person[a]), atol=1e-6)


def test_without_a_model_the_lengths_are_published_fractions_and_it_is_said():
    clip = parse_smpl(npz(**plain()), "a.npz", Overrides(stature_m=2.0))
    x = dict(zip(clip.joint_names, clip.positions()[0], strict=True))
    # Winter, figure 4.1: thigh 0.245, shank 0.246, upper arm 0.186, forearm 0.146 of stature.
    for a, b, share in (("hip", "knee", 0.245), ("knee", "ankle", 0.246), ("shoulder", "elbow", 0.186),
                        ("elbow", "wrist", 0.146)):  # fmt: skip
        assert np.linalg.norm(x[f"left_{b}"] - x[f"left_{a}"]) == pytest.approx(2.0 * share)
    assert "2 m" in clip.provenance["note"]
    assert "Drillis" in clip.provenance["segment_lengths"]


def test_with_a_model_the_joints_are_its_own():
    rng = np.random.default_rng(0)
    template = np.repeat(typical_joints(1.6), 2, axis=0) + 0.01
    regressor = np.kron(np.eye(COUNT), [[0.5, 0.5]])
    shapes = 0.01 * rng.normal(size=(*template.shape, 10))
    betas = rng.normal(size=16)
    turn = np.zeros((3, 156))
    turn[:, 3:6] = [0.5, 0.0, 0.0]
    model = npz(J_regressor=regressor, v_template=template, shapedirs=shapes)
    data = npz(**plain(poses=turn, betas=betas))
    clip = parse_smpl(data, "a.npz", Overrides(body_model="m.npz"), model=model)
    rest = regressor @ (template + shapes @ betas[:10])
    x = clip.positions()[0]
    index = {n: i for i, (n, _) in enumerate(JOINTS)}
    np.testing.assert_allclose(x[0], rest[0], atol=1e-9)
    hip, knee = rest[index["left_hip"]], rest[index["left_knee"]]
    bent = hip + axis_matrix("X", np.array(0.5)) @ (knee - hip)
    np.testing.assert_allclose(x[index["left_knee"]], bent, atol=1e-9)
    assert "m.npz" in clip.provenance["segment_lengths"]


def test_it_reads_by_the_registry_with_the_model_that_clips_yaml_names(tmp_path, player: Clip):
    (tmp_path / "a.npz").write_bytes(to_smpl(player))
    assert read(tmp_path / "a.npz").skeleton == "smpl"
    (tmp_path / "clips.yaml").write_text('"*.npz": {stature_m: 1.9, fps: 30}')
    clip = read(tmp_path / "a.npz")
    assert clip.fps == 30.0
    assert "1.9 m" in clip.provenance["note"]
    (tmp_path / "clips.yaml").write_text('"*.npz": {body_model: model.npz}')
    with pytest.raises(ClipError, match=r"model\.npz"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("gender", ["female", b"female", np.array({"a": 1}, dtype=object)])
def test_the_gender_is_kept_if_it_is_text(gender):
    clip = parse_smpl(npz(**plain(gender=gender)), "a.npz")
    assert clip.provenance.get("gender") == (None if isinstance(gender, np.ndarray) else "female")


def test_rotations_given_in_parts():
    data = npz(root_orient=np.zeros((2, 3)), pose_body=np.zeros((2, 63)), trans=np.zeros((2, 3)), fps=30)
    assert parse_smpl(data, "a.npz").frames == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"poses": np.zeros((3, 100))}, "100 values a frame"),
        ({"trans": np.zeros((2, 3))}, "trans has shape"),
        ({"poses": np.full((3, 156), np.nan)}, "frame 0 is not finite"),
        ({"mocap_framerate": 0.0}, "fps="),
        ({"mocap_framerate": np.array("fast")}, "fps="),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, "no frames"),
        ({"poses": np.array([{}, 1])}, "could run code"),
    ],
)
def test_damage_is_named(change, says: str):
    with pytest.raises(ClipError, match=rf"a\.npz.*{says}"):
        parse_smpl(npz(**plain(**change)), "a.npz")


def test_a_bad_model_is_named():
    with pytest.raises(ClipError, match="without v_template, shapedirs"):
        parse_smpl(npz(**plain()), "a.npz", Overrides(body_model="m.npz"), model=npz(J_regressor=np.eye(3)))
    bad = npz(J_regressor=np.zeros((22, 5)), v_template=np.zeros((4, 3)), shapedirs=np.zeros((4, 3, 1)))
    with pytest.raises(ClipError, match="do not fit"):
        parse_smpl(npz(**plain()), "a.npz", Overrides(body_model="m.npz"), model=bad)
