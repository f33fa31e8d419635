"""Policy bundles: written whole, loaded only when everything matches."""

import contextlib
import hashlib
import json
import subprocess

import numpy as np
import onnx
import onnx.external_data_helper
import pytest

from humanoid import bundle as bundle_module
from humanoid.bundle import BundleError, PolicyBundle, make_manifest, write_bundle
from humanoid.joints import JOINT_NAMES, KP, READY_JOINT_POS
from humanoid.observation import ObservationError, neutral_values
from humanoid.watch import FEATURES, Statistics

from .conftest import TINY_SIZE, TINY_TERMS, tiny_manifest, tiny_onnx


def rewrite(folder, change):
    """Change the manifest and bring its section hashes up to date, as a mistaken exporter would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    for section in bundle_module._present(manifest):
        manifest["hashes"][section] = bundle_module._section_hash(manifest, section)
    path.write_text(json.dumps(manifest))


def test_a_written_bundle_loads_and_acts(bundle_folder):
    bundle = PolicyBundle.load(bundle_folder)
    observation = bundle.assemble(neutral_values(3))
    targets, memory = bundle.act(observation)
    assert targets.shape == (3, 29)
    assert np.abs(targets - READY_JOINT_POS).max() < 0.5
    np.testing.assert_array_equal(memory, np.ones((3, 4)))
    _, memory = bundle.act(observation, memory)
    np.testing.assert_array_equal(memory, np.full((3, 4), 2.0))
    np.testing.assert_array_equal(bundle.kp, KP)
    assert bundle.name == "tiny"


def test_a_policy_without_memory(tmp_path):
    manifest = make_manifest(name="plain", description="", terms=TINY_TERMS)
    bundle = PolicyBundle.load(write_bundle(tmp_path / "plain", tiny_onnx(TINY_SIZE, memory=0), manifest))
    targets, memory = bundle.act(bundle.assemble(neutral_values(2)))
    assert targets.shape == (2, 29)
    assert memory.shape == (2, 0)


def test_another_graph_may_be_tried_in_the_same_bundle(bundle_folder, tmp_path):
    bundle = PolicyBundle.load(bundle_folder)
    same = bundle.changed((bundle_folder / "policy.onnx").read_bytes())
    observation = bundle.assemble(neutral_values(2))
    np.testing.assert_array_equal(same.act(observation)[0], bundle.act(observation)[0])
    assert same is not bundle
    assert same.bundle_sha256 == bundle.bundle_sha256
    with pytest.raises(BundleError):
        bundle.changed(b"no graph")


def test_bundle_hash_covers_both_files(bundle_folder):
    before = PolicyBundle.load(bundle_folder).bundle_sha256
    listed = subprocess.run(
        "sha256sum manifest.json policy.onnx | sha256sum",
        shell=True,
        cwd=bundle_folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[0]
    assert before == listed
    rewrite(bundle_folder, lambda manifest: manifest.update(description="Another."))
    assert PolicyBundle.load(bundle_folder).bundle_sha256 != before


def test_an_observation_of_the_wrong_size_is_refused_before_anything_runs(bundle_folder):
    bundle = PolicyBundle.load(bundle_folder)
    with pytest.raises(ObservationError, match=rf"\(1, 154\), expected \(N, {TINY_SIZE}\)"):
        bundle.act(np.zeros((1, 154)))
    with pytest.raises(ObservationError, match="memory has shape"):
        bundle.act(np.zeros((1, TINY_SIZE)), np.zeros((2, 4)))


def test_a_layout_that_the_network_was_not_trained_on_is_refused(bundle_folder):
    rewrite(
        bundle_folder,
        lambda manifest: manifest.update(
            observation=make_manifest(name="", description="", terms=TINY_TERMS[:-1])["observation"]
        ),
    )
    with pytest.raises(BundleError, match=f"{TINY_SIZE} columns, the manifest's layout has {TINY_SIZE - 1}"):
        PolicyBundle.load(bundle_folder)


def _set(*path, value):
    def change(manifest):
        target = manifest
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


SWAPPED = [JOINT_NAMES[1], JOINT_NAMES[0], *JOINT_NAMES[2:]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("format", value="rally-policy/9"), "format 'rally-policy/9'"),
        (_set("joint_names", value=SWAPPED), "another order"),
        (_set("joint_names", value=["tail", *JOINT_NAMES[1:]]), "unmatched joints"),
        (_set("joint_names", value=[[], *JOINT_NAMES[1:]]), "joint_names must be names"),
        (_set("kp", 3, value=-1.0), "kp of left_knee_joint is -1.0"),
        (_set("kd", 0, value=float("nan")), "kd of left_hip_pitch_joint is nan"),
        (_set("kd", value=[1.0]), "kd has 1 values"),
        (_set("control_dt", value=0.01), "control_dt is 0.01"),
        (_set("action", "kind", value="torque"), "action is"),
        (_set("action", "size", value=26), "action is"),
        (_set("memory", "size", value=-1), "memory size"),
        (_set("memory", "size", value=8), "4 columns, the manifest's layout has 8"),
        (_set("memory", "size", value=0), r"has inputs \['memory', 'observation'\]"),
        (_set("observation", "terms", 0, "name", value="joint_torque"), "'joint_torque'"),
        (_set("observation", "terms", 4, "size", value=9), "'ball_pos' has size 9"),
        (lambda manifest: manifest.pop("licence"), "'licence' is missing"),
        (_set("licence", value=3), "'licence' has the wrong type"),
        (_set("hashes", "policy.onnx", value="0" * 64), "truncated or changed"),
    ],
)
def test_every_mismatch_is_refused_with_its_reason(bundle_folder, change, message):
    rewrite(bundle_folder, change)
    with pytest.raises(BundleError, match=message) as caught:
        PolicyBundle.load(bundle_folder)
    assert "\n" not in str(caught.value)


def test_a_section_changed_after_export_is_refused(bundle_folder):
    path = bundle_folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["kp"][5] *= 1.5
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="section 'joints' does not match its hash"):
        PolicyBundle.load(bundle_folder)


def test_a_changed_byte_in_the_network_is_refused(bundle_folder):
    path = bundle_folder / "policy.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"policy.onnx: its SHA-256.*copy or export"):
        PolicyBundle.load(bundle_folder)


@pytest.mark.parametrize("name", ["policy.onnx", "manifest.json"])
@pytest.mark.parametrize("keep", [None, 0, 100])
def test_missing_empty_and_truncated_files_are_refused(bundle_folder, name, keep):
    path = bundle_folder / name
    if keep is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BundleError, match=name):
        PolicyBundle.load(bundle_folder)


def test_damaged_manifests_never_raise_anything_else(bundle_folder):
    path = bundle_folder / "manifest.json"
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        data = bytearray(good)
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(data)
        with contextlib.suppress(BundleError):
            PolicyBundle.load(bundle_folder)


def test_random_bytes_as_a_network_are_refused(tmp_path):
    with pytest.raises(BundleError, match=r"tiny/policy.onnx: ONNX Runtime cannot load it"):
        write_bundle(tmp_path / "tiny", b"not a network at all", tiny_manifest())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "/etc/hostname"])
def test_weights_in_another_file_are_refused_for_no_hash_covers_them(tmp_path, monkeypatch, location):
    model = onnx.load_from_string(tiny_onnx(TINY_SIZE))
    (weights,) = [tensor for tensor in model.graph.initializer if tensor.name == "W"]
    (tmp_path / "weights.bin").write_bytes(weights.raw_data)
    monkeypatch.chdir(tmp_path)
    onnx.external_data_helper.set_external_data(weights, location)
    weights.ClearField("raw_data")
    with pytest.raises(BundleError, match="cannot load it"):
        write_bundle(tmp_path / "tiny", model.SerializeToString(), tiny_manifest())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiny_onnx(TINY_SIZE, rows=1), "fixed to 1 robots"),
        (tiny_onnx(TINY_SIZE, outputs=26), "26 columns"),
        (tiny_onnx(TINY_SIZE, memory=0), "has inputs"),
    ],
)
def test_networks_of_another_shape_are_refused(tmp_path, data, message):
    with pytest.raises(BundleError, match=message):
        write_bundle(tmp_path / "tiny", data, tiny_manifest())


def test_a_refused_bundle_leaves_the_old_one(bundle_folder):
    before = PolicyBundle.load(bundle_folder).bundle_sha256
    with pytest.raises(BundleError):
        write_bundle(bundle_folder, tiny_onnx(TINY_SIZE + 1), tiny_manifest())
    assert PolicyBundle.load(bundle_folder).bundle_sha256 == before
    assert [path.name for path in bundle_folder.parent.iterdir()] == [bundle_folder.name]


def test_a_full_disk_leaves_the_old_bundle(bundle_folder, monkeypatch):
    before = PolicyBundle.load(bundle_folder).bundle_sha256

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle_module.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_bundle(bundle_folder, tiny_onnx(TINY_SIZE, seed=1), tiny_manifest())
    assert PolicyBundle.load(bundle_folder).bundle_sha256 == before
    assert [path.name for path in bundle_folder.parent.iterdir()] == [bundle_folder.name]


def test_a_new_bundle_replaces_the_old_one(bundle_folder):
    before = PolicyBundle.load(bundle_folder).bundle_sha256
    write_bundle(bundle_folder, tiny_onnx(TINY_SIZE, seed=1), tiny_manifest())
    assert PolicyBundle.load(bundle_folder).bundle_sha256 != before
    assert [path.name for path in bundle_folder.parent.iterdir()] == [bundle_folder.name]


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("years of work")
    with pytest.raises(BundleError, match="not a policy bundle"):
        write_bundle(tmp_path / "thesis", tiny_onnx(TINY_SIZE), tiny_manifest())
    assert (tmp_path / "thesis" / "chapter1.txt").exists()


def test_unknown_names_list_the_released_policies():
    with pytest.raises(BundleError, match=r"'nonesuch' is not among the released ones"):
        PolicyBundle.load("nonesuch")
    with pytest.raises(BundleError, match="no such folder"):
        PolicyBundle.load("./nonesuch")


def test_names_are_looked_up_among_the_released(bundle_folder, monkeypatch, tmp_path):
    import assets

    released = tmp_path / "assets"
    (released / "policies").mkdir(parents=True)
    bundle_folder.rename(released / "policies" / "tiny")
    monkeypatch.setattr(assets, "__path__", [str(released)])
    assert PolicyBundle.load("tiny").name == "tiny"


def test_hashes_are_of_the_files(bundle_folder):
    manifest = json.loads((bundle_folder / "manifest.json").read_text())
    digest = hashlib.sha256((bundle_folder / "policy.onnx").read_bytes()).hexdigest()
    assert manifest["hashes"]["policy.onnx"] == digest


def statistics():
    rng = np.random.default_rng(0)
    return Statistics.of(rng.normal(size=(1000, FEATURES)))


def test_a_bundle_tells_where_clean_play_lies(tmp_path):
    assert (
        PolicyBundle.load(write_bundle(tmp_path / "a", tiny_onnx(TINY_SIZE), tiny_manifest())).clean_play
        is None
    )
    known = statistics()
    manifest = tiny_manifest(clean_play=known.to_dict())
    got = PolicyBundle.load(write_bundle(tmp_path / "b", tiny_onnx(TINY_SIZE), manifest)).clean_play
    assert got is not None
    np.testing.assert_allclose(got.mean, known.mean, rtol=1e-6)
    np.testing.assert_allclose(got.whiten, known.whiten, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"features": 7}, "7 features"),
        ({"mean": "AAAA"}, "clean play cannot be used"),
        ({"whiten": "not base64!"}, "clean play cannot be used"),
        ({"directions": 3}, "clean play cannot be used"),
        ({"directions": "many"}, "clean play cannot be used"),
        ({"mean": None}, "clean play cannot be used"),
    ],
)
def test_damaged_statistics_are_refused(tmp_path, change, text):
    folder = write_bundle(
        tmp_path / "a", tiny_onnx(TINY_SIZE), tiny_manifest(clean_play=statistics().to_dict())
    )
    rewrite(folder, lambda manifest: manifest["clean_play"].update(change))
    with pytest.raises(BundleError, match=text):
        PolicyBundle.load(folder)


def test_statistics_that_were_changed_show(tmp_path):
    folder = write_bundle(
        tmp_path / "a", tiny_onnx(TINY_SIZE), tiny_manifest(clean_play=statistics().to_dict())
    )
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["clean_play"] = Statistics.of(np.random.default_rng(1).normal(size=(900, FEATURES))).to_dict()
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="'clean_play' does not match its hash"):
        PolicyBundle.load(folder)
