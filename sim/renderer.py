"""Pictures of a scene: one offscreen renderer, several cameras, a ball with its trail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from sim.camera import View
from sim.gl import create_context
from sim.scene import BALL_RADIUS, BALL_RGBA, HIDDEN_GROUP, Scene

MIN_BALL_SHARE = 0.0048
"""Smallest radius of the drawn ball over the picture's height: a true ball at the far baseline is three
pixels wide in a 720p picture. Nearer than about 10 m it has its true size."""
Mark = tuple[np.ndarray, float, tuple[float, float, float]]
"""Where the ball met the ground (3,) [m], opacity 0–1, colour."""
SHADOW_DISTANCE = 9.0
"""Distance of the shadow map's origin from the point in its middle, along the sunlight, [m]."""


class Renderer:
    """Renders a :class:`sim.scene.Scene` offscreen. Use it in a ``with`` block.

    Raises:
        sim.gl.RenderUnavailable: on construction, where there is no OpenGL.
    """

    def __init__(self, scene: Scene, width: int, height: int, max_geoms: int = 2000) -> None:
        glob = scene.model.vis.global_
        glob.offwidth, glob.offheight = max(width, 16), max(height, 16)
        self.scene = scene
        self.width, self.height = width, height
        self._gl: Any = create_context(width, height)
        self._context = mujoco.MjrContext(scene.model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._drawn = mujoco.MjvScene(scene.model, maxgeom=max_geoms)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 1
        self._option.geomgroup[HIDDEN_GROUP] = 0
        self._option.sitegroup[:] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        self._sun = scene.model.light("sun").id
        self._shadows = bool(scene.model.light_castshadow[self._sun])

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Free the OpenGL context."""
        if self._gl is not None:
            self._context.free()
            self._gl.free()
            self._gl = None

    def draw(
        self,
        view: View,
        *,
        size: tuple[int, int] | None = None,
        shadow_center: np.ndarray | None = None,
        trail: np.ndarray | None = None,
        marks: Sequence[Mark] | None = None,
        shadow_reach: float = 9.0,
        shadows: bool = True,
    ) -> np.ndarray:
        """Render the scene as it is posed.

        Args:
            view: the camera.
            size: width and height, at most those of the renderer; None for these.
            shadow_center: middle of the region that has shadows, (3,), [m]; None: what is looked at.
            trail: earlier positions of the ball, oldest first, (n, 3), [m].
            marks: where the ball met the ground.
            shadow_reach: half the width of that region, [m]; the smaller, the sharper.
            shadows: False leaves them out of this picture.

        Returns:
            (height, width, 3) uint8, RGB, first row on top.
        """
        width, height = size or (self.width, self.height)
        model, data = self.scene.model, self.scene.data
        model.vis.global_.fovy = view.fovy
        camera = self._camera
        camera.lookat[:] = view.at
        camera.distance, camera.azimuth, camera.elevation = view.distance, view.azimuth, view.elevation
        centre = view.at if shadow_center is None else shadow_center
        direction = data.light_xdir[self._sun]
        data.light_xpos[self._sun] = np.asarray(centre) - SHADOW_DISTANCE * direction
        self._gl.make_current()
        self._context.shadowClip = shadow_reach
        drawn = self._drawn
        mujoco.mjv_updateScene(
            model, data, self._option, None, camera, mujoco.mjtCatBit.mjCAT_ALL.value, drawn
        )
        drawn.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = self._shadows and shadows
        drawn.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        drawn.flags[mujoco.mjtRndFlag.mjRND_HAZE] = 0
        drawn.flags[mujoco.mjtRndFlag.mjRND_FOG] = 1
        self._prepare_geoms(view)
        if trail is not None and len(trail) > 1:
            self._add_trail(trail, view)
        for point, opacity, rgb in marks or ():
            self._add_mark(point, opacity, rgb)
        rect = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(rect, drawn, self._context)
        picture = np.empty((height, width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(picture, None, rect, self._context)
        return picture[::-1]

    def _apparent(self, point: np.ndarray, view: View) -> float:
        """Radius at a point that fills ``MIN_BALL_SHARE`` of the picture's height, [m]."""
        distance = float(np.linalg.norm(point - view.eye))
        return MIN_BALL_SHARE * 2.0 * np.tan(np.radians(view.fovy) / 2.0) * distance

    def _prepare_geoms(self, view: View) -> None:
        """Enlarge the ball, and switch off the shadows that would be cut off."""
        for i in range(self._drawn.ngeom):
            geom = self._drawn.geoms[i]
            if geom.objtype != mujoco.mjtObj.mjOBJ_GEOM:
                continue
            geom.castshadow = self.scene.casts_shadow[geom.objid]
            if geom.objid == self.scene.ball_geom:
                geom.size[:] = max(BALL_RADIUS, self._apparent(geom.pos, view))

    def _new_geom(self):
        if self._drawn.ngeom >= self._drawn.maxgeom:
            return None
        geom = self._drawn.geoms[self._drawn.ngeom]
        self._drawn.ngeom += 1
        return geom

    def _add_trail(self, trail: np.ndarray, view: View) -> None:
        """A comet's tail. Opaque: overlaps of translucent pieces would show as beads."""
        count = len(trail) - 1
        for i in range(count):
            geom = self._new_geom()
            if geom is None:
                return
            age = (i + 1) / count
            radius = max(0.35 * BALL_RADIUS, 0.7 * self._apparent(trail[i], view)) * (0.08 + 0.92 * age)
            rgba = np.array([*(np.array(BALL_RGBA[:3]) * (0.55 + 0.45 * age)), 1.0], dtype=np.float32)
            mujoco.mjv_initGeom(
                geom, mujoco.mjtGeom.mjGEOM_CAPSULE.value, np.zeros(3), np.zeros(3), np.eye(3).ravel(), rgba
            )
            mujoco.mjv_connector(geom, mujoco.mjtGeom.mjGEOM_CAPSULE.value, radius, trail[i], trail[i + 1])
            geom.emission = 0.6
            geom.castshadow = 0

    def _add_mark(self, point: np.ndarray, opacity: float, rgb: tuple[float, float, float]) -> None:
        geom = self._new_geom()
        if geom is None:
            return
        mujoco.mjv_initGeom(
            geom,
            mujoco.mjtGeom.mjGEOM_CYLINDER.value,
            np.array([0.13, 0.002, 0.0]),
            np.array([point[0], point[1], 0.006]),
            np.eye(3).ravel(),
            np.array([*rgb, opacity], dtype=np.float32),
        )
        geom.emission = 0.3
        geom.transparent = 1
        geom.castshadow = 0
