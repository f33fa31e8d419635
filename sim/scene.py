"""The rendered scene: robots with their looks, court, net, ball and light. For pictures only.

Nothing here takes part in physics: robots are posed from recorded positions, ball and target are mocap
bodies. Frame as in :mod:`sim.court`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import mujoco
import numpy as np

from humanoid.model import build_spec
from humanoid.shapes import Mesh, bars, elliptic_ring, loft, merged
from humanoid.visuals import ACCENTS, Rgb, decorator
from humanoid.visuals import GROUP as ROBOT_GROUP
from sim import court
from sim.openings import Wall

BALL_RADIUS = 0.0335
BALL_RGBA = (0.84, 0.95, 0.16, 1.0)
TARGET_RADIUS = 0.5
"""Radius of the ring drawn around a target, [m]; it has no meaning beyond being visible."""
LINE_WIDTH = 0.05
BASELINE_WIDTH = 0.10
BACKSTOP = 18.3
"""|x| of the windscreens behind the court, [m]: ITF's 6.40 m of space behind the baseline."""
SIDESTOP = 9.15
"""|y| of the side fences, [m]: ITF's 3.66 m of space beside the doubles sideline."""
AWAY = (0.0, 0.0, -50.0)
"""Where ball, target, wall and machine are put when there is none to show."""
WALL_HALF_THICKNESS = 0.04
WALL_HEIGHT = Wall.HIGHEST
"""[m]; the simulation's wall returns no higher ball."""
WALL_HALF_WIDTH = SIDESTOP - 0.3
"""[m]; the simulation's wall has no ends: it returns a ball as far aside as that flies."""
MACHINE_HALF = 0.28
"""Half the edge of a ball machine's box, [m]."""
HIDDEN_GROUP = 3
"""Geoms of this group (collision shapes) are not drawn."""


@dataclass(frozen=True)
class Look:
    """Colours of the scene, each channel in 0–1."""

    court: Rgb = (0.12, 0.30, 0.56)
    surround: Rgb = (0.19, 0.42, 0.36)
    windscreen: Rgb = (0.09, 0.27, 0.235)
    sky: Rgb = (0.22, 0.46, 0.80)
    horizon: Rgb = (0.74, 0.84, 0.93)
    accents: tuple[Rgb, ...] = field(default_factory=lambda: tuple(ACCENTS.values()))


@dataclass
class Scene:
    """A compiled scene.

    Attributes:
        model, data: of MuJoCo; ``data`` is posed by :meth:`pose`.
        num_robots: robots in it.
        ball_geom: the ball's geom.
        casts_shadow: by geom, (ngeom,), bool. The ground, lines and fences cast none: it would be
            cut off at the border of the region that has shadows.
    """

    model: mujoco.MjModel
    data: mujoco.MjData
    num_robots: int

    def pose(
        self,
        qpos: np.ndarray,
        ball: np.ndarray | None = None,
        target: np.ndarray | None = None,
        wall: np.ndarray | None = None,
        machine: np.ndarray | None = None,
    ) -> None:
        """Put everything into place.

        Args:
            qpos: positions of the robots, (R, 36) or (36,) for one: pelvis position [m], quaternion w, x,
                y, z, joint angles [rad].
            ball: position, (3,), [m], or None for no ball.
            target: point on the ground, (2,), [m], or None.
            wall: where the middle of a wall's face stands on the ground, (3,), [m], or None.
            machine: where a machine's balls leave, (3,), [m], or None.
        """
        self.data.qpos[:] = np.asarray(qpos, dtype=float).reshape(-1)
        self.data.mocap_pos[self._ball] = AWAY if ball is None else ball
        self.data.mocap_pos[self._target] = AWAY if target is None else (target[0], target[1], 0.012)
        self.data.mocap_pos[self._wall] = AWAY if wall is None else wall
        self.data.mocap_pos[self._machine] = AWAY if machine is None else machine
        # The wall's face looks at the net, from either half; and a ball leaves the machine forward.
        for body, place in ((self._wall, wall), (self._machine, machine)):
            self.data.mocap_quat[body] = (
                (0, 0, 0, 1) if place is not None and place[0] < 0.0 else (1, 0, 0, 0)
            )
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def __post_init__(self) -> None:
        self._ball = int(self.model.body("ball").mocapid[0])
        self._target = int(self.model.body("target").mocapid[0])
        self._wall = int(self.model.body("wall").mocapid[0])
        self._machine = int(self.model.body("machine").mocapid[0])
        self.ball_geom = int(self.model.geom("ball").id)
        names = (
            "ball",
            "net_band",
            "net_twine",
            "net_strap",
            "net_post-1",
            "net_post1",
            "net_stick-1",
            "net_stick1",
            "machine",
            "machine_leg",
        )
        mine = np.array([self.model.geom(i).name in names for i in range(self.model.ngeom)])
        self.casts_shadow = mine | (self.model.geom_group == ROBOT_GROUP)

    def robot_center(self, robot: int = 0) -> np.ndarray:
        """Pelvis position of a posed robot, (3,), [m]."""
        return self.data.body(f"robot{robot}_pelvis").xpos.copy()


