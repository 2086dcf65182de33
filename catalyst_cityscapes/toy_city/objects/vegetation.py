"""Trees, bushes and hedges."""

import numpy as np

from catalyst_cityscapes.toy_city.camera import Camera, Stand
from catalyst_cityscapes.toy_city.light import Color, Light, pick, scaled
from catalyst_cityscapes.toy_city.shapes import Actor, Piece, Shape, Texture, bar, blob, oval, unit_circle

# Summer, autumn and bare: the last ones overlap with brick and soil.
FOLIAGE: tuple[Color, ...] = (
    (78, 104, 52),
    (60, 88, 56),
    (98, 116, 62),
    (112, 112, 58),
    (138, 108, 54),
    (122, 84, 58),
    (92, 96, 76),
)
BARK: Color = (82, 70, 60)
CLUMPS = 11


def foliage(
    light: Light,
    rng: np.random.Generator,
    stand: Stand,
    outline: np.ndarray,
    middle: tuple[float, float],
    radius: tuple[float, float],
    color: Color,
) -> list[Shape]:
    """Leaves within an outline (metres): the mass, then clumps lighter towards the sun and darker below."""
    shapes = [Shape(stand.place(outline), light.tint(color, 0.45, stand.z), Texture.LEAVES)]
    turns, reaches = rng.uniform(0, 2 * np.pi, CLUMPS), rng.uniform(0.1, 0.62, CLUMPS)
    ragged = rng.uniform(0.22, 0.5, (CLUMPS, 12, 1))
    if radius[1] * stand.scale < 5:
        # Clumps of a pixel or two are left to the texture.
        return shapes
    at = np.stack([reaches * np.cos(turns), reaches * np.sin(turns)], axis=1)
    clumps = stand.place((at[:, None] + ragged * unit_circle(12)) * radius + middle)
    for (dx, dy), clump in zip(at.tolist(), clumps, strict=True):
        lit = 0.45 + 0.3 * dy + 0.22 * dx * light.sun_side
        shapes.append(Shape(clump, light.tint(color, lit, stand.z), Texture.LEAVES))
    return shapes


def tree(camera: Camera, light: Light, rng: np.random.Generator, x: float, z: float, tall: float) -> Actor:
    """A tree `tall` metres high; trunk and crown are one vegetation outline."""
    stand = camera.stand(x, z)
    color = pick(rng, FOLIAGE)
    is_slim = rng.random() < 0.2
    trunk_m = tall * rng.uniform(0.22, 0.38)
    ry = (tall - trunk_m) / 2
    rx = ry * (0.45 if is_slim else rng.uniform(0.75, 1.15))
    lean = rng.uniform(-0.3, 0.3)
    thick = tall * 0.035
    trunk = [
        bar(0, 0, lean, trunk_m + ry * 0.6, thick),
        bar(lean * 0.6, trunk_m * 0.9, lean + rx * 0.4, trunk_m + ry * 0.6, thick * 0.5),
        bar(lean * 0.6, trunk_m * 0.9, lean - rx * 0.4, trunk_m + ry * 0.6, thick * 0.5),
    ]
    crown = blob(rng, lean, trunk_m + ry, rx, ry, 0.32)
    bark = light.tint(BARK, 0.5, z)
    trunk_shapes = [Shape(stand.place(part), bark, Texture.BRICK) for part in trunk]
    leaves = foliage(light, rng, stand, crown, (lean, trunk_m + ry), (rx, ry), color)
    cover = [shape.points for shape in (*trunk_shapes, leaves[0])]
    return Actor(
        z,
        [
            Piece(None, [ground_shadow(camera, light, x, z, rx * 0.9, rx * 0.9)]),
            Piece("vegetation", trunk_shapes + leaves, cover),
        ],
    )


def bush(camera: Camera, light: Light, rng: np.random.Generator, x: float, z: float, tall: float, wide: float) -> Actor:
    """A bush that reaches the ground."""
    stand = camera.stand(x, z)
    outline = blob(rng, 0.0, tall * 0.45, wide / 2, tall * 0.55, 0.3)
    outline[:, 1] = np.maximum(outline[:, 1], 0.0)
    leaves = foliage(light, rng, stand, outline, (0.0, tall * 0.45), (wide / 2, tall * 0.5), pick(rng, FOLIAGE))
    return Actor(z, [Piece("vegetation", leaves, [leaves[0].points])])


def hedge(camera: Camera, light: Light, rng: np.random.Generator, x: float, z0: float, z1: float, tall: float) -> Actor:
    """A clipped hedge along the street at x."""
    color = pick(rng, FOLIAGE)
    steps = np.linspace(z0, z1, 10)
    top = [(x, tall * rng.uniform(0.92, 1.06), z) for z in steps]
    front = camera.project([(x, 0, z0), *top, (x, 0, z1)])
    side = 1.0 if x > 0 else -1.0
    end = camera.project([(x, 0, z0), (x, tall, z0), (x + side * 1.2, tall, z0), (x + side * 1.2, 0, z0)])
    lit = light.wall_light(-side)
    shapes = [
        Shape(end, light.tint(scaled(color, 0.9), light.sun_behind, z0), Texture.LEAVES),
        Shape(front, light.tint(color, lit, (z0 + z1) / 2), Texture.LEAVES),
    ]
    return Actor(z1, [Piece("vegetation", shapes)])


def ground_shadow(
    camera: Camera, light: Light, x: float, z: float, rx: float, rz: float, strength: float = 1.0
) -> Shape:
    """A soft oval on the ground under a thing at (x, z), thrown a little away from the sun."""
    disc = np.zeros((14, 3))
    disc[:, ::2] = oval(x - light.sun_side * rx * 0.6, z, rx, rz, 14)
    return Shape(camera.project(disc), (24, 26, 34), alpha=min(light.shadow * strength, 0.9))
