"""What lines the street behind the sidewalks: houses, walls, fences, hedges, parks."""

import numpy as np

from catalyst_cityscapes.toy_city.camera import Camera
from catalyst_cityscapes.toy_city.light import Color, Light, mixed, pick, scaled
from catalyst_cityscapes.toy_city.objects.buildings import FACADES, House
from catalyst_cityscapes.toy_city.objects.vegetation import bush, hedge, tree
from catalyst_cityscapes.toy_city.shapes import Actor, Piece, Shape, Texture
from catalyst_cityscapes.toy_city.street import FAR_M, Street

# setting: chances of house, wall, fence, hedge, park
CHANCES: dict[str, tuple[float, ...]] = {
    "urban": (0.84, 0.04, 0.04, 0.02, 0.06),
    "residential": (0.50, 0.10, 0.16, 0.16, 0.08),
    "green": (0.28, 0.08, 0.12, 0.12, 0.40),
}
KINDS = ("house", "wall", "fence", "hedge", "park")
STONES: tuple[Color, ...] = (*FACADES, (110, 108, 104), (140, 124, 104), (92, 98, 84))
FENCES: tuple[Color, ...] = ((62, 66, 64), (120, 92, 66), (170, 170, 168), (58, 84, 62), (96, 100, 104))


def frontage_actors(camera: Camera, light: Light, street: Street, rng: np.random.Generator) -> list[Actor]:
    """Both sides from near to far; crossroads stay open, and the scene's feature gets a place in view."""
    actors: list[Actor] = []
    feature_side = int(rng.choice([-1, 1]))
    for side in (-1, 1):
        low_m, high_m = {"urban": (9, 22), "residential": (4.5, 9), "green": (5, 16)}[street.setting]
        forced = street.feature if side == feature_side and street.feature in ("wall", "fence") else None
        z = 2.5
        while z < FAR_M:
            if street.in_crossing(z, 1.0) and street.crossing is not None:
                z = street.crossing[1] + rng.uniform(0.5, 2.0)
            end = z + rng.uniform(9, 22)
            if street.crossing is not None and z < street.crossing[0] < end:
                end = street.crossing[0] - 0.5
            if end - z < 3.0:
                z = end + 1.6
                continue
            kind = str(rng.choice(KINDS, p=CHANCES[street.setting]))
            if forced is not None and end > 9.0:
                kind, forced = forced, None
            x = street.frontage(side)
            if kind == "house":
                setback = rng.uniform(0, 0.8) if street.setting == "urban" else rng.uniform(0.5, 6.0)
                actors.append(House(camera, light, rng, x + side * setback, z, end, rng.uniform(low_m, high_m)).actor())
            else:
                actors += _low_frontage(camera, light, rng, kind, x, z, end)
            z = end + (0.0 if street.setting == "urban" and rng.random() < 0.8 else rng.uniform(0.5, 6.0))
    return actors


def _low_frontage(
    camera: Camera, light: Light, rng: np.random.Generator, kind: str, x: float, z0: float, z1: float
) -> list[Actor]:
    side = 1 if x > 0 else -1
    actors: list[Actor] = []
    if kind == "wall":
        actors.append(_wall(camera, light, rng, x, z0, z1, rng.uniform(1.3, 3.2)))
    elif kind == "fence":
        actors.append(_fence(camera, light, rng, x, z0, z1, rng.uniform(1.1, 2.2)))
    elif kind == "hedge":
        actors.append(hedge(camera, light, rng, x, z0, z1, rng.uniform(1.0, 2.6)))
    behind = x + side * rng.uniform(2.5, 5.0)
    for z in np.arange(z0 + 1.5, z1, rng.uniform(3.0, 6.0)):
        if kind == "park" or rng.random() < 0.55:
            plant = tree(camera, light, rng, behind + rng.uniform(-1, 1.5), max(z, 7.0), rng.uniform(5, 12))
        else:
            plant = bush(camera, light, rng, behind, max(z, 6.0), rng.uniform(1.2, 3.0), rng.uniform(2, 4))
        # Whatever stands behind a fence is painted before it, however near.
        actors.append(Actor(z1 + 0.01 + 0.001 * z, plant.pieces))
    if kind != "park" and rng.random() < 0.6:
        house = House(camera, light, rng, x + side * rng.uniform(7, 11), z0, z1, rng.uniform(5, 9)).actor()
        actors.append(Actor(z1 + 0.5, house.pieces))
    return actors