def build_scene(
    num_robots: int = 1,
    *,
    look: Look | None = None,
    stadium: bool = True,
    shadow_size: int = 2048,
    samples: int = 4,
    max_size: tuple[int, int] = (1920, 1080),
) -> Scene:
    """Build and compile the scene.

    Args:
        num_robots: robots, of the colours ``look.accents`` in turn.
        look: colours.
        stadium: False gives a plain studio floor without court, net and fences.
        shadow_size: resolution of the shadow map, 0 for no shadows.
        samples: multisampling of the picture.
        max_size: largest picture, width and height.
    """
    look = look or Look()
    spec = mujoco.MjSpec()
    spec.modelname = "tennis_scene"
    spec.memory = 1 << 20
    visual = spec.visual
    visual.global_.offwidth, visual.global_.offheight = max_size
    visual.quality.offsamples = samples
    visual.quality.shadowsize = shadow_size
    spec.stat.extent = 10.0
    spec.stat.center = [0, 0, 0]
    visual.map.znear = 0.02
    visual.map.zfar = 12.0
    visual.map.shadowclip = 1.1
    visual.map.shadowscale = 1.0
    visual.map.fogstart = 3.6
    visual.map.fogend = 9.0
    visual.rgba.fog = [*look.horizon, 1.0]
    visual.headlight.ambient = [0.27, 0.28, 0.30]
    visual.headlight.diffuse = [0.26, 0.26, 0.26]
    visual.headlight.specular = [0.05, 0.05, 0.05]
    visual.rgba.haze = [*look.horizon, 1.0]

    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=look.sky,
        rgb2=tuple(min(1.0, 1.35 * h) for h in look.horizon),
        width=256,
        height=256 * 6,
    )
    spec.worldbody.add_light(
        name="sun",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[0, 0, 12],
        dir=SUN if stadium else STUDIO_SUN,
        castshadow=shadow_size > 0,
        diffuse=[0.70, 0.67, 0.62] if stadium else [0.56, 0.55, 0.53],
        specular=[0.35, 0.35, 0.33],
        ambient=[0, 0, 0],
    )
    spec.worldbody.add_light(
        name="sky_light",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[0, 0, 12],
        dir=[-0.5, 0.55, -0.67],
        castshadow=False,
        diffuse=[0.20, 0.21, 0.23],
        specular=[0.05, 0.05, 0.05],
        ambient=[0, 0, 0],
    )
    if stadium:
        _add_net(spec)
        _add_court(spec, look)
    else:
        _plain_floor(spec)
    _add_ball_and_target(spec)
    _add_wall_and_machine(spec)
    for robot in range(num_robots):
        accent = look.accents[robot % len(look.accents)]
        child = build_spec(actuators=False, floor=False, decorate=decorator(accent))
        child.option.timestep = spec.option.timestep
        child.option.iterations = spec.option.iterations
        child.option.ls_iterations = spec.option.ls_iterations
        child.option.integrator = spec.option.integrator
        child.memory = spec.memory
        spec.attach(child, prefix=f"robot{robot}_", frame=spec.worldbody.add_frame())
    model = spec.compile()
    return Scene(model, mujoco.MjData(model), num_robots)


SUN = (0.04, -0.55, -0.83)
"""Direction of the sunlight on court: an afternoon sun on the near player's left."""
STUDIO_SUN = (-0.45, 0.30, -0.84)
"""Direction of the light on the plain floor: from a player's front and right."""


