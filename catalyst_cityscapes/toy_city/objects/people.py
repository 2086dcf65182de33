"""Pedestrians, riders and what they ride."""

from collections.abc import Callable

import numpy as np

from catalyst_cityscapes.toy_city.camera import Camera, Stand
from catalyst_cityscapes.toy_city.light import Color, Light, pick, scaled, vary
from catalyst_cityscapes.toy_city.objects.vegetation import ground_shadow
from catalyst_cityscapes.toy_city.shapes import Actor, Piece, Shape, Texture, bar, box, oval, ring

CLOTHES: tuple[Color, ...] = (
    (44, 46, 54),
    (60, 70, 96),
    (120, 40, 44),
    (150, 146, 138),
    (206, 204, 198),
    (70, 84, 62),
    (126, 98, 72),
    (170, 60, 50),
    (90, 88, 92),
    (52, 96, 120),
    (196, 160, 70),
    (120, 118, 112),
)
SKINS: tuple[Color, ...] = ((214, 176, 150), (186, 142, 112), (140, 100, 76), (96, 68, 54))
HAIR: tuple[Color, ...] = ((42, 34, 30), (84, 62, 44), (150, 120, 80), (130, 128, 126))
RUBBER: Color = (28, 28, 30)
Part = Callable[[np.ndarray, Color], Shape]
FRAMES: tuple[Color, ...] = ((40, 40, 44), (150, 40, 40), (60, 90, 130), (180, 180, 178), (70, 100, 70))


class Figure:
    """The clothes and the size of one human, drawn on an upright plane."""

    def __init__(self, light: Light, rng: np.random.Generator, stand: Stand) -> None:
        self.light, self.rng, self.stand = light, rng, stand
        self.coat, self.legs = pick(rng, CLOTHES, 14), pick(rng, CLOTHES, 12)
        self.skin, self.hair = pick(rng, SKINS, 8), pick(rng, HAIR, 8)
        self.lit = 0.35 + 0.4 * light.sun_behind

    def part(self, points: np.ndarray, color: Color, texture: Texture = Texture.CLOTH) -> Shape:
        """A polygon in metres on the figure's plane."""
        return Shape(self.stand.place(points), self.light.tint(color, self.lit, self.stand.z), texture)

    def head(self, x: float, y: float, size: float) -> list[Shape]:
        """Head and hair around (x, y), `size` metres across."""
        face = oval(x, y, size * 0.46, size * 0.6, 10)
        # The first six corners of the oval are its upper half.
        cap = oval(x, y + size * 0.14, size * 0.52, size * 0.46, 10)[:6]
        # Without a neck the head would be an island, and an outline has room for one island only.
        neck = box(x - size * 0.25, y - size * 1.1, x + size * 0.25, y)
        return [self.part(neck, self.skin), self.part(face, self.skin), self.part(cap, self.hair)]


def pedestrian(
    camera: Camera, light: Light, rng: np.random.Generator, x: float, z: float, label: str = "person"
) -> Actor:
    """Somebody who walks or stands, grown-up or child, at times with a bag (dynamic)."""
    figure = Figure(light, rng, camera.stand(x, z))
    tall = rng.uniform(1.55, 1.9) if rng.random() < 0.88 else rng.uniform(1.0, 1.4)
    shoulder, hip, stride = tall * 0.135, tall * 0.10, tall * rng.uniform(0.0, 0.16)
    dress = rng.random()
    lean = rng.uniform(-0.04, 0.04) * tall
    leg = tall * 0.085
    shapes = [
        figure.part(bar(-hip * 0.4, tall * 0.5, -stride - hip * 0.35, 0.02, leg), scaled(figure.legs, 0.85)),
        figure.part(bar(hip * 0.4, tall * 0.5, stride + hip * 0.35, 0.0, leg), figure.legs),
    ]
    hem = tall * (0.28 if dress < 0.25 else 0.45)
    flare = hip * (1.5 if dress < 0.25 else 1.0)
    torso = np.array(
        [
            (-flare, hem),
            (-shoulder + lean, tall * 0.8),
            (-shoulder * 0.4 + lean, tall * 0.85),
            (shoulder * 0.4 + lean, tall * 0.85),
            (shoulder + lean, tall * 0.8),
            (flare, hem),
        ]
    )
    swing = stride * 0.6
    arm = tall * 0.06
    shapes.append(
        figure.part(
            bar(shoulder + lean, tall * 0.79, shoulder * 1.15 - swing, tall * 0.45, arm), scaled(figure.coat, 0.8)
        )
    )
    shapes.append(figure.part(torso, figure.coat))
    shapes.append(
        figure.part(
            bar(-shoulder + lean, tall * 0.79, -shoulder * 1.15 + swing, tall * 0.45, arm), scaled(figure.coat, 0.9)
        )
    )
    shapes += figure.head(lean * 1.3, tall * 0.925, tall * 0.135)
    pieces = [
        Piece(None, [ground_shadow(camera, light, x, z, 0.34, 0.3, 1.3)]),
        Piece(label, shapes),
    ]
    if rng.random() < 0.2:
        bag = figure.part(
            box(shoulder * 0.9, tall * 0.25, shoulder * 0.9 + 0.28, tall * 0.46), vary(rng, (90, 74, 60), 24)
        )
        pieces.append(Piece("dynamic", [bag]))
    return Actor(z, pieces)


