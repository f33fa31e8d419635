"""Who may import whom: humanoid ← mocap ← sim ← policies, and the robot's side alone."""

import ast
import builtins
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
    "checks",
    "compiled",
    "controller",
    "deploy",
    "files",
    "joints",
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
ROBOT_PACKAGES = {"numpy", "numba", "onnxruntime", "hydra", "omegaconf"}


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


def read(tree: ast.AST) -> set[str]:
    """Names that a piece of code reads and does not define itself."""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    own = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return {name.id for name in names} - own - set(dir(builtins))


def strangers(path: Path) -> set[str]:
    """What compiled functions of a file read of other files, themselves or by its constants."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    compiled = [
        node
        for node in functions.values()
        if any(isinstance(mark, ast.Name) and mark.id == "compiled" for mark in node.decorator_list)
    ]
    constants = {
        name.id: node.value
        for node in body
        if isinstance(node, ast.Assign)
        for target in node.targets
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    }
    wanted, seen = {name for node in compiled for name in read(node)}, {"np", "compiled"}
    while wanted - seen - set(functions):
        name = (wanted - seen - set(functions)).pop()
        if name not in constants:
            return {name}
        seen.add(name)
        wanted |= read(constants[name])
    return {name for name in wanted & set(functions) if functions[name] not in compiled}


@pytest.mark.parametrize("room", ROOMS)
def test_compiled_code_is_of_one_file(room):
    """Numba keeps what it compiled until its own file changes: a change elsewhere would not count."""
    for path in sorted((ROOT / room).rglob("*.py")):
        assert not strangers(path), f"{path}: compiled functions read {strangers(path)}; pass it to them"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from a import N\n@compiled\ndef f(x):\n    return x + N\n", {"N"}),
        ("from a import N\nM = 2 * N\n@compiled\ndef f(x):\n    return x + M\n", {"N"}),
        ("def g(x):\n    return x\n@compiled\ndef f(x):\n    return g(x)\n", {"g"}),
        (
            "M = 2\n@compiled\ndef g(x):\n    return M\n@compiled\ndef f(x):\n    y = np.abs(x)\n    return g(y)\n",
            set(),
        ),
    ],
)
def test_what_is_of_another_file_is_found(tmp_path, text, found):
    (tmp_path / "module.py").write_text(text)
    assert strangers(tmp_path / "module.py") == found


def test_nothing_but_data_in_assets():
    for path in (ROOT / "assets").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        logic = [node for node in tree.body if not isinstance(node, ast.Expr)]
        assert not logic, f"{path.relative_to(ROOT)} contains logic"
