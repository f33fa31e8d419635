"""Hydra applications: one line and exit code 2 for every mistake, nothing left behind."""

from dataclasses import dataclass, field

import pytest

from humanoid.app import run_app


@dataclass
class Inner:
    speed: float = 1.0


@dataclass
class Config:
    name: str
    count: int = 3
    inner: Inner = field(default_factory=Inner)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "trial.yaml").write_text("defaults:\n  - trial_schema\n  - _self_\nname: ???\ncount: 3\n")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def call(*arguments, task=lambda config: 0):
        code = run_app("trial", task, conf=conf, schema=Config, config_name="trial", arguments=arguments)
        assert list(work.iterdir()) == []
        return code, capsys.readouterr().err

    return call


def test_the_task_gets_a_typed_configuration(run):
    seen = []
    code, error = run("name=x", "inner.speed=2", task=lambda config: seen.append(config) or 7)
    assert (code, error) == (7, "")
    assert seen == [Config("x", 3, Inner(2.0))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name=… must be given"),
        (["name=x", "cuont=4"], "unknown setting 'cuont'; did you mean count?"),
        (["name=x", "inner.spede=4"], "unknown setting 'inner.spede'; did you mean inner.speed?"),
        (["name=x", "zebra=4"], "unknown setting 'zebra'; trial --help lists the settings"),
        (["name=x", "count=many"], "count=many: Value 'many'"),
        (["name=["], "no viable alternative at input '['"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(run, arguments, message):
    code, error = run(*arguments)
    assert code == 2
    assert error.startswith(f"trial: {message}")
    assert error.count("\n") == 1


def test_expected_errors_of_the_task_are_one_line(run):
    def task(config):
        raise ValueError("the file is bad\nand more")

    assert run("name=x", task=task) == (2, "trial: the file is bad\n")


def test_a_full_disk_is_named(run):
    def task(config):
        raise OSError(28, "No space left on device", "/data/log.json")

    assert run("name=x", task=task) == (2, "trial: /data/log.json: No space left on device\n")


def test_an_interrupt_is_exit_code_130(run):
    def task(config):
        raise KeyboardInterrupt

    assert run("name=x", task=task)[0] == 130


def test_other_errors_are_not_hidden(run):
    def task(config):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run("name=x", task=task)
