"""What the README and the model cards promise is there."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from humanoid.bundle import PolicyBundle, released_policies
from humanoid.observation import TERMS
from policies.evaluation import CONDITIONS
from sim.launcher import LEVELS, LauncherConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z]+)\b", README)) - {"made"}))
def test_make_targets_of_the_readme_exist(target):
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`(rally-[a-z-]+)", README))))
def test_commands_of_the_readme_are_installed(command):
    assert command in PROJECT["scripts"]


@pytest.mark.parametrize("command", sorted(PROJECT["scripts"]))
def test_every_command_is_in_the_readme(command):
    assert f"`{command}" in README


@pytest.mark.parametrize("page", ["README.md", "docs/benchmark.md", "docs/bundle.md", "docs/safety.md"])
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def test_rooms_of_the_readme_exist():
    for room in re.findall(r"^\| `([a-z]+)/` \|", README, re.MULTILINE):
        assert (ROOT / room).is_dir()


def test_benchmark_page_has_the_numbers_of_the_code():
    page = (ROOT / "docs" / "benchmark.md").read_text()
    for name, level in LEVELS.items():
        speed = f"{level.speed[0]:.0f}–{level.speed[1]:.0f} m/s"
        row = rf"\| `{name}` \| {speed} \| {level.spin_rpm[0]:.0f}–{level.spin_rpm[1]:.0f} rpm"
        assert re.search(row, page)
        assert re.search(rf"\| `{name}` .*\| {level.reach:g} m", page)
    for point in (LauncherConfig().forehand, LauncherConfig().backhand):
        assert f"({', '.join(f'{value:.2f}' for value in point)}) m" in page
    for condition in CONDITIONS:
        assert f"`{condition}`" in page


def test_bundle_page_has_every_term():
    page = (ROOT / "docs" / "bundle.md").read_text()
    for term in TERMS:
        assert f"`{term}`" in page


def test_constraints_pin_what_the_project_asks_for():
    pinned = {
        line.split("==")[0].lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    wanted = list(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        wanted += extra
    for requirement in wanted:
        name = re.match(r"[A-Za-z0-9_-]+", requirement)[0].lower()
        assert name == "humanoid-rally" or name in pinned, requirement


def test_every_asset_has_a_licence():
    for folder in (ROOT / "assets" / "motions").iterdir():
        if any(folder.glob("*.npz")):
            assert (folder / "LICENSE").is_file(), folder.name


@pytest.mark.parametrize("name", sorted(released_policies()))
def test_released_policies_load_and_match_their_card(name):
    folder = released_policies()[name]
    bundle = PolicyBundle.load(name)
    assert bundle.name == name
    assert bundle.manifest["licence"]
    # What was trained learned from something, and somebody made that.
    trained = bundle.manifest["training"].get("samples", 1) != 0
    assert bundle.manifest["data_sources"] or not trained
    card = (folder / "README.md").read_text()
    check_table(card, {name: bundle})


def test_results_of_the_readme_are_those_of_the_bundles():
    table = README.split("<!-- results")[1].split("<!-- end of results -->")[0]
    check_table(table, {name: PolicyBundle.load(name) for name in released_policies()})


def check_table(text, bundles):
    """Each row of a level must give an in-court rate that the manifest's metrics have. A row names its level
    first and, in a table of several policies, its policy second."""
    for line in re.findall(r"^\| (?:feed|rally|match) \|.*$", text, re.MULTILINE):
        level, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        bundle = bundles[cells[0]] if cells[0] in bundles else next(iter(bundles.values()))
        metrics = bundle.manifest["metrics"]
        if not metrics:
            continue  # nothing is claimed, such as for the robot that stands
        rates = [float(rate) for rate in re.findall(r'"rate": ([\d.e-]+)', json.dumps(metrics.get(level)))]
        figure = re.search(r"\b\d+\.\d\b", " ".join(cells))
        assert figure, line
        assert figure[0] in {f"{100 * rate:.1f}" for rate in rates}, f"{bundle.name}: {line}"


def test_safety_page_names_every_check_and_counts_the_faults():
    from humanoid.watch import CHECKS
    from policies.faults import FAULTS

    page = (ROOT / "docs" / "safety.md").read_text()
    assert {check for check in CHECKS if f"`{check}`" not in page} == set()
    assert f"({len(FAULTS)} kinds:" in page
