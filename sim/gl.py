"""An OpenGL context for pictures without a display."""

from __future__ import annotations

import os
import sys
from importlib import import_module

BACKENDS = {"egl": "mujoco.egl", "osmesa": "mujoco.osmesa", "glfw": "mujoco.glfw"}
_OFF = {"0", "off", "disable", "disabled", "false"}


class RenderUnavailable(RuntimeError):
    """No picture or video can be made on this machine. The message says why and what to do."""


def choose_backend() -> str:
    """The OpenGL backend: ``MUJOCO_GL`` when set, else EGL, which needs no display (GLFW off Linux).

    Raises:
        RenderUnavailable: ``MUJOCO_GL`` switches rendering off or is not a backend.
    """
    wanted = os.environ.get("MUJOCO_GL", "").strip().lower()
    if wanted in _OFF:
        raise RenderUnavailable(f"rendering is switched off by MUJOCO_GL={wanted}; unset it to render")
    if wanted and wanted not in BACKENDS:
        raise RenderUnavailable(f"MUJOCO_GL={wanted} is none of {', '.join(BACKENDS)}; unset it or pick one")
    return wanted or ("egl" if sys.platform == "linux" else "glfw")


def create_context(width: int, height: int):
    """An offscreen context, made current. It does not matter what ``MUJOCO_GL`` was when MuJoCo was imported.

    Args:
        width, height: of the largest picture, [pixels].

    Returns:
        An object with ``make_current()`` and ``free()``.

    Raises:
        RenderUnavailable: there is no OpenGL here.
    """
    backend = choose_backend()
    try:
        context = import_module(BACKENDS[backend]).GLContext(width, height)
        context.make_current()
    except Exception as error:  # the drivers' loaders raise whatever they like
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RenderUnavailable(
            f"no OpenGL here ({backend}: {reason}); on Debian: apt install libegl1 libgl1-mesa-dri. "
            "Everything but pictures works without."
        ) from None
    return context
