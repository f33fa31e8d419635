"""Pictures of the robot, offscreen: filmstrips of poses on a chequered floor. Needs OpenGL (EGL) and OpenCV.

Without them :class:`NoPictures` says what is missing, and the report draws stick figures instead.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import mujoco
import numpy as np

from humanoid.model import build_spec
from humanoid.visuals import GROUP, decorate

FOVY_DEG = 14.0
"""Narrow: from afar the picture is nearly the parallel projection of the human's figure beside it."""
REACH_M = 2.4
"""Height of the world that fills the picture."""
LOOK_Z_M = 1.04
ELEVATION_DEG = -8.0
FLOOR_HALF_M = 3.0
_BACKENDS = {"egl": "mujoco.egl", "osmesa": "mujoco.osmesa", "glfw": "mujoco.glfw"}


class NoPictures(RuntimeError):
    """No picture of the robot can be made on this machine. The message says why."""


class RobotCamera:
    """Draws the robot in given poses. Use it in a ``with`` block.

    Args:
        width, height: of one picture, pixels.

    Raises:
        NoPictures: no OpenGL, or no OpenCV to encode with.
    """

    def __init__(self, width: int = 144, height: int = 192) -> None:
        self.width, self.height = width, height
        try:
            self._cv2: Any = import_module("cv2")
        except ImportError:
            raise NoPictures("OpenCV is missing; pip install 'humanoid-rally[render]'") from None
        self._gl: Any = _context(width, height)
        model = _scene(width, height)
        self.model, self.data = model, mujoco.MjData(model)
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[[0, GROUP]] = 1
        self._option.sitegroup[:] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        self._camera.distance = 0.5 * REACH_M / np.tan(np.radians(FOVY_DEG) / 2.0)
        self._camera.elevation = ELEVATION_DEG

    def __enter__(self) -> RobotCamera:
        return self

    def __exit__(self, *_) -> None:
        self._context.free()
        self._gl.free()

    def draw(self, qpos: np.ndarray, azimuth: float) -> np.ndarray:
        """One pose from one side.

        Args:
            qpos: (36,), pelvis position, quaternion, joint angles.
            azimuth: direction in which the camera looks, rad about z from x.

        Returns:
            (height, width, 3) uint8, RGB.
        """
        self._gl.make_current()
        self.data.qpos[:] = qpos
        # The floor is finite and follows in whole tiles, so that feet are seen to keep or to lose their place.
        self.data.mocap_pos[0, :2] = np.round(qpos[:2])
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        self._camera.lookat[:] = (qpos[0], qpos[1], LOOK_Z_M)
        self._camera.azimuth = np.degrees(azimuth)
        mujoco.mjv_updateScene(
            self.model,
            self.data,
            self._option,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        rect = mujoco.MjrRect(0, 0, self.width, self.height)
        mujoco.mjr_render(rect, self._scene, self._context)
        picture = np.empty((self.height, self.width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(picture, None, rect, self._context)
        return picture[::-1]

    def strip(self, qpos: np.ndarray, azimuth: np.ndarray, crop: int = 0, quality: int = 82) -> bytes:
        """Poses (n, 36) side by side, each from its azimuth (n,) [rad], as a JPEG without `crop` rows at the top."""
        tiles = [self.draw(row, angle)[crop:] for row, angle in zip(qpos, azimuth, strict=True)]
        done, encoded = self._cv2.imencode(
            ".jpg", np.hstack(tiles)[..., ::-1], [self._cv2.IMWRITE_JPEG_QUALITY, quality]
        )
        if not done:
            raise NoPictures("OpenCV cannot encode JPEG here")
        return encoded.tobytes()


def _scene(width: int, height: int) -> mujoco.MjModel:
    spec = build_spec(floor=False, actuators=False, decorate=decorate)
    spec.add_texture(
        name="tiles",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.80, 0.83, 0.86],
        rgb2=[0.70, 0.74, 0.78],
        width=64,
        height=64,
    )
    material = spec.add_material(name="tiles", texrepeat=[2.0, 2.0], texuniform=True)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "tiles"
    floor = spec.worldbody.add_body(name="picture_floor", mocap=True)
    floor.add_geom(
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[FLOOR_HALF_M, FLOOR_HALF_M, 1.0],
        material="tiles",
        contype=0,
        conaffinity=0,
    )
    spec.worldbody.add_light(
        pos=[0, 0, 6],
        dir=[0.3, 0.2, -1.0],
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        diffuse=[0.5, 0.5, 0.5],
        castshadow=False,
    )
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.97, 0.98, 0.99],
        rgb2=[0.93, 0.94, 0.96],
        width=32,
        height=192,
    )
    spec.visual.headlight.ambient = [0.45] * 3
    spec.visual.headlight.diffuse = [0.45] * 3
    spec.visual.global_.offwidth, spec.visual.global_.offheight = max(width, 16), max(height, 16)
    spec.visual.global_.fovy = FOVY_DEG
    spec.visual.quality.offsamples = 4
    spec.visual.quality.shadowsize = 0
    return spec.compile()


def _context(width: int, height: int) -> Any:
    """An offscreen OpenGL context, made current: ``MUJOCO_GL`` when set, else EGL, off Linux GLFW."""
    wanted = os.environ.get("MUJOCO_GL", "").strip().lower() or ("egl" if sys.platform == "linux" else "glfw")
    if wanted not in _BACKENDS:
        raise NoPictures(f"rendering is switched off by MUJOCO_GL={wanted}")
    try:
        context = import_module(_BACKENDS[wanted]).GLContext(width, height)
        context.make_current()
    except Exception as error:  # the drivers' loaders raise whatever they like
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise NoPictures(f"no OpenGL here ({wanted}: {reason})") from None
    return context
