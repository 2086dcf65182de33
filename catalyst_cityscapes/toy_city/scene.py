"""One scene: plan, paint, annotate."""

from dataclasses import dataclass

import numpy as np

from catalyst_cityscapes.toy_city.annotation import Annotated
from catalyst_cityscapes.toy_city.camera import Camera
from catalyst_cityscapes.toy_city.canvas import Canvas
from catalyst_cityscapes.toy_city.light import Light, scaled
from catalyst_cityscapes.toy_city.objects.buildings import skyline
from catalyst_cityscapes.toy_city.objects.frontage import frontage_actors
from catalyst_cityscapes.toy_city.objects.ground import ground_pieces
from catalyst_cityscapes.toy_city.objects.traffic import Casting
from catalyst_cityscapes.toy_city.shapes import Actor, Piece, Shape, Texture, trace
from catalyst_cityscapes.toy_city.street import Street


@dataclass(frozen=True)
class Scene:
    """What one scene comes to.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        objects: the annotated outlines in painting order.
    """

    image: np.ndarray
    objects: list[Annotated]


def render_scene(entropy: tuple[int, ...], index: int, height: int, width: int) -> Scene:
    """Plans and paints the scene of that number.

    Args:
        entropy: what the random streams grow from; equal entropy, index and size give equal scenes.
        index: number of the scene within its split; it decides which rare class the scene must hold.
        height, width: of the picture in pixels.
    """
    plan_seed, sky_seed = np.random.SeedSequence(entropy).spawn(2)
    rng = np.random.default_rng(plan_seed)
    camera, light, street = Camera.draw(rng, height, width), Light.draw(rng), Street.draw(rng, index)
    canvas = Canvas(camera, light, np.random.default_rng(sky_seed))
    objects = [Annotated("sky", _rectangle(0, 0, width - 1, int(np.clip(camera.horizon, 0, height - 1))))]

    ground = ground_pieces(camera, light, street, rng)
    _show(canvas, objects, ground)
    canvas.settle_ground()
    green = {"urban": 0.15, "residential": 0.4, "green": 0.8}[street.setting]
    actors = skyline(camera, light, rng, green)
    actors += frontage_actors(camera, light, street, rng)
    actors += Casting(camera, light, street, rng).fill()
    for actor in sorted(actors, key=_depth, reverse=True):
        _show(canvas, objects, actor.pieces)
    _show(canvas, objects, [_bonnet(camera, light, rng)])
    image = canvas.develop()
    objects += _frame(image)
    return Scene(image, objects)


def hidden_annotation(objects: list[Annotated]) -> list[Annotated]:
    """What the test split publishes: only the regions that are never scored."""
    return [thing for thing in objects if thing.name in ("ego vehicle", "rectification border", "out of roi")]


def _depth(actor: Actor) -> float:
    return actor.z


def _show(canvas: Canvas, objects: list[Annotated], pieces: list[Piece]) -> None:
    """Paints pieces and outlines those that have a name; what is too small to outline stays unpainted too."""
    height, width = canvas.surface.shape
    for piece in pieces:
        if not piece.shapes:
            continue
        if piece.label is not None:
            solid = [shape.points for shape in piece.shapes if shape.alpha == 1.0]
            outline = trace(piece.cover if piece.cover is not None else solid, height, width)
            if outline is None:
                continue
            objects.append(Annotated(piece.label, outline))
        canvas.paint(piece.shapes)


def _bonnet(camera: Camera, light: Light, rng: np.random.Generator) -> Piece:
    """The bonnet of our own car along the bottom, with the sky in its paint."""
    width, height = camera.width, camera.height
    crest = height * rng.uniform(0.895, 0.94)
    across = np.linspace(-0.04, 1.04, 25)
    rise = np.abs(across * 2 - 1) ** 2.4

    def arc(drop: float) -> np.ndarray:
        y = crest + drop * height + rise * (height * 1.02 - crest) * 0.75
        return np.concatenate(
            [np.stack([across * width, y], axis=1), [(1.04 * width, 1.2 * height), (-0.04 * width, 1.2 * height)]]
        )

    paint = (rng.uniform(22, 60),) * 3
    shapes = [
        Shape(arc(0.0), light.tint(paint, 0.3, 0), Texture.METAL),
        Shape(arc(0.012), light.tint(scaled(light.sky_low, 0.42), 0.8, 0), Texture.METAL, 0.6),
        Shape(arc(0.045), light.tint(paint, 0.5, 0), Texture.METAL, 0.7),
    ]
    return Piece("ego vehicle", shapes, [shapes[0].points])


def _rectangle(x0: int, y0: int, x1: int, y1: int) -> list[tuple[int, int]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _frame(image: np.ndarray) -> list[Annotated]:
    """The rim that rectifying leaves: `out of roi` all around, and a dark rectification border on the left."""
    height, width = image.shape[:2]
    rim = max(1, round(height * 5 / 1024))
    image[:, :rim] //= 4
    sides = [
        ("out of roi", (0, 0, width - 1, rim - 1)),
        ("out of roi", (0, height - rim, width - 1, height - 1)),
        ("out of roi", (width - rim, 0, width - 1, height - 1)),
        ("rectification border", (0, 0, rim - 1, height - 1)),
    ]
    return [Annotated(name, _rectangle(*corners)) for name, corners in sides]