def cyclist(
    camera: Camera, light: Light, rng: np.random.Generator, x: float, z: float, ride: str, sideways: bool, heading: int
) -> Actor:
    """A rider on a `ride` (bicycle or motorcycle), seen from the side or along the street.

    `heading` is +1 when the rider faces right (sideways) or away, -1 when left or towards us.
    """
    stand = camera.stand(x, z)
    pieces = [Piece(None, [ground_shadow(camera, light, x, z, 0.9 if sideways else 0.4, 0.5, 1.3)])]
    pieces.append(two_wheeler(light, rng, stand, ride, sideways, heading))
    figure = Figure(light, rng, stand)
    seat = 0.95 if ride == "bicycle" else 0.82
    if sideways:
        hip, shoulder = -0.22 * heading, 0.12 * heading
        shapes = [
            figure.part(bar(hip, seat, 0.12 * heading, seat - 0.38, 0.17), figure.legs),
            figure.part(bar(0.12 * heading, seat - 0.38, -0.02 * heading, 0.22, 0.13), figure.legs),
            figure.part(bar(hip, seat - 0.05, shoulder, seat + 0.55, 0.34), figure.coat),
            figure.part(bar(shoulder, seat + 0.5, 0.48 * heading, seat + 0.12, 0.11), scaled(figure.coat, 0.85)),
            *figure.head(shoulder + 0.1 * heading, seat + 0.74, 0.23),
        ]
    else:
        shapes = [
            figure.part(bar(-0.14, seat, -0.18, 0.25, 0.14), figure.legs),
            figure.part(bar(0.14, seat, 0.18, 0.38, 0.14), scaled(figure.legs, 0.85)),
            figure.part(
                np.array([(-0.19, seat - 0.1), (-0.25, seat + 0.48), (0.25, seat + 0.48), (0.19, seat - 0.1)]),
                figure.coat,
            ),
            figure.part(bar(-0.25, seat + 0.44, -0.33, seat + 0.08, 0.11), figure.coat),
            figure.part(bar(0.25, seat + 0.44, 0.33, seat + 0.08, 0.11), figure.coat),
            *figure.head(0.0, seat + 0.64, 0.23),
        ]
    if ride == "motorcycle" or rng.random() < 0.3:
        at = (0.12 + 0.1) * heading if sideways else 0.0
        helmet = oval(at, seat + (0.76 if sideways else 0.68), 0.15, 0.16, 12)
        shapes.append(figure.part(helmet, pick(rng, CLOTHES, 20), Texture.METAL))
    pieces.append(Piece("rider", shapes))
    return Actor(z, pieces)


def parked(camera: Camera, light: Light, rng: np.random.Generator, x: float, z: float, ride: str, count: int) -> Actor:
    """Bicycles or motorcycles at the roadside; three and more are outlined as a group."""
    pieces = []
    for k in range(count):
        stand = camera.stand(x + (k - (count - 1) / 2) * 0.55, z + 0.01 * k)
        pieces.append(two_wheeler(light, rng, stand, ride, bool(rng.random() < 0.6), int(rng.choice([-1, 1]))))
    if count >= 3:
        shapes = [shape for piece in pieces for shape in piece.shapes]
        cover = [polygon for piece in pieces for polygon in piece.cover or []]
        pieces = [Piece(f"{ride}group", shapes, cover)]
    return Actor(z, [Piece(None, [ground_shadow(camera, light, x, z, 0.6 + 0.3 * count, 0.4)]), *pieces])