def _grain(size: int = 256, strength: float = 0.05, seed: int = 7) -> np.ndarray:
    """Acrylic grain, (size, size, 3) uint8: it gives the ground scale and shows the camera's motion."""
    noise = np.random.default_rng(seed).normal(size=(size, size))
    spectrum = np.fft.fft2(noise)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    soft = np.fft.ifft2(spectrum / (0.02 + frequency)).real
    value = 1.0 - strength + strength * (0.7 * soft / soft.std() + 0.3 * noise)
    return (255.0 * np.clip(value, 0.0, 1.0)[..., None].repeat(3, axis=-1)).astype(np.uint8)


def _ground_material(spec: mujoco.MjSpec, name: str, rgb: Rgb, repeat: float) -> None:
    grain = _grain()
    texture = spec.add_texture(
        name=f"{name}_grain", type=mujoco.mjtTexture.mjTEXTURE_2D, width=grain.shape[1], height=grain.shape[0]
    )
    texture.nchannel = 3
    texture.data = grain.tobytes()
    material = spec.add_material(name=name, rgba=(*rgb, 1.0), specular=0.08, shininess=0.15)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = f"{name}_grain"
    material.texrepeat = [repeat, repeat]
    material.texuniform = True


def _box(spec, name, centre, half, **options) -> None:
    spec.worldbody.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=centre,
        size=half,
        contype=0,
        conaffinity=0,
        group=1,
        **options,
    )


def _plain_floor(spec: mujoco.MjSpec) -> None:
    _ground_material(spec, "studio", (0.86, 0.87, 0.89), 0.5)
    _box(spec, "studio", (0, 0, -0.05), (60, 60, 0.05), material="studio")


def _add_court(spec: mujoco.MjSpec, look: Look) -> None:
    _ground_material(spec, "court", look.court, 0.5)
    _ground_material(spec, "surround", look.surround, 0.5)
    spec.add_material(name="line", rgba=(0.92, 0.93, 0.93, 1.0), specular=0.0, shininess=0.0, emission=0.1)
    for name, (start, end) in court.line_segments().items():
        width = BASELINE_WIDTH if "baseline" in name else LINE_WIDTH
        centre, size = _line_box(name, np.array(start), np.array(end), width)
        _box(spec, f"line {name}", (*centre, -0.0095), (*size, 0.012), material="line")
    spec.add_material(name="windscreen", rgba=(*look.windscreen, 1.0), specular=0.0, shininess=0.0)
    spec.add_material(name="rail", rgba=(0.62, 0.66, 0.68, 1.0), specular=0.2, shininess=0.3)
    for sign in (-1, 1):
        _box(
            spec,
            f"backstop{sign}",
            (sign * BACKSTOP, 0, 1.1),
            (0.03, SIDESTOP + 0.05, 1.1),
            material="windscreen",
        )
        _box(
            spec,
            f"backrail{sign}",
            (sign * BACKSTOP, 0, 2.22),
            (0.04, SIDESTOP + 0.05, 0.03),
            material="rail",
        )
        _box(spec, f"sidestop{sign}", (0, sign * SIDESTOP, 0.6), (BACKSTOP, 0.03, 0.6), material="windscreen")
        _box(spec, f"siderail{sign}", (0, sign * SIDESTOP, 1.22), (BACKSTOP, 0.04, 0.03), material="rail")
    spec.add_material(name="trees", rgba=(0.20, 0.36, 0.20, 1.0), specular=0.0, shininess=0.0)
    _mesh(spec, "trees", _trees(), "trees")
    # Large things last: hidden pixels are then not shaded twice.
    half = (court.HALF_LENGTH, court.DOUBLES_HALF_WIDTH, 0.05)
    _box(spec, "court", (0, 0, -0.05), half, material="court")
    _box(spec, "surround", (0, 0, -0.054), (90, 90, 0.05), material="surround")


def _trees(seed: int = 3) -> Mesh:
    """Rows of round crowns behind the fences, so that the court does not stand in a void."""
    rng = np.random.default_rng(seed)
    crowns = []
    rows = [(np.array([30.0, -44.0]), np.array([30.0, 44.0]), 58)]
    rows += [(np.array([-2.0, s * 21.0]), np.array([29.0, s * 27.0]), 26) for s in (-1.0, 1.0)]
    rows += [(np.array([-29.0, -30.0]), np.array([-29.0, 30.0]), 40)]
    for start, end, count in rows:
        for share in (np.arange(count) + 0.5) / count:
            x, y = start + share * (end - start) + rng.normal(scale=0.9, size=2)
            tall, wide = rng.uniform(1.6, 3.0), rng.uniform(0.8, 1.5)
            sections = [(0.0, x, y, 0.75 * wide, 0.75 * wide), (0.55 * tall, x, y, wide, wide)]
            sections.append((0.85 * tall, x, y, 0.7 * wide, 0.7 * wide))
            crowns.append(loft("z", sections, exponent=2.0, cap=0.5, rings=4, points=10))
    return merged(*crowns)


