"""Lamp posts, signals, signs, and the small things by the kerb."""

import cv2
import numpy as np

from catalyst_cityscapes.toy_city.camera import Camera, Stand
from catalyst_cityscapes.toy_city.light import Color, Light, pick, scaled, vary
from catalyst_cityscapes.toy_city.objects.vegetation import ground_shadow
from catalyst_cityscapes.toy_city.shapes import Actor, Piece, Shape, Texture, bar, box, oval

METALS: tuple[Color, ...] = ((112, 114, 116), (66, 70, 70), (146, 146, 142), (60, 80, 68), (96, 84, 72))
LENSES: tuple[Color, ...] = ((236, 60, 48), (244, 176, 50), (70, 220, 130))
SIGN_FACES = ("prohibition", "warning", "mandatory", "stop", "priority", "guide", "back")


class Post:
    """Shapes on an upright plane, lit like things that face the camera."""

    def __init__(self, light: Light, stand: Stand) -> None:
        self.light, self.stand = light, stand

    def part(
        self, points: np.ndarray, color: Color, texture: Texture = Texture.METAL, lit: float | None = None
    ) -> Shape:
        """A polygon in metres."""
        share = 0.3 + 0.5 * self.light.sun_behind if lit is None else lit
        return Shape(self.stand.place(points), self.light.tint(color, share, self.stand.z), texture)


def lamp_post(camera: Camera, light: Light, rng: np.random.Generator, x: float, z: float) -> Actor:
    """A street lamp whose arm reaches over the road."""
    post = Post(light, camera.stand(x, z))
    tall, metal = rng.uniform(5.0, 8.5), pick(rng, METALS)
    inward = (-1 if x > 0 else 1) * rng.uniform(0.6, 2.0)
    pole = [
        post.part(box(-0.09, 0, 0.09, tall), metal),
        post.part(bar(0, tall - 0.05, inward, tall + 0.25, 0.1), metal),
        post.part(box(-0.13, 0, 0.13, 0.9), scaled(metal, 0.85)),
    ]
    lamp = post.part(bar(inward * 0.8, tall + 0.2, inward * 1.3, tall + 0.3, 0.2), (206, 204, 192))
    shadow = ground_shadow(camera, light, x, z, 0.3, 0.3)
    return Actor(z, [Piece(None, [shadow]), Piece("pole", pole), Piece("static", [lamp])])


def traffic_light(
    camera: Camera, light: Light, rng: np.random.Generator, x: float, z: float, state: int, gantry: bool
) -> Actor:
    """A signal on its post, `state` 0 red, 1 amber, 2 green; a gantry hangs a second one over the road."""
    post = Post(light, camera.stand(x, z))
    metal = pick(rng, METALS)
    tall = 5.4 if gantry else rng.uniform(2.6, 3.3)
    inward = -1 if x > 0 else 1
    pole = [post.part(box(-0.08, 0, 0.08, tall), metal)]
    heads = [(0.0, 2.35)]
    if gantry:
        reach = inward * rng.uniform(2.2, 3.6)
        pole.append(post.part(bar(0, tall - 0.1, reach, tall, 0.13), metal))
        heads.append((reach, tall - 0.9))
    pieces = [Piece("pole", pole)]
    case = vary(rng, (40, 42, 42), 10)
    for at, y in heads:
        shapes = [post.part(box(at - 0.18, y, at + 0.18, y + 0.98), case)]
        for k in range(3):
            lens = oval(at, y + 0.8 - 0.31 * k, 0.115, 0.115, 10)
            burns = k == state
            color = LENSES[k] if burns else scaled(LENSES[k], 0.25)
            # A burning lens shines through haze and dusk alike.
            shapes.append(Shape(post.stand.place(lens), color) if burns else post.part(lens, color))
        pieces.append(Piece("traffic light", shapes))
    return Actor(z, [Piece(None, [ground_shadow(camera, light, x, z, 0.25, 0.25)]), *pieces])


def sign_post(camera: Camera, light: Light, rng: np.random.Generator, x: float, z: float) -> Actor:
    """A post with one or two traffic signs."""
    post = Post(light, camera.stand(x, z))
    tall = rng.uniform(2.6, 3.3)
    pieces = [Piece("pole", [post.part(box(-0.05, 0, 0.05, tall), pick(rng, METALS))])]
    y = tall - 0.25
    for _ in range(1 + int(rng.random() < 0.3)):
        size = rng.uniform(0.30, 0.42)
        pieces.append(Piece("traffic sign", _sign(post, rng, y, size)))
        y -= 2 * size + 0.1
    return Actor(z, [Piece(None, [ground_shadow(camera, light, x, z, 0.22, 0.22)]), *pieces])


