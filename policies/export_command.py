"""The command `rally-export`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import MISSING

from humanoid.app import run_app
from humanoid.bundle import BundleError
from humanoid.motion import MotionError

CONF = Path(__file__).with_name("conf")


@dataclass
class ExportConfig:
    """Schema of policies/conf/export.yaml.

    Attributes:
        run: folder of a training run, or a checkpoint.
        output: folder of the bundle.
        name: of the policy; empty: the output folder's.
        description: for the manifest; empty: says which run it is from.
        network: with the run's network, or without any.
        clean_minutes: robot time that the exported policy plays, half of it under `real`, for the safety watch to know
            what its play looks like; 0: none.
    """

    run: str = MISSING
    output: str = MISSING
    name: str = ""
    description: str = ""
    network: bool = True
    clean_minutes: float = 5.0


def main(arguments: Sequence[str] | None = None) -> None:
    """The console command; exits with 0 when the bundle was written, else 2 or 130."""
    from policies.checkpoint import CheckpointError

    code = run_app(
        "rally-export",
        run,
        conf=CONF,
        schema=ExportConfig,
        config_name="export",
        expected=(CheckpointError, BundleError, MotionError, RuntimeError),
        arguments=arguments,
    )
    sys.exit(code)


def run(app: ExportConfig) -> int:
    """Write one bundle; returns the exit code.

    Raises:
        CheckpointError, BundleError, MotionError, ValueError: what is wrong with a file or a value.
    """
    from policies.export import export_run

    for key in ("run", "output"):
        if not getattr(app, key):
            raise ValueError(f"{key}=: give a folder")
    source, output = Path(app.run), Path(app.output)
    checkpoint = source / "checkpoint.pt" if source.is_dir() else source
    name = app.name or output.resolve().name
    description = app.description or (
        f"Network of the run {checkpoint.parent.name}."
        if app.network
        else "Planner, reference and regulator without a network."
    )
    bundle = export_run(checkpoint, output, name, description, app.network, app.clean_minutes)
    print(f"{output}: policy {name!r}, {bundle.bundle_sha256}")
    print(
        f"rally-eval policy={output if len(output.parts) > 1 else f'./{output}'} level=feed output=out/{name}"
    )
    return 0


if __name__ == "__main__":
    main()