def _line_box(name: str, start: np.ndarray, end: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Centre and half size of a painted line; the court's measures are to the lines' outer edges."""
    low, high = np.minimum(start, end), np.maximum(start, end)
    centre, half = (low + high) / 2.0, (high - low) / 2.0
    across = int(np.argmin(half))
    half[across] = width / 2.0
    if "centre" not in name:
        centre[across] -= np.sign(centre[across]) * width / 2.0
    return centre, half


def _net_outline() -> np.ndarray:
    """The cord from post to post, (5, 2): y and height, [m]."""
    post, stick = court.NET_END, court.SINGLES_STICK
    high, low = court.NET_POST_HEIGHT, court.NET_CENTRE_HEIGHT
    return np.array([[-post, high], [-stick, high], [0.0, low], [stick, high], [post, high]])


def _add_net(spec: mujoco.MjSpec) -> None:
    outline = _net_outline()
    spec.add_material(name="band", rgba=(0.95, 0.95, 0.94, 1.0), specular=0.0, shininess=0.0, emission=0.25)
    spec.add_material(name="netting", rgba=(0.03, 0.035, 0.04, 0.34), specular=0.0, shininess=0.0)
    spec.add_material(name="twine", rgba=(0.04, 0.045, 0.05, 0.75), specular=0.0, shininess=0.0)
    spec.add_material(name="post", rgba=(0.06, 0.12, 0.11, 1.0), specular=0.4, shininess=0.5)
    _mesh(spec, "net_sheet", _sheet(outline, 0.02, -0.05, 0.001), "netting")
    _mesh(spec, "net_band", _sheet(outline, -0.065, 0.0, 0.012), "band")
    _mesh(spec, "net_twine", _twine(outline), "twine")
    _box(
        spec,
        "net_strap",
        (0, 0, court.NET_CENTRE_HEIGHT / 2),
        (0.014, 0.025, court.NET_CENTRE_HEIGHT / 2),
        material="band",
    )
    for name, y, radius in (("post", court.NET_END, 0.04), ("stick", court.SINGLES_STICK, 0.022)):
        for sign in (-1, 1):
            spec.worldbody.add_geom(
                name=f"net_{name}{sign}",
                type=mujoco.mjtGeom.mjGEOM_CYLINDER,
                fromto=[0, sign * y, 0, 0, sign * y, court.NET_POST_HEIGHT + 0.01],
                size=[radius, 0, 0],
                contype=0,
                conaffinity=0,
                group=1,
                material="post",
            )


def _mesh(spec: mujoco.MjSpec, name: str, mesh: Mesh, material: str, body=None) -> None:
    vertices, faces = mesh
    asset = spec.add_mesh(name=name, uservert=vertices.ravel(), userface=faces.ravel())
    asset.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    (body or spec.worldbody).add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=name,
        material=material,
        contype=0,
        conaffinity=0,
        group=1,
    )


def _sheet(outline: np.ndarray, bottom: float, top: float, half: float) -> Mesh:
    """A wall in x = 0 under the cord. ``bottom``: height if positive, else relative to the cord; ``top``:
    relative to the cord; ``half``: half thickness, [m]."""
    y, z = outline.T
    upper = z + top
    lower = np.full_like(z, bottom) if bottom > 0 else z + bottom
    corners = [(half, upper), (-half, upper), (-half, lower), (half, lower)]
    ring = np.stack([np.stack([np.full_like(y, x), y, height], -1) for x, height in corners], axis=1)
    vertices = ring.reshape(-1, 3)
    faces = []
    for i in range(len(y) - 1):
        for k in range(4):
            a, b = 4 * i + k, 4 * i + (k + 1) % 4
            faces += [(a, a + 4, b + 4), (a, b + 4, b)]
    last = 4 * (len(y) - 1)
    faces += [(0, 1, 2), (0, 2, 3), (last, last + 2, last + 1), (last, last + 3, last + 2)]
    return vertices, np.asarray(faces)[:, ::-1] if _inward(vertices, faces) else np.asarray(faces)


def _inward(vertices: np.ndarray, faces) -> bool:
    a, b, c = (vertices[np.asarray(faces)[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c))) < 0.0


def _twine(outline: np.ndarray, mesh: float = 0.09) -> Mesh:
    """A net of twine; real meshes are half as wide and would only flicker in a video."""
    y = np.arange(-court.NET_END + mesh, court.NET_END, mesh)
    top = np.interp(y, *outline.T) - 0.05
    uprights = (np.stack([0 * y, y, 0 * y + 0.02], -1), np.stack([0 * y, y, top], -1))
    starts, ends = [uprights[0]], [uprights[1]]
    for share in np.arange(mesh, court.NET_CENTRE_HEIGHT - 0.05, mesh) / court.NET_CENTRE_HEIGHT:
        rows = np.stack([0 * outline[:, 0], outline[:, 0], share * outline[:, 1]], -1)
        starts.append(rows[:-1])
        ends.append(rows[1:])
    return bars(np.concatenate(starts), np.concatenate(ends), 0.0016)


def _add_ball_and_target(spec: mujoco.MjSpec) -> None:
    spec.add_material(name="ball", rgba=BALL_RGBA, specular=0.05, shininess=0.05, emission=0.35)
    ball = spec.worldbody.add_body(name="ball", mocap=True, pos=AWAY)
    ball.add_geom(
        name="ball",
        type=mujoco.mjtGeom.mjGEOM_SPHERE,
        size=[BALL_RADIUS, 0, 0],
        material="ball",
        contype=0,
        conaffinity=0,
        group=1,
    )
    spec.add_material(name="target", rgba=(1.0, 0.80, 0.25, 1.0), specular=0.0, shininess=0.0, emission=0.6)
    target = spec.worldbody.add_body(name="target", mocap=True, pos=AWAY)
    _mesh(spec, "target", elliptic_ring(TARGET_RADIUS, TARGET_RADIUS, 0.055, 0.01), "target", target)
    target.add_geom(
        name="target_centre",
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        size=[0.12, 0.008, 0],
        material="target",
        contype=0,
        conaffinity=0,
        group=1,
    )


def _add_wall_and_machine(spec: mujoco.MjSpec) -> None:
    """Players without robots: a wall of glass with a rim, and a ball machine. Either stands at x > 0."""

    def solid(body, name: str, kind: mujoco.mjtGeom, pos, size, material: str) -> None:
        body.add_geom(
            name=name, type=kind, pos=pos, size=size, material=material, contype=0, conaffinity=0, group=1
        )

    box, cylinder = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER
    spec.add_material(name="glass", rgba=(0.80, 0.92, 1.0, 0.26), specular=0.3, shininess=0.6)
    spec.add_material(name="rim", rgba=(0.93, 0.95, 0.97, 1.0), specular=0.1, shininess=0.3, emission=0.15)
    wall, half, wide = (
        spec.worldbody.add_body(name="wall", mocap=True, pos=AWAY),
        WALL_HEIGHT / 2,
        WALL_HALF_WIDTH,
    )
    solid(wall, "wall", box, (WALL_HALF_THICKNESS, 0, half), (WALL_HALF_THICKNESS, wide, half), "glass")
    rim = WALL_HALF_THICKNESS + 0.01
    solid(wall, "wall_top", box, (WALL_HALF_THICKNESS, 0, WALL_HEIGHT), (rim, wide, rim), "rim")
    for sign in (-1, 1):
        solid(wall, f"wall_end{sign}", box, (WALL_HALF_THICKNESS, sign * wide, half), (rim, rim, half), "rim")
    spec.add_material(name="machine", rgba=(0.95, 0.55, 0.10, 1.0), specular=0.2, shininess=0.4)
    spec.add_material(name="machine_dark", rgba=(0.10, 0.11, 0.12, 1.0), specular=0.2, shininess=0.4)
    machine, edge = spec.worldbody.add_body(name="machine", mocap=True, pos=AWAY), MACHINE_HALF
    solid(machine, "machine", box, (edge, 0, 0), (edge, edge, edge), "machine")
    solid(machine, "machine_mouth", box, (-0.01, 0, 0), (0.02, 0.09, 0.09), "machine_dark")
    # Longer than balls are released high: the ground hides the rest.
    solid(machine, "machine_leg", cylinder, (edge, 0, -1.5), (0.07, 1.5, 0), "machine_dark")