def _sign(post: Post, rng: np.random.Generator, y: float, size: float) -> list[Shape]:
    """One sign face around height y, `size` its half width in metres."""
    face = str(rng.choice(SIGN_FACES, p=[0.22, 0.16, 0.18, 0.08, 0.12, 0.14, 0.10]))
    red, white, blue = vary(rng, (186, 40, 42), 10), vary(rng, (226, 226, 220), 8), vary(rng, (40, 78, 156), 10)
    ink: Color = (40, 40, 44)
    if face == "prohibition":
        layers = [(oval(0, y, size, size, 16), red), (oval(0, y, size * 0.74, size * 0.74, 16), white)]
        layers.append((box(-size * 0.4, y - size * 0.14, size * 0.4, y + size * 0.14), ink))
    elif face == "warning":
        layers = [
            (np.array([(-s, y - s * 0.8), (0, y + s), (s, y - s * 0.8)]), c)
            for s, c in ((size, red), (size * 0.62, white))
        ]
        layers.append((box(-size * 0.08, y - size * 0.35, size * 0.08, y + size * 0.2), ink))
    elif face == "mandatory":
        layers = [
            (oval(0, y, size, size, 16), blue),
            (bar(-size * 0.4, y - size * 0.3, size * 0.4, y + size * 0.3, size * 0.25), white),
        ]
    elif face == "stop":
        layers = [
            (oval(0, y, size, size, 8), red),
            (box(-size * 0.7, y - size * 0.16, size * 0.7, y + size * 0.16), white),
        ]
    elif face == "priority":
        layers = [(oval(0, y, s, s, 4), c) for s, c in ((size, white), (size * 0.72, vary(rng, (228, 186, 50), 8)))]
    elif face == "guide":
        panel = pick(rng, ((40, 78, 156), (222, 190, 60), (226, 226, 220)), 10)
        mark = white if sum(panel) < 420 else ink
        layers = [(box(-size * 1.5, y - size * 0.8, size * 1.5, y + size * 0.8), panel)]
        layers += [(box(-size * 1.2, y + d * size, size * 0.9, y + (d + 0.22) * size), mark) for d in (-0.4, 0.2)]
    else:
        layers = [(oval(0, y, size, size, int(rng.choice([4, 14]))), (142, 144, 146))]
    return [post.part(points, color, Texture.SMOOTH) for points, color in layers]


def bollards(camera: Camera, light: Light, rng: np.random.Generator, x: float, z: float) -> Actor:
    """A tight row of posts along the kerb, outlined together as a polegroup."""
    metal = pick(rng, METALS)
    shapes = []
    for k in range(5, -1, -1):
        post = Post(light, camera.stand(x, z + 0.9 * k))
        shapes.append(post.part(box(-0.07, 0, 0.07, 0.95), metal))
        shapes.append(post.part(box(-0.075, 0.7, 0.075, 0.82), (220, 218, 210)))
    corners = np.concatenate([shape.points for shape in shapes]).astype(np.float32)
    hull = cv2.convexHull(corners).reshape(-1, 2)
    return Actor(z, [Piece("polegroup", shapes, [hull])])


def kerb_box(camera: Camera, light: Light, rng: np.random.Generator, x: float, z: float) -> Actor:
    """A bin or a cabinet (static), or a wheeled bin that somebody moves (dynamic)."""
    wide, tall = rng.uniform(0.4, 1.1), rng.uniform(0.8, 1.5)
    color = pick(rng, ((84, 92, 88), (130, 128, 120), (60, 62, 66), (180, 150, 60), (70, 96, 130)), 16)
    post = Post(light, camera.stand(x, z))
    shapes = [
        post.part(box(-wide / 2, 0, wide / 2, tall), color),
        post.part(box(-wide / 2 - 0.03, tall - 0.12, wide / 2 + 0.03, tall), scaled(color, 0.75)),
        post.part(box(-wide * 0.3, tall * 0.3, wide * 0.3, tall * 0.6), scaled(color, 1.15)),
    ]
    label = "dynamic" if rng.random() < 0.3 else "static"
    return Actor(z, [Piece(None, [ground_shadow(camera, light, x, z, wide, 0.4)]), Piece(label, shapes)])


def shelter(camera: Camera, light: Light, rng: np.random.Generator, x: float, z: float) -> Actor:
    """A glass shelter at a stop: static, and full of what shows through it."""
    post = Post(light, camera.stand(x, z))
    metal = pick(rng, METALS)
    wide = rng.uniform(1.2, 2.0)
    glass = Shape(post.stand.place(box(-wide / 2, 0.2, wide / 2, 2.3)), light.tint((150, 170, 176), 0.6, z), alpha=0.45)
    shapes = [glass] + [post.part(box(at - 0.05, 0, at + 0.05, 2.4), metal) for at in (-wide / 2, wide / 2)]
    shapes.append(post.part(box(-wide / 2 - 0.2, 2.35, wide / 2 + 0.2, 2.55), scaled(metal, 0.8)))
    poster = vary(rng, (150, 120, 110), 50)
    shapes.append(post.part(box(wide * 0.1, 0.5, wide * 0.45, 1.9), poster, Texture.CLOTH))
    return Actor(z, [Piece("static", shapes, [post.stand.place(box(-wide / 2, 0, wide / 2, 2.5))])])