def two_wheeler(light: Light, rng: np.random.Generator, stand: Stand, ride: str, sideways: bool, heading: int) -> Piece:
    """A bicycle or a motorcycle on an upright plane; the wheels are annotated as full discs."""

    def part(points: np.ndarray, color: Color) -> Shape:
        return Shape(stand.place(points), light.tint(color, 0.5, stand.z), Texture.METAL)

    paint = pick(rng, FRAMES, 14)
    if ride == "motorcycle":
        return _motorcycle(part, paint, sideways, heading)
    return _bicycle_from_the_side(stand, part, paint, heading) if sideways else _bicycle(part, paint, heading)


def _bicycle_from_the_side(stand: Stand, part: Part, paint: Color, heading: int) -> Piece:
    a, b = -0.52 * heading, 0.52 * heading
    shapes = [part(ring(at, 0.34, 0.34, 0.34, 0.055), RUBBER) for at in (a, b)]
    rods = [
        (a, 0.34, -0.16 * heading, 0.85),
        (a, 0.34, -0.02 * heading, 0.3),
        (-0.02 * heading, 0.3, 0.36 * heading, 0.82),
        (-0.2 * heading, 0.78, 0.36 * heading, 0.82),
        (b, 0.34, 0.34 * heading, 0.98),
        (-0.16 * heading, 0.8, -0.02 * heading, 0.3),
    ]
    frame = [bar(*rod, 0.055) for rod in rods]
    shapes += [part(rod, paint) for rod in frame]
    shapes.append(part(bar(-0.32 * heading, 0.92, -0.06 * heading, 0.92, 0.07), RUBBER))
    shapes.append(part(bar(0.26 * heading, 1.0, 0.46 * heading, 1.02, 0.06), RUBBER))
    cover = [oval(at, 0.34, 0.34, 0.34, 14) for at in (a, b)] + frame
    cover.append(np.array([(-0.3 * heading, 0.92), (a * 0.4, 0.34), (b * 0.5, 0.34), (0.4 * heading, 1.0)]))
    return Piece("bicycle", shapes, [stand.place(points) for points in cover])


def _bicycle(part: Part, paint: Color, heading: int) -> Piece:
    """A bicycle seen along the street."""
    shapes = [part(box(-0.045, 0, 0.045, 0.68), RUBBER), part(box(-0.04, 0.5, 0.04, 0.95), paint)]
    shapes += [part(bar(-0.28, 0.98, 0.28, 0.98, 0.07), RUBBER), part(box(-0.1, 0.25, 0.1, 0.33), paint)]
    shapes.append(part(box(-0.06, 0.62, 0.06, 0.74), (190, 40, 36) if heading > 0 else (236, 232, 214)))
    return Piece("bicycle", shapes, [shape.points for shape in shapes])


def _motorcycle(part: Part, paint: Color, sideways: bool, heading: int) -> Piece:
    if sideways:
        a, b = -0.68 * heading, 0.68 * heading
        shapes = [part(oval(at, 0.31, 0.31, 0.31, 14), RUBBER) for at in (a, b)]
        shapes += [part(oval(at, 0.31, 0.16, 0.16, 12), (128, 128, 130)) for at in (a, b)]
        belly = np.array(
            [
                (a * 0.8, 0.4),
                (a, 0.72),
                (a * 0.2, 0.8),
                (b * 0.2, 0.98),
                (b * 0.62, 0.86),
                (b * 0.5, 0.28),
                (a * 0.4, 0.24),
            ]
        )
        shapes += [part(belly, paint), part(bar(b, 0.31, b * 0.6, 1.02, 0.1), (120, 120, 122))]
        shapes.append(part(bar(a, 0.78, a * 0.05, 0.8, 0.12), RUBBER))
        shapes.append(part(oval(b * 0.74, 0.86, 0.1, 0.1, 10), (232, 228, 210)))
    else:
        shapes = [part(box(-0.09, 0, 0.09, 0.62), RUBBER), part(oval(0, 0.66, 0.24, 0.26, 12), paint)]
        shapes.append(part(box(-0.06, 0.6, 0.06, 1.0), RUBBER))
        shapes += [part(bar(-0.38, 1.0, 0.38, 1.0, 0.08), RUBBER), part(box(-0.2, 0.4, 0.2, 0.62), scaled(paint, 0.7))]
        shapes.append(part(oval(0, 0.78, 0.1, 0.09, 10), (190, 40, 36) if heading > 0 else (250, 246, 226)))
    return Piece("motorcycle", shapes, [shape.points for shape in shapes])
