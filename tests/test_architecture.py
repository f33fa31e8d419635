"""Who may import whom: humanoid ← mocap ← sim ← policies, and the robot's side alone."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("humanoid", "mocap", "sim", "policies")
ROBOT_SIDE = (
    "app",
    "approval",
    "approve",
    "bodies",
    "bundle",
    "controller",
    "deploy",
    "files",
    "joints",
    "legs",
    "message",
    "observation",
    "racket",
    "robot",
    "rotations",
    "safety",
    "udp_robot",
    "watch",
)
"""Modules of `humanoid` that run on a robot's computer."""
ROBOT_PACKAGES = {"numpy", "onnxruntime", "hydra", "omegaconf"}


def imports(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_from_those_before_them(room):
    later = ROOMS[ROOMS.index(room) + 1 :]
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        wrong = {name for name in imports(path) if name.split(".")[0] in later}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize("module", ROBOT_SIDE)
def test_the_robots_side_needs_few_packages(module):
    import sys

    for name in imports(ROOT / "humanoid" / f"{module}.py"):
        top, *rest = name.split(".")
        if top == "humanoid":
            assert not rest or rest[0] in ROBOT_SIDE, f"humanoid.{module} imports {name}"
        else:
            allowed = top in ROBOT_PACKAGES or top in sys.stdlib_module_names or top == "assets"
            assert allowed, f"humanoid.{module} imports {name}"


def test_nothing_but_data_in_assets():
    for path in (ROOT / "assets").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        logic = [node for node in tree.body if not isinstance(node, ast.Expr)]
        assert not logic, f"{path.relative_to(ROOT)} contains logic"
