"""What docs/training.md promises is there."""

import re
from pathlib import Path

import pytest

from policies.config import TrainConfig, plain
from policies.train import Trainer

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "training.md").read_text()


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)\)", PAGE))
def test_links_lead_somewhere(target):
    assert (ROOT / "docs" / target).exists()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"experiment=(\w+)", PAGE))))
def test_experiments_exist(name):
    assert (ROOT / "policies" / "conf" / "experiment" / f"{name}.yaml").exists()


KEYS = sorted(set(re.findall(r"rally-train[^\n]*? (\w+\.[\w.]+)=", PAGE)))


@pytest.mark.parametrize("key", [key for key in KEYS if not key.startswith("hydra.")])
def test_keys_exist(key):
    values = plain(TrainConfig())
    for part in key.split("."):
        values = values[part]


def test_every_column_of_the_curve_is_explained(tmp_path):
    trainer = Trainer.__new__(Trainer)
    trainer.folder, trainer.samples, trainer.wall_s = tmp_path, 0, 0.0
    trainer._append_curve(0, {})
    columns = (tmp_path / "curve.csv").read_text().splitlines()[0].split(",")
    table = PAGE[PAGE.index("## curve.csv") :]
    assert [c for c in re.findall(r"`(\w+)`", table.partition("\n\n`in_court` is")[0])] == columns
