"""Everything that lies flat: carriageway, sidewalks, tracks, verges, markings, and shadows on them."""

import numpy as np

from catalyst_cityscapes.toy_city.camera import Camera
from catalyst_cityscapes.toy_city.light import Color, Light, mixed, pick, scaled, vary
from catalyst_cityscapes.toy_city.shapes import Piece, Shape, Texture, oval
from catalyst_cityscapes.toy_city.street import FAR_M, Street, Strip

NEAR_M = 1.0
LAP_M = 0.3
ASPHALT: tuple[Color, ...] = ((96, 97, 100), (118, 116, 113), (78, 80, 86), (134, 128, 120))
PAVING: tuple[Color, ...] = ((134, 130, 126), (112, 110, 108), (158, 146, 134), (150, 112, 98), (92, 94, 98))
GRASS: tuple[Color, ...] = ((86, 110, 56), (112, 118, 66), (134, 122, 84), (70, 96, 58), (120, 104, 76))
CONCRETE: tuple[Color, ...] = ((126, 124, 120), (146, 138, 124), (104, 100, 98))
MARKING: Color = (222, 222, 216)


def flat(camera: Camera, x0: float, x1: float, z0: float, z1: float) -> np.ndarray:
    """float64 [N, 2] pixels: the ground between x0 and x1 and depths z0 and z1, following the street's bend."""
    near, count = max(z0, NEAR_M), int(3 + (z1 - z0) / 8)
    points = np.zeros((2 * count, 3))
    points[:count, 0], points[count:, 0] = x0, x1
    # Even steps of the logarithm are about even steps on the picture.
    points[:count, 2] = near * (z1 / near) ** (np.arange(count) / (count - 1))
    points[count:, 2] = points[count - 1 :: -1, 2]
    return camera.project(points)


def ground_pieces(camera: Camera, light: Light, street: Street, rng: np.random.Generator) -> list[Piece]:
    """The ground from the outside in; the haze comes later, so depth does not dull the colours here."""
    asphalt, paving, grass, concrete = (pick(rng, colors) for colors in (ASPHALT, PAVING, GRASS, CONCRETE))
    pieces = [_beyond(camera, light, street, side, rng, grass, concrete) for side in (-1, 1)]
    for strip in (*street.left[::-1], *street.right[::-1]):
        surface = {
            "sidewalk": (paving, Texture.PAVING),
            "verge": (grass, Texture.GRASS),
            "parking": (vary(rng, asphalt if rng.random() < 0.5 else paving, 10), Texture.PAVING),
            "tram": (vary(rng, concrete if strip.label == "rail track" else asphalt, 8), Texture.ASPHALT),
        }[strip.kind]
        pieces.append(_strip(camera, light, strip, *surface))
    color = light.tint(asphalt, 0.8, 0.0)
    road = Piece("road", [Shape(flat(camera, street.road.x0, street.road.x1, NEAR_M, FAR_M), color, Texture.ASPHALT)])
    pieces.append(road)
    if street.crossing is not None:
        across = flat(camera, -70.0, 70.0, *street.crossing)
        pieces.append(Piece("road", [Shape(across, color, Texture.ASPHALT)]))
    pieces.append(Piece(None, _wear(camera, light, street, rng, asphalt)))
    pieces.append(Piece(None, _kerbs(camera, light, street, rng)))
    pieces.append(Piece(None, _markings(camera, light, street, rng, asphalt)))
    pieces += [_rails(camera, light, strip) for strip in street.strips("tram")]
    pieces.append(_house_shadow(camera, light, street, rng))
    return pieces


def _beyond(
    camera: Camera, light: Light, street: Street, side: int, rng: np.random.Generator, grass: Color, concrete: Color
) -> Piece:
    """The land behind the frontage: grass, yards, or something nobody annotated."""
    edge, outer = street.frontage(side) - side * LAP_M, side * 160.0
    points = flat(camera, min(edge, outer), max(edge, outer), NEAR_M, 400.0)
    green = {"urban": 0.2, "residential": 0.6, "green": 0.85}[street.setting]
    if rng.random() < green:
        return Piece("terrain", [Shape(points, light.tint(vary(rng, grass, 8), 0.8, 0), Texture.GRASS)])
    label = str(rng.choice(["ground", "sidewalk", "unlabeled"], p=[0.5, 0.35, 0.15]))
    return Piece(
        None if label == "unlabeled" else label,
        [Shape(points, light.tint(vary(rng, concrete, 8), 0.75, 0), Texture.PAVING)],
    )


def _strip(camera: Camera, light: Light, strip: Strip, color: Color, texture: Texture) -> Piece:
    # Under its inner neighbour it reaches on a little: outlines in whole pixels would leave slits otherwise.
    x0, x1 = (strip.x0 - LAP_M, strip.x1) if strip.middle > 0 else (strip.x0, strip.x1 + LAP_M)
    shapes = [Shape(flat(camera, x0, x1, NEAR_M, FAR_M), light.tint(color, 0.75, 0), texture)]
    if strip.kind == "sidewalk":
        joint = light.tint(scaled(color, 0.93), 0.75, 0)
        for z in np.arange(4.0, 40.0, 1.5):
            shapes.append(Shape(flat(camera, strip.x0, strip.x1, z, z + 0.05), joint, texture))
        shapes.append(Shape(flat(camera, strip.middle - 0.03, strip.middle + 0.03, NEAR_M, 60), joint, texture))
    return Piece(strip.label, shapes)


