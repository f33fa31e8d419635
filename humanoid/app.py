"""Hydra applications that speak plainly: errors in one line, exit code 2, no files left behind."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException


def run_app(
    name: str,
    task: Callable[[Any], int],
    *,
    conf: Path,
    schema: type | dict[str, Any],
    config_name: str,
    expected: tuple[type[Exception], ...] = (),
    arguments: Sequence[str] | None = None,
    objective: Callable[[], float] | None = None,
) -> int:
    """Compose a configuration from the command line and run a task with it.

    Args:
        name: of the command, for messages.
        task: gets an instance of ``schema`` (a dict if that is one), returns the exit code.
        conf: folder of the YAML files.
        schema: dataclass that types the configuration, or a dict of all its keys and default values; the
            YAML's defaults list names it ``<config_name>_schema``.
        config_name: of the YAML file.
        expected: errors of the task that users cause; shown in one line.
        arguments: of the command line; the process's own by default.
        objective: how good the last task's result was, for sweepers that look for the best one (``--multirun``).

    Returns:
        Exit code: the task's, 2 for users' mistakes, 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    folder = str(conf.resolve())
    ConfigStore.instance().store(name=f"{config_name}_schema", node=schema)

    def run(config: DictConfig) -> int:
        try:
            missing = sorted(OmegaConf.missing_keys(config))
            if missing:
                raise ValueError(f"{', '.join(f'{key}=…' for key in missing)} must be given")
            return task(OmegaConf.to_object(config))
        except KeyboardInterrupt:
            return _complain(name, "interrupted", 130)
        except (OmegaConfBaseException, ValueError, *expected) as error:
            return _complain(name, _first_line(error))
        except OSError as error:
            return _complain(name, f"{error.filename or 'file'}: {error.strerror or error}")

    if any(argument.startswith("-") for argument in arguments):
        # --help, --cfg, --multirun and the like are Hydra's own business.
        sys.argv = [name, *arguments]
        codes = [0]

        def wrapped(config: DictConfig) -> float | None:
            codes.append(run(config))
            return objective() if objective and codes[-1] == 0 else None

        hydra.main(version_base="1.3", config_path=folder, config_name=config_name)(wrapped)()
        return max(codes)
    try:
        GlobalHydra.instance().clear()
        with hydra.initialize_config_dir(folder, job_name=name, version_base="1.3"):
            config = hydra.compose(config_name, overrides=arguments)
    except (HydraException, OmegaConfBaseException) as error:
        return _complain(name, _explain(name, error, folder, config_name))
    return run(config)


def _complain(name: str, text: str, code: int = 2) -> int:
    print(f"{name}: {text}", file=sys.stderr)
    return code


def _explain(name: str, error: Exception, folder: str, config_name: str) -> str:
    """One line about a configuration that Hydra refused."""
    text = _first_line(error)
    key = re.match(r"Could not override '([^']+)'", text)
    if key:
        known = _known_keys(folder, config_name)
        close = difflib.get_close_matches(key[1], known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"{name} --help lists the settings"
        return f"unknown setting {key[1]!r}; {hint}"
    value = re.match(r"Error merging override (.+)", text)
    if value and error.__cause__ is not None:
        return f"{value[1]}: {_first_line(error.__cause__)}"
    choice = re.search(r"Could not find '([^']+)'", text)
    if choice:
        options = re.search(r"Available options in '[^']*':\n((?:\t[^\n]+\n?)+)", str(error))
        listed = ", ".join(options[1].split()) if options else ""
        return f"unknown choice {choice[1].replace('/', '=')!r}" + (f"; there are {listed}" if listed else "")
    return text


def _known_keys(folder: str, config_name: str) -> list[str]:
    with hydra.initialize_config_dir(folder, version_base="1.3"):
        return _paths(OmegaConf.to_container(hydra.compose(config_name)))


def _paths(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    found = []
    for key, value in node.items():
        found.append(f"{prefix}{key}")
        found += _paths(value, f"{prefix}{key}.")
    return found


def _first_line(error: BaseException) -> str:
    """The telling part of an error in one line, without Hydra's trailers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [
        line for line in lines if not re.match(r"(full_key|object_type|reference_type|Set the env)", line)
    ]
    return telling[0] if telling else type(error).__name__
