"""Houses along the street, and the skyline that closes it."""

from typing import NamedTuple

import numpy as np

from catalyst_cityscapes.toy_city.camera import Camera
from catalyst_cityscapes.toy_city.light import Color, Light, mixed, pick, scaled, vary
from catalyst_cityscapes.toy_city.shapes import Actor, Piece, Shape, Texture, box

FACADES: tuple[Color, ...] = (
    (196, 182, 156),
    (168, 120, 96),
    (142, 142, 146),
    (206, 202, 194),
    (118, 96, 84),
    (176, 158, 124),
    (120, 130, 138),
    (150, 92, 76),
    (98, 104, 110),
    (172, 176, 160),
    (128, 138, 112),
    (200, 170, 130),
)
ROOFS: tuple[Color, ...] = ((120, 66, 52), (84, 80, 82), (100, 88, 80), (64, 68, 76))
GLASS: tuple[Color, ...] = ((58, 66, 78), (80, 92, 104), (44, 48, 54), (96, 104, 108))
AWNINGS: tuple[Color, ...] = ((160, 50, 46), (44, 84, 66), (52, 70, 120), (196, 166, 90), (90, 90, 96))
STOREY_M = 3.1


class Panel(NamedTuple):
    """A rectangle on a street wall: heights y0 to y1, depths z0 to z1, `out` metres in front of the wall."""

    y0: float
    y1: float
    z0: float
    z1: float
    out: float
    color: Color
    texture: Texture = Texture.SMOOTH


