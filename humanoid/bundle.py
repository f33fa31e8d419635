"""The policy bundle: what export writes, and what evaluation, rendering and the robot load.

A bundle is a folder of two files:

- ``policy.onnx``: inputs ``observation`` (N, D) and ``memory`` (N, M), outputs ``action`` (N, 29) and
  ``memory_next`` (N, M), all float32, N dynamic. With M = 0 the two memory tensors are absent. Actions are
  joint position targets, [rad], in the joint table's order. All-zero memory means: start of an episode.
- ``manifest.json``: what the numbers mean, where they come from, and hashes. See :func:`make_manifest`.

Loading executes nothing but the network, and refuses whatever does not match.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from humanoid.joints import JOINT_NAMES, KD, KP, NUM_JOINTS
from humanoid.observation import Layout, ObservationError, neutral_values
from humanoid.robot import CONTROL_DT
from humanoid.watch import Statistics, WatchError

FORMAT = "rally-policy/1"
POLICY_FILE = "policy.onnx"
MANIFEST_FILE = "manifest.json"
MAX_POLICY_BYTES = 512 << 20
MAX_MANIFEST_BYTES = 4 << 20
SECTIONS = ("observation", "action", "memory", "joints", "clean_play")
"""Parts of the manifest with a hash of their own; ``joints`` is joint_names, kp, kd and control_dt; ``clean_play`` may
be missing."""

onnxruntime.set_default_logger_severity(4)


class BundleError(ValueError):
    """A policy bundle that cannot be used. The message names the file, what is wrong and what to do."""


def make_manifest(
    *,
    name: str,
    description: str,
    terms: Sequence[str],
    memory_size: int = 0,
    scales: Mapping[str, float] | None = None,
    kp: np.ndarray = KP,
    kd: np.ndarray = KD,
    physics: str = "",
    training: Mapping[str, Any] | None = None,
    data_sources: Sequence[Mapping[str, str]] = (),
    licence: str = "Apache-2.0",
    metrics: Mapping[str, Any] | None = None,
    safety_report_sha256: str | None = None,
    clean_play: Statistics | None = None,
) -> dict[str, Any]:
    """Manifest of a bundle, without the hashes that :func:`write_bundle` adds.

    Args:
        name: the policy's name.
        description: what it does, for people.
        terms: names of the observation's terms in the order of the columns (:mod:`humanoid.observation`).
        memory_size: M.
        scales: factors on the raw values by term name, 1 where not given.
        kp: position gains, [N·m/rad], shape (29,).
        kd: velocity gains, [N·m·s/rad], shape (29,).
        physics: a note on what it was trained in.
        training: config, samples, wall time and seed of the run.
        data_sources: one ``{name, licence, attribution}`` a source.
        licence: of the weights.
        metrics: figures quoted with the policy.
        safety_report_sha256: hash of the safety report that belongs to it.
        clean_play: where the robot's state lies while it plays, for the watch.
    """
    manifest = {
        "format": FORMAT,
        "name": name,
        "description": description,
        "created_by": f"humanoid-rally {_version()}",
        "control_dt": CONTROL_DT,
        "physics": physics,
        "joint_names": list(JOINT_NAMES),
        "kp": [float(value) for value in kp],
        "kd": [float(value) for value in kd],
        "observation": Layout.of(terms, scales).to_dict(),
        "action": {"size": NUM_JOINTS, "kind": "joint_position_target", "unit": "rad"},
        "memory": {"size": int(memory_size)},
        "training": dict(training or {}),
        "data_sources": [dict(source) for source in data_sources],
        "licence": licence,
        "metrics": dict(metrics or {}),
        "safety_report_sha256": safety_report_sha256,
    }
    if clean_play is not None:
        manifest["clean_play"] = clean_play.to_dict()
    return manifest


def write_bundle(folder: str | os.PathLike, onnx_bytes: bytes, manifest: Mapping[str, Any]) -> Path:
    """Write a bundle, whole or not at all, and only if it loads.

    The files are written and loaded in a folder beside ``folder``, which then takes its place; an older
    bundle stays untouched until that moment.

    Args:
        folder: the bundle's folder.
        onnx_bytes: the network.
        manifest: see :func:`make_manifest`; its ``hashes`` are computed here.

    Returns:
        The folder.

    Raises:
        BundleError: the bundle would not load.
        OSError: the disk is full or the folder cannot be written.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists() and not _replaceable(folder):
        raise BundleError(f"{folder}: exists and is not a policy bundle; choose another folder or remove it")
    content = dict(manifest)
    content["hashes"] = {POLICY_FILE: hashlib.sha256(onnx_bytes).hexdigest()} | {
        section: _section_hash(content, section) for section in _present(content)
    }
    try:
        text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise BundleError(f"{folder}: the manifest is not plain finite JSON ({error})") from None
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for name, data in ((POLICY_FILE, onnx_bytes), (MANIFEST_FILE, text.encode() + b"\n")):
            with open(temporary / name, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        PolicyBundle.load(temporary)
        os.chmod(temporary, 0o755)
        if folder.exists():
            old = temporary.with_name(temporary.name + ".old")
            os.replace(folder, old)
            try:
                os.replace(temporary, folder)
            except BaseException:
                os.replace(old, folder)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(temporary, folder)
    except BundleError as error:
        raise BundleError(str(error).replace(str(temporary), str(folder))) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


class PolicyBundle:
    """A loaded and checked policy.

    Attributes:
        folder: where it was loaded from.
        manifest: parsed manifest.
        name: the policy's name.
        layout: columns of its observation.
        memory_size: M.
        control_dt: control period, [s].
        kp: position gains, [N·m/rad], shape (29,).
        kd: velocity gains, [N·m·s/rad], shape (29,).
        clean_play: where the robot's state lies while it plays, for the watch; None: the manifest does not say.
        bundle_sha256: hash over both files: what ``sha256sum manifest.json policy.onnx | sha256sum`` prints.
    """

    def __init__(
        self, folder: Path, manifest: dict[str, Any], layout: Layout, session, bundle_sha256: str
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.name: str = manifest["name"]
        self.layout = layout
        self.memory_size: int = manifest["memory"]["size"]
        self.control_dt: float = float(manifest["control_dt"])
        self.kp = np.array(manifest["kp"], dtype=np.float64)
        self.kd = np.array(manifest["kd"], dtype=np.float64)
        self.bundle_sha256 = bundle_sha256
        self.clean_play = _clean_play(folder / MANIFEST_FILE, manifest)
        self._session = session
        self._outputs = ["action", "memory_next"] if self.memory_size else ["action"]

    @staticmethod
    def load(path_or_name: str | os.PathLike, *, threads: int = 1) -> PolicyBundle:
        """Load and check a bundle.

        Args:
            path_or_name: a folder, or a name without a slash of a released policy (assets/policies/NAME).
            threads: for ONNX Runtime.

        Raises:
            BundleError: the bundle is missing, damaged, tampered with, or not for this robot.
        """
        folder = find_bundle(path_or_name)
        manifest_bytes = _read(folder / MANIFEST_FILE, MAX_MANIFEST_BYTES)
        manifest = _parse_manifest(folder / MANIFEST_FILE, manifest_bytes)
        layout = _check_manifest(folder / MANIFEST_FILE, manifest)
        policy_bytes = _read(folder / POLICY_FILE, MAX_POLICY_BYTES)
        digest = hashlib.sha256(policy_bytes).hexdigest()
        if digest != manifest["hashes"][POLICY_FILE]:
            raise BundleError(
                f"{folder / POLICY_FILE}: its SHA-256 is {digest[:12]}…, the manifest says "
                f"{str(manifest['hashes'][POLICY_FILE])[:12]}…: truncated or changed after export; "
                "copy or export the bundle again"
            )
        session = _open_session(folder / POLICY_FILE, policy_bytes, threads)
        _check_tensors(folder / POLICY_FILE, session, layout.size, manifest["memory"]["size"])
        lines = f"{hashlib.sha256(manifest_bytes).hexdigest()}  {MANIFEST_FILE}\n{digest}  {POLICY_FILE}\n"
        bundle = PolicyBundle(folder, manifest, layout, session, hashlib.sha256(lines.encode()).hexdigest())
        bundle._try_out()
        return bundle

    def changed(self, policy_bytes: bytes) -> PolicyBundle:
        """The same bundle with another graph in it, for experiments: its hash stays that of the files.

        Raises:
            BundleError: the graph does not fit the manifest.
        """
        other = copy(self)
        other._session = _open_session(self.folder / POLICY_FILE, policy_bytes, 1)
        _check_tensors(self.folder / POLICY_FILE, other._session, self.layout.size, self.memory_size)
        return other

    def initial_memory(self, count: int = 1) -> np.ndarray:
        """Memory at the start of an episode: zeros, float32, shape (count, M)."""
        return np.zeros((count, self.memory_size), dtype=np.float32)

    def assemble(self, terms: Mapping[str, np.ndarray]) -> np.ndarray:
        """Observation (N, D) from raw values by term name, each (N, size); see :meth:`Layout.assemble`."""
        return self.layout.assemble(terms)

    def act(self, observation: np.ndarray, memory: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Run the policy once for N robots.

        Args:
            observation: shape (N, D).
            memory: shape (N, M); None at the start of an episode.

        Returns:
            Joint position targets, [rad], float32, shape (N, 29), and the next memory, float32, (N, M).

        Raises:
            ObservationError: an input has another shape; nothing is run.
        """
        observation = np.ascontiguousarray(observation, dtype=np.float32)
        if observation.ndim != 2 or observation.shape[1] != self.layout.size:
            raise ObservationError(
                f"policy {self.name!r}: observation has shape {observation.shape}, "
                f"expected (N, {self.layout.size})"
            )
        count = len(observation)
        if memory is None:
            memory = self.initial_memory(count)
        feed = {"observation": observation}
        if self.memory_size:
            memory = np.ascontiguousarray(memory, dtype=np.float32)
            if memory.shape != (count, self.memory_size):
                raise ObservationError(
                    f"policy {self.name!r}: memory has shape {memory.shape}, "
                    f"expected {(count, self.memory_size)}"
                )
            feed["memory"] = memory
        result = self._session.run(self._outputs, feed)
        return result[0], (result[1] if self.memory_size else memory)

    def _try_out(self) -> None:
        """Run once for two robots that stand still: symbolic shapes become real ones here."""
        where = self.folder / POLICY_FILE
        try:
            action, memory = self.act(self.assemble(neutral_values(2)))
        except Exception as error:
            raise BundleError(
                f"{where}: does not run for two robots at once ({_line(error)}); export it with a "
                "dynamic first axis"
            ) from None
        if action.shape != (2, NUM_JOINTS) or memory.shape != (2, self.memory_size):
            raise BundleError(
                f"{where}: gives action {action.shape} and memory {memory.shape} for two robots, expected "
                f"{(2, NUM_JOINTS)} and {(2, self.memory_size)}; export it again"
            )
        if not (np.isfinite(action).all() and np.isfinite(memory).all()):
            raise BundleError(
                f"{where}: its output is not finite for a robot that stands still without a ball; "
                "train or export it again"
            )


def find_bundle(path_or_name: str | os.PathLike) -> Path:
    """Folder of a bundle: a path, or a name without a slash under assets/policies.

    Raises:
        BundleError: there is no such folder; the message lists the released policies.
    """
    text = os.fspath(path_or_name)
    if not text:
        raise BundleError("no policy is named; give the name of a released policy or a bundle's folder")
    if "/" in text or os.sep in text or text in (".", ".."):
        folder = Path(text)
        if not folder.is_dir():
            raise BundleError(f"{folder}: no such folder; a policy bundle is a folder with {MANIFEST_FILE}")
        return folder
    released = released_policies()
    if text not in released:
        names = ", ".join(sorted(released)) or "none"
        raise BundleError(
            f"policy {text!r} is not among the released ones ({names}); "
            f"for a bundle of your own give its path with a slash (./{text})"
        )
    return released[text]


def released_policies() -> dict[str, Path]:
    """Bundles shipped under assets/policies: name to folder."""
    try:
        import assets
    except ImportError:
        return {}
    found = {}
    for root in assets.__path__:
        for file in sorted(Path(root).glob(f"policies/*/{MANIFEST_FILE}")):
            found.setdefault(file.parent.name, file.parent)
    return found


def _replaceable(folder: Path) -> bool:
    """Whether a folder holds a bundle (or nothing) and may be replaced by another."""
    return folder.is_dir() and ((folder / MANIFEST_FILE).is_file() or not any(folder.iterdir()))


def _read(path: Path, limit: int) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise BundleError(f"{path}: missing; copy or export the bundle again") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from None
    if not data:
        raise BundleError(f"{path}: empty; copy or export the bundle again")
    if len(data) > limit:
        raise BundleError(f"{path}: larger than {limit >> 20} MiB; not a policy of this project")
    return data


def _parse_manifest(path: Path, data: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{path}: not readable JSON ({_line(error)}); copy or export the bundle again"
        ) from None
    if not isinstance(manifest, dict):
        raise BundleError(f"{path}: not a JSON object; copy or export the bundle again")
    return manifest


def _check_manifest(path: Path, manifest: dict[str, Any]) -> Layout:
    if manifest.get("format") != FORMAT:
        raise BundleError(
            f"{path}: format {manifest.get('format')!r}, this version reads {FORMAT!r}; "
            "export the policy with this version"
        )
    kinds = {
        "name": str,
        "control_dt": (int, float),
        "joint_names": list,
        "kp": list,
        "kd": list,
        "observation": dict,
        "action": dict,
        "memory": dict,
        "hashes": dict,
        "training": dict,
        "data_sources": list,
        "licence": str,
    }
    for key, kind in kinds.items():
        if key not in manifest:
            raise BundleError(f"{path}: {key!r} is missing; export the policy again")
        if not isinstance(manifest[key], kind) or isinstance(manifest[key], bool):
            raise BundleError(
                f"{path}: {key!r} has the wrong type ({type(manifest[key]).__name__}); export again"
            )
    if manifest["control_dt"] != CONTROL_DT:
        raise BundleError(
            f"{path}: control_dt is {manifest['control_dt']} s, the robot runs policies at {CONTROL_DT} s"
        )
    names = manifest["joint_names"]
    if names != list(JOINT_NAMES):
        if not all(isinstance(name, str) for name in names):
            raise BundleError(f"{path}: joint_names must be names; export the policy again")
        strange = sorted(set(names) ^ set(JOINT_NAMES))
        detail = f"unmatched joints {strange[:4]}" if strange else "the same joints in another order"
        raise BundleError(f"{path}: joint_names do not match the robot ({detail}); export it for this robot")
    for key in ("kp", "kd"):
        _check_gains(path, key, manifest[key])
    try:
        layout = Layout.from_dict(manifest["observation"], str(path))
    except ObservationError as error:
        raise BundleError(f"{error}; export the policy again") from None
    if not layout.terms:
        raise BundleError(f"{path}: the observation has no terms; export the policy again")
    action = {key: manifest["action"].get(key) for key in ("size", "kind", "unit")}
    if action != {"size": NUM_JOINTS, "kind": "joint_position_target", "unit": "rad"}:
        raise BundleError(
            f"{path}: action is {action}, the robot takes {NUM_JOINTS} joint_position_target in rad"
        )
    size = manifest["memory"].get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise BundleError(f"{path}: memory size is {size!r}, expected a whole number, 0 or more")
    for section in _present(manifest):
        stored = manifest["hashes"].get(section)
        if stored != _section_hash(manifest, section):
            raise BundleError(
                f"{path}: section {section!r} does not match its hash: changed after export; "
                "copy or export the bundle again"
            )
    if not re.fullmatch(r"[0-9a-f]{64}", str(manifest["hashes"].get(POLICY_FILE))):
        raise BundleError(f"{path}: has no SHA-256 of {POLICY_FILE}; export the policy again")
    return layout


def _clean_play(path: Path, manifest: Mapping[str, Any]) -> Statistics | None:
    if "clean_play" not in manifest:
        return None
    try:
        return Statistics.from_dict(manifest["clean_play"])
    except WatchError as error:
        raise BundleError(f"{path}: {error}; export the policy again") from None


def _check_gains(path: Path, key: str, values: list) -> None:
    if len(values) != NUM_JOINTS:
        raise BundleError(f"{path}: {key} has {len(values)} values, the robot has {NUM_JOINTS} joints")
    for joint, value in zip(JOINT_NAMES, values, strict=True):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not (0.0 < value < 1e6):
            raise BundleError(f"{path}: {key} of {joint} is {value!r}, expected a finite positive number")


def _present(manifest: Mapping[str, Any]) -> list[str]:
    return [section for section in SECTIONS if section != "clean_play" or section in manifest]


def _section_hash(manifest: Mapping[str, Any], section: str) -> str:
    if section == "joints":
        part: Any = {key: manifest.get(key) for key in ("joint_names", "kp", "kd", "control_dt")}
    else:
        part = manifest.get(section)
    text = json.dumps(part, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _open_session(path: Path, data: bytes, threads: int):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Weights must lie in the file that was hashed, not in another one that it points to.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    # Threads that spin between calls would take the core from the control loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises its own kinds for damaged files
        raise BundleError(
            f"{path}: ONNX Runtime cannot load it ({_line(error)}); export the policy again"
        ) from None


def _check_tensors(path: Path, session, observation_size: int, memory_size: int) -> None:
    memory = memory_size > 0
    expected = {
        "input": {"observation": observation_size} | ({"memory": memory_size} if memory else {}),
        "output": {"action": NUM_JOINTS} | ({"memory_next": memory_size} if memory else {}),
    }
    actual = {"input": session.get_inputs(), "output": session.get_outputs()}
    for kind, sizes in expected.items():
        tensors = {tensor.name: tensor for tensor in actual[kind]}
        if set(tensors) != set(sizes):
            raise BundleError(
                f"{path}: has {kind}s {sorted(tensors)}, the manifest asks for {sorted(sizes)}; "
                "export the policy again"
            )
        for name, size in sizes.items():
            tensor = tensors[name]
            if tensor.type != "tensor(float)":
                raise BundleError(f"{path}: {kind} {name!r} is {tensor.type}, expected float32")
            shape = tensor.shape
            if len(shape) != 2:
                raise BundleError(f"{path}: {kind} {name!r} has shape {shape}, expected (N, {size})")
            if isinstance(shape[1], int) and shape[1] != size:
                raise BundleError(
                    f"{path}: {kind} {name!r} has {shape[1]} columns, the manifest's layout has {size}; "
                    "the policy and its layout do not belong together, export it again"
                )
            if kind == "input" and not isinstance(shape[1], int):
                raise BundleError(f"{path}: {kind} {name!r} does not fix its number of columns ({size})")
            if isinstance(shape[0], int):
                raise BundleError(
                    f"{path}: {kind} {name!r} is fixed to {shape[0]} robots; export it with a dynamic "
                    "first axis"
                )


def _line(error: BaseException) -> str:
    """First line of an error, without ONNX Runtime's code and not too long."""
    lines = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error).strip()).splitlines()
    if not lines:
        return type(error).__name__
    return lines[0] if len(lines[0]) <= 160 else lines[0][:160] + "…"


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("humanoid-rally")
    except PackageNotFoundError:
        return "development"