def _wear(camera: Camera, light: Light, street: Street, rng: np.random.Generator, asphalt: Color) -> list[Shape]:
    """Tyre tracks, mended patches, manhole covers and stains: the road is not one colour."""
    shapes = []
    dark = light.tint(scaled(asphalt, 0.84), 0.8, 0)
    for lane in (0.0, *street.oncoming):
        for off in (-0.8, 0.8):
            shapes.append(Shape(flat(camera, lane + off - 0.28, lane + off + 0.28, NEAR_M, 90), dark, alpha=0.35))
    for _ in range(int(rng.integers(2, 8))):
        x, z = rng.uniform(street.road.x0 + 0.5, street.road.x1 - 1.5), rng.uniform(5, 40)
        shade = light.tint(vary(rng, asphalt, 14), 0.8, 0)
        patch = flat(camera, x, x + rng.uniform(0.5, 1.8), z, z + rng.uniform(0.6, 6))
        shapes.append(Shape(patch, shade, alpha=float(rng.uniform(0.4, 0.9))))
    for _ in range(int(rng.integers(0, 4))):
        x, z = rng.uniform(street.road.x0 + 0.5, street.road.x1 - 0.5), rng.uniform(6, 25)
        disc = np.zeros((14, 3))
        disc[:, ::2] = oval(x, z, 0.35, 0.35, 14)
        shapes.append(Shape(camera.project(disc), light.tint((70, 68, 66), 0.8, 0), alpha=0.85))
    return shapes


def _kerbs(camera: Camera, light: Light, street: Street, rng: np.random.Generator) -> list[Shape]:
    """Kerb stones between strips of different height; none across a crossroads."""
    stone = light.tint(vary(rng, (160, 156, 150), 14), 0.85, 0)
    gutter = light.tint((66, 64, 64), 0.6, 0)
    spans = [(NEAR_M, FAR_M)]
    if street.crossing is not None:
        spans = [(NEAR_M, street.crossing[0]), (street.crossing[1], FAR_M)]
    shapes = []
    for side, strips in ((-1, street.left), (1, street.right)):
        raised = next(strip for strip in strips if strip.kind in ("sidewalk", "verge"))
        edge = raised.x1 if side < 0 else raised.x0
        for z0, z1 in spans:
            shapes.append(Shape(flat(camera, *sorted((edge, edge + side * 0.22)), z0, z1), stone))
            shapes.append(Shape(flat(camera, *sorted((edge - side * 0.12, edge)), z0, z1), gutter, alpha=0.6))
    return shapes


def _markings(camera: Camera, light: Light, street: Street, rng: np.random.Generator, asphalt: Color) -> list[Shape]:
    """Lane lines, edge lines, zebra stripes and stop line, all of them road to the annotator."""
    paint = light.tint(mixed(asphalt, MARKING, rng.uniform(0.45, 0.95)), 0.85, 0)
    dashed = rng.random() < 0.7
    shapes = []
    for k in range(len(street.oncoming)):
        x = -street.lane_m * (0.5 + k)
        starts = np.arange(rng.uniform(2, 6), 90, 6.0) if dashed or k else np.array([NEAR_M])
        for z in starts:
            end = z + 3.0 if dashed or k else FAR_M
            if not (street.in_crossing(z) or street.in_crossing(end)):
                shapes.append(Shape(flat(camera, x - 0.07, x + 0.07, z, end), paint, Texture.ASPHALT))
    if rng.random() < 0.5:
        x = street.lane_m * 0.5 - 0.05
        shapes.append(Shape(flat(camera, x - 0.06, x + 0.06, NEAR_M, FAR_M), paint, Texture.ASPHALT))
    zebra = street.crossing[0] - 4.0 if street.crossing else rng.uniform(9, 30)
    if street.crossing is not None or rng.random() < 0.25:
        for x in np.arange(street.road.x0 + 0.3, street.road.x1 - 0.3, 1.0):
            shapes.append(Shape(flat(camera, x, x + 0.5, zebra, zebra + 3.0), paint, Texture.ASPHALT))
        stop = flat(camera, -street.lane_m / 2, street.road.x1, zebra - 1.4, zebra - 1.0)
        shapes.append(Shape(stop, paint, Texture.ASPHALT))
    return shapes


def _rails(camera: Camera, light: Light, strip: Strip) -> Piece:
    steel, bed = light.tint((148, 146, 146), 0.9, 0), light.tint((72, 68, 66), 0.7, 0)
    shapes = []
    for x in (strip.middle - 0.72, strip.middle + 0.72):
        shapes.append(Shape(flat(camera, x - 0.14, x + 0.14, NEAR_M, FAR_M), bed, alpha=0.8))
        shapes.append(Shape(flat(camera, x - 0.05, x + 0.05, NEAR_M, FAR_M), steel))
    return Piece(None, shapes)


def _house_shadow(camera: Camera, light: Light, street: Street, rng: np.random.Generator) -> Piece:
    """The houses on the sunny side darken the ground next to them, with a ragged edge."""
    side = 1 if light.sun_side > 0 else -1
    edge = street.frontage(side)
    shapes = []
    z = 2.0
    while z < 100.0:
        length = rng.uniform(7, 22)
        reach = rng.uniform(0.2, 1.1) * 7.0 * abs(light.sun_side)
        if rng.random() < 0.85:
            points = flat(camera, *sorted((edge + side * 6.0, edge - side * reach)), z, z + length)
            shapes.append(Shape(points, (22, 24, 34), alpha=light.shadow * 0.8))
        z += length
    return Piece(None, shapes)