class House:
    """One house: the wall along the street at `x`, from depth z0 to z1, `height` metres up to the eaves."""

    def __init__(
        self,
        camera: Camera,
        light: Light,
        rng: np.random.Generator,
        x: float,
        z0: float,
        z1: float,
        height: float,
    ) -> None:
        self.camera, self.light, self.rng = camera, light, rng
        self.x, self.z0, self.z1, self.height = x, z0, z1, height
        self.side = 1.0 if x > 0 else -1.0
        self.depth_m = rng.uniform(8, 14)
        self.color = pick(rng, FACADES, 14)
        self.texture = Texture.BRICK if rng.random() < 0.4 else Texture.PLASTER
        self.lit = light.wall_light(-self.side)
        # How far the roof leans back from the wall and how high it rises: gable, mansard or parapet.
        is_steep = rng.random() < 0.45
        gable, mansard, parapet = (self.depth_m / 2, 0.35 * self.depth_m), (1.0, 2.6), (0.0, 0.4)
        self.roof_m = gable if height < 11 else mansard if is_steep else parapet
        self.roof_color = pick(rng, ROOFS)

    def actor(self) -> Actor:
        """The whole house as one building."""
        end_wall, wall, roof = self._end_wall(), self._wall(), self._roof()
        details = self._panels(self._shading() + self._storeys())
        cover = [shape.points for shape in (end_wall[0], wall, *roof)]
        return Actor(self.z1, [Piece("building", [*end_wall, wall, *roof, *details], cover)])

    def _panels(self, panels: list[Panel]) -> list[Shape]:
        """The rectangles in perspective, in order."""
        if not panels:
            return []
        numbers = np.array([panel[:5] for panel in panels], float)
        x = self.x - self.side * numbers[:, 4]
        corners = np.empty((len(panels), 4, 3))
        corners[:, :, 0] = x[:, None]
        corners[:, :, 1] = numbers[:, [0, 0, 1, 1]]
        corners[:, :, 2] = numbers[:, [2, 3, 3, 2]]
        lit, middles = self.lit, (numbers[:, 2] + numbers[:, 3]) / 2
        return [
            Shape(points, self.light.tint(panel.color, lit, z), panel.texture)
            for panel, points, z in zip(panels, self.camera.project(corners), middles.tolist(), strict=True)
        ]

    def _wall(self) -> Shape:
        """The street wall as one outline, split in depth so that it follows the bend of the street."""
        steps = np.linspace(self.z0, self.z1, 4)
        corners = [*((self.x, 0.0, z) for z in steps), *((self.x, self.height, z) for z in steps[::-1])]
        color = self.light.tint(self.color, self.lit, (self.z0 + self.z1) / 2)
        return Shape(self.camera.project(corners), color, self.texture)

    def _end_wall(self) -> list[Shape]:
        """The wall that faces the camera, seen where the next house nearer by is lower or missing; then its windows."""
        outer = self.x + self.side * self.depth_m
        back, rise = self.roof_m
        top = [(self.x + self.side * back, self.height + rise), (outer - self.side * back, self.height + rise)]
        outline = [(self.x, 0.0), (self.x, self.height), *top, (outer, self.height), (outer, 0.0)]
        color = self.light.tint(scaled(self.color, 0.94), self.light.sun_behind, self.z0)
        shapes = [Shape(self.camera.project([(x, y, self.z0) for x, y in outline]), color, self.texture)]
        has_windows = self.rng.random() < 0.6
        if has_windows and self.camera.focal / self.z0 > 1.5:
            glass = self.light.tint(GLASS[0], self.light.sun_behind, self.z0)
            spots = [(share, y) for share in (0.22, 0.5, 0.78) for y in np.arange(1.0, self.height - 1.6, STOREY_M)]
            stand = self.camera.stand(self.x, self.z0)
            for share, y in spots:
                x = self.side * self.depth_m * share
                shapes.append(Shape(stand.place(box(x - 0.5, y, x + 0.5, y + 1.4)), glass))
        return shapes

    def _roof(self) -> list[Shape]:
        back, rise = self.roof_m
        color = self.light.tint(self.roof_color, 0.8, (self.z0 + self.z1) / 2)
        # Seen from below, a slope flatter than the line of sight hides behind its own eaves.
        if rise * abs(self.x) <= back * (self.height - self.camera.eye):
            return []
        ridge_x = self.x + self.side * back
        lines = ((self.x, self.height, self.z1), (ridge_x, self.height + rise, self.z1))
        points = self.camera.project([*lines, *((x, y, self.z0) for x, y, _ in lines[::-1])])
        return [Shape(points, color, Texture.BRICK)]

    def _shading(self) -> list[Panel]:
        """The foot of a wall is darker than its top, and so is the strip under the eaves."""
        bands = ((0.0, 0.25 * self.height, 0.14), (0.0, 0.1 * self.height, 0.26), (self.height - 0.6, self.height, 0.2))
        soot: Color = (20, 22, 30)
        return [Panel(y0, y1, self.z0, self.z1, 0.0, mixed(self.color, soot, a), self.texture) for y0, y1, a in bands]

    def _storeys(self) -> list[Panel]:
        rng = self.rng
        has_shops = rng.random() < 0.5 and self.height > 9
        ground_m = 3.9 if has_shops else 3.1
        panels = self._shop_fronts(ground_m) if has_shops else []
        pitch, share, tall = rng.uniform(2.2, 3.4), rng.uniform(0.42, 0.62), rng.uniform(1.3, 1.9)
        half = pitch * share / 2
        frame = mixed(self.color, (230, 228, 220), rng.uniform(0.2, 0.9))
        glass, blind = pick(rng, GLASS), vary(rng, (206, 200, 186), 16)
        looks_of = ((0.75, glass), (0.9, blind), (1.0, (226.0, 196.0, 128.0)))
        has_ledges, has_balconies = rng.random() < 0.5, rng.random() < 0.25
        columns = max(1, int((self.z1 - self.z0 - 0.8) / pitch))
        first = self.z0 + (self.z1 - self.z0 - columns * pitch) / 2
        storeys = max(1, int((self.height - ground_m - 0.4) / STOREY_M) + (0 if has_shops else 1))
        start = ground_m + 0.8 if has_shops else 1.0
        looks = rng.random((storeys, columns))
        for storey in range(storeys):
            y = start + storey * STOREY_M
            if has_ledges:
                panels.append(Panel(y - 0.8, y - 0.62, self.z0, self.z1, 0.06, scaled(self.color, 1.12)))
            for column in range(columns):
                z = first + (column + 0.5) * pitch
                # A window thinner than a pixel is left to the texture.
                if self._pixels(z, 2 * half) < 0.9:
                    continue
                pane = next(color for limit, color in looks_of if looks[storey, column] < limit)
                panels.append(Panel(y - 0.1, y + tall + 0.1, z - half - 0.1, z + half + 0.1, 0.02, frame))
                panels.append(Panel(y, y + tall, z - half, z + half, 0.0, pane))
                if self._pixels(z, half) > 2.0:
                    shine = mixed(pane, self.light.sky_top, 0.28)
                    panels.append(Panel(y + tall * 0.55, y + tall, z - half, z + half * 0.3, 0.0, shine))
                if has_balconies and column % 2 == 0:
                    panels.append(Panel(y - 0.3, y + 0.6, z - half - 0.4, z + half + 0.4, 0.9, scaled(self.color, 0.6)))
        return panels

    def _shop_fronts(self, ground_m: float) -> list[Panel]:
        rng = self.rng
        base = vary(rng, scaled(self.color, 0.75), 16)
        panels = [Panel(0.0, ground_m - 0.3, self.z0, self.z1, 0.03, base, Texture.PLASTER)]
        z = self.z0 + 0.5
        while z < self.z1 - 2.0:
            end = min(z + rng.uniform(2.2, 4.5), self.z1 - 0.3)
            panels.append(Panel(0.4, 2.6, z, end, 0.04, pick(rng, GLASS, 20)))
            panels.append(Panel(2.75, 3.4, z - 0.1, end + 0.1, 0.1, pick(rng, (*AWNINGS, (220, 218, 210)), 24)))
            if rng.random() < 0.3:
                panels.append(Panel(2.3, 2.8, z, end, 0.9, pick(rng, AWNINGS, 20)))
            z = end + rng.uniform(0.4, 1.4)
        return panels

    def _pixels(self, z: float, length: float) -> float:
        """Width in pixels of `length` metres of the street wall at depth z."""
        return self.camera.focal * abs(self.x) * length / max(z * z, 1.0)


def skyline(camera: Camera, light: Light, rng: np.random.Generator, green: float) -> list[Actor]:
    """Far blocks and treetops across the whole width; `green` 0..1 is the share of trees."""
    actors = []
    for z in (190.0, 150.0):
        x = -z * 0.75
        while x < z * 0.75:
            wide, tall = rng.uniform(10, 26), rng.uniform(5, 17)
            if rng.random() < green:
                crown = camera.stand(x + wide / 2, z).place(
                    [(-wide / 2, -1)]
                    + [
                        (s * wide / 2, tall * 0.6 * (1.0 - 0.5 * s * s) * rng.uniform(0.8, 1.1))
                        for s in np.linspace(-1, 1, 9)
                    ]
                    + [(wide / 2, -1)]
                )
                color = light.tint(vary(rng, (76, 92, 60), 12), 0.5, z)
                actors.append(Actor(z, [Piece("vegetation", [Shape(crown, color, Texture.LEAVES)])]))
            elif rng.random() < 0.85:
                block = camera.stand(x, z).place([(0, -1), (0, tall), (wide, tall), (wide, -1)])
                color = light.tint(pick(rng, FACADES), light.sun_behind, z)
                actors.append(Actor(z, [Piece("building", [Shape(block, color, Texture.PLASTER)])]))
            x += wide * rng.uniform(0.7, 1.2)
    return actors