def _upright(camera: Camera, x: float, y0: float, y1: float, z0: float, z1: float) -> np.ndarray:
    steps = np.linspace(z0, z1, 4)
    return camera.project([*((x, y0, z) for z in steps), *((x, y1, z) for z in steps[::-1])])


def _wall(camera: Camera, light: Light, rng: np.random.Generator, x: float, z0: float, z1: float, tall: float) -> Actor:
    """A free-standing wall with a coping, at times sprayed on."""
    side = 1 if x > 0 else -1
    color = pick(rng, STONES, 16)
    middle, lit = (z0 + z1) / 2, light.wall_light(-side)
    texture = Texture.BRICK if rng.random() < 0.6 else Texture.PLASTER
    end = camera.project([(x, 0, z0), (x, tall, z0), (x + side * 0.4, tall, z0), (x + side * 0.4, 0, z0)])
    shapes = [
        Shape(end, light.tint(scaled(color, 0.9), light.sun_behind, z0), texture),
        Shape(_upright(camera, x, 0, tall, z0, z1), light.tint(color, lit, middle), texture),
    ]
    details = [
        Shape(_upright(camera, x, 0, tall * 0.25, z0, z1), (24, 26, 32), alpha=0.18),
        Shape(_upright(camera, x, tall - 0.15, tall, z0, z1), light.tint(scaled(color, 1.2), lit, middle)),
    ]
    for z in np.arange(z0, z1 - 0.4, 3.5):
        details.append(
            Shape(_upright(camera, x, 0, tall, z, z + 0.3), light.tint(scaled(color, 0.82), lit, z), alpha=0.7)
        )
    if rng.random() < 0.4:
        for _ in range(5):
            z, y = rng.uniform(z0, z1 - 1.2), rng.uniform(0.3, tall * 0.7)
            spray = light.tint(tuple(rng.uniform(40, 230, 3)), lit, z)
            details.append(Shape(_upright(camera, x, y, y + 0.4, z, z + rng.uniform(0.5, 1.2)), spray, alpha=0.75))
    return Actor(z1, [Piece("wall", shapes + details, [shape.points for shape in shapes])])


def _fence(
    camera: Camera, light: Light, rng: np.random.Generator, x: float, z0: float, z1: float, tall: float
) -> Actor:
    """Bars, mesh or planks; annotated as a whole although one sees through it."""
    side = 1 if x > 0 else -1
    style = str(rng.choice(["bars", "mesh", "planks"], p=[0.45, 0.2, 0.35]))
    color = pick(rng, FENCES, 16)
    middle, lit = (z0 + z1) / 2, light.wall_light(-side)
    panel = _upright(camera, x, 0, tall, z0, z1)
    shapes = [Shape(_upright(camera, x, 0, 0.25, z0, z1), light.tint(mixed(color, (120, 118, 112), 0.6), lit, middle))]
    if style == "mesh":
        shapes.append(Shape(panel, light.tint(color, lit, middle), alpha=0.45))
    elif style == "planks":
        shapes.append(Shape(panel, light.tint(color, lit, middle), Texture.BRICK))
    step, wide = {"bars": (0.35, 0.12), "mesh": (2.2, 0.1), "planks": (0.5, 0.08)}[style]
    post = light.tint(scaled(color, 0.72 if style == "planks" else 1.0), lit, middle)
    z = z0
    while z < z1 - wide:
        shapes.append(Shape(_upright(camera, x, 0, tall, z, z + wide), post))
        # Bars closer than about two pixels melt into a veil; a wider step draws the same veil with less work.
        z += max(step, 1.8 * z * z / (camera.focal * abs(x)))
    for y in (0.35 * tall, tall - 0.08):
        shapes.append(Shape(_upright(camera, x, y, y + 0.08, z0, z1), post))
    return Actor(z1, [Piece("fence", shapes, [panel])])
