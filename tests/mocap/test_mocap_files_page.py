"""What docs/mocap_files.md says is so: its examples are run."""

import contextlib
import io
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml

from mocap.benchmark import synthetic_clip, to_bvh
from mocap.g1_csv import write_g1_csv
from mocap.g1_skeleton import robot_clip
from mocap.marker_set import load_marker_set, shipped_sets
from mocap.overrides import Overrides, load_overrides
from mocap.readers import ENDINGS
from mocap.skeleton import load_mapping, shipped_mappings

PAGE = (Path(__file__).parents[2] / "docs" / "mocap_files.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
PYTHON = [(text, BLOCKS[n + 1]) for n, (kind, text) in enumerate(BLOCKS) if kind == "python"]
YAML = [text for kind, text in BLOCKS if kind == "yaml"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "walk.bvh").write_text(to_bvh(synthetic_clip(0.5, 100.0)))
    still = np.tile([0.0, 0.0, 0.78], (20, 1)), np.tile([1.0, 0.0, 0.0, 0.0], (20, 1)), np.zeros((20, 29))
    (tmp_path / "clips" / "dance.csv").write_text(write_g1_csv(robot_clip("g1", *still, 30.0, {})))
    (tmp_path / "mine.yaml").write_text(next(y for y in YAML if "mine.yaml" in y))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("code", "after"), PYTHON, ids=range(len(PYTHON)))
def test_the_examples_run_and_print_what_they_say(here: Path, code: str, after: tuple[str, str]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "docs/mocap_files.md", "exec"), {})
    if "print(" in code:
        assert after[0] == "text"
        assert out.getvalue().strip() == after[1].strip()


def test_the_files_of_the_page_are_good(here: Path):
    (here / "clips.yaml").write_text(YAML[0])
    assert len(load_overrides(here / "clips.yaml")) == 2
    assert load_mapping(here / "mine.yaml").name == "mine"
    (here / "my_markers.yaml").write_text(YAML[-1])
    assert load_marker_set(here / "my_markers.yaml").points
    assert all(yaml.safe_load(y) for y in YAML)


def test_the_tables_are_complete():
    keys = PAGE[PAGE.index("## Saying it") : PAGE.index("## Skeletons")]
    for field in fields(Overrides):
        assert f"`{field.name}`" in keys, field.name
    for ending in ENDINGS:
        assert f"`{ending}`" in PAGE, ending
    for mapping in shipped_mappings():
        assert f"`{mapping.name}`" in PAGE, mapping.name
    for markers in shipped_sets():
        assert f"`{markers.name}`" in PAGE, markers.name
