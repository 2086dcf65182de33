"""Cars, trucks, buses and trams: solid bodies seen from any side."""

import math

import numpy as np

from catalyst_cityscapes.toy_city.camera import Camera
from catalyst_cityscapes.toy_city.light import Color, Light, mixed, pick, scaled
from catalyst_cityscapes.toy_city.objects.vehicle_models import Body, Fitting, Model
from catalyst_cityscapes.toy_city.shapes import Actor, Piece, Shape, Texture, unit_circle

AWAY, ONCOMING, TO_RIGHT, TO_LEFT = 0.0, math.pi, math.pi / 2, -math.pi / 2
FITTINGS: dict[str, Color] = {"glass": (70, 78, 88), "plate": (214, 214, 206), "dark": (46, 46, 48)}
LAMPS: dict[str, Color] = {"rear": (196, 30, 32), "front": (250, 246, 226)}


class Vehicle:
    """A vehicle of a model, standing at (x, z) in metres and heading `yaw` radians right of straight ahead."""

    def __init__(
        self, camera: Camera, light: Light, rng: np.random.Generator, model: Model, x: float, z: float, yaw: float
    ) -> None:
        self.camera, self.light, self.model = camera, light, model
        self.x, self.z, self.yaw = x, z, yaw
        length, width, height = (rng.uniform(*span) for span in model.size)
        self.length, self.half, self.height = length, width / 2, height
        self.paint = pick(rng, model.paints, 12)
        self.second = pick(rng, model.paints, 12)
        self.glass: Color = (52, 60, 70)
        self.has_lamps_on = rng.random() < 0.4

    @property
    def nearest(self) -> float:
        """Depth in metres of the corner nearest the camera."""
        return self.z - abs(math.cos(self.yaw)) * self.length / 2 - abs(math.sin(self.yaw)) * self.half

    @property
    def width_px(self) -> float:
        """How wide its end looks, in pixels."""
        return 2 * self.half * self.camera.focal / max(self.z, 1.0)

    def actor(self) -> Actor:
        """Its shadow and itself; painted by the depth of its nearest corner."""
        tyres = self._tyres_below()
        bodies: list[Shape] = []
        for body in sorted(self.model.bodies, key=self._body_depth, reverse=True):
            bodies += self._body(body)
        wheels = self._wheels()
        # All that is not metal lies on top of metal.
        solid = [shape.points for shape in bodies if shape.texture is Texture.METAL]
        solid += [shape.points for shape in (*tyres, *wheels)]
        return Actor(
            self.nearest,
            [Piece(None, [self._shadow()]), Piece(self.model.label, [*tyres, *bodies, *wheels], solid)],
        )

    def _world(self, t: np.ndarray, w: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Shares along, across and up, each float [...], to float64 [..., 2] in pixels."""
        ahead, across = (t - 0.5) * self.length, w * self.half
        sin, cos = math.sin(self.yaw), math.cos(self.yaw)
        points = np.empty((*t.shape, 3))
        points[..., 0] = self.x + across * cos + ahead * sin
        points[..., 1] = y * self.height
        points[..., 2] = self.z + ahead * cos - across * sin
        return self.camera.project(points)

    def _body_depth(self, body: Body) -> float:
        middle = float(np.mean([corner[0] for corner in body.profile]))
        return self.z + (middle - 0.5) * self.length * math.cos(self.yaw)

    def _tint(self, color: Color, lit: float) -> Color:
        return self.light.tint(color, min(max(lit, 0.0), 1.0), self.z)

    def _body(self, body: Body) -> list[Shape]:
        """The faces turned towards the camera: first those across, then the ends' fittings, then the long side."""
        corners = np.array(body.profile, float)
        ones = np.ones(len(corners))
        left, right = self._world(corners[:, 0], -ones, corners[:, 1]), self._world(corners[:, 0], ones, corners[:, 1])
        shapes: list[Shape] = []
        for edge in range(len(corners) - 1):
            quad = np.array([left[edge], left[edge + 1], right[edge + 1], right[edge]])
            if not faces_camera(quad):
                continue
            run, rise = ((corners[edge + 1] - corners[edge]) * (self.length, self.height)).tolist()
            upward = max(run / max(math.hypot(run, rise), 1e-6), 0.0)
            lit = self.light.sun_behind * 0.7 * (1 - upward) + upward
            shapes.append(Shape(quad, self._tint(self.paint, lit), Texture.METAL))
            if edge in body.glass:
                # The pane sits between the pillars.
                inner = quad + (quad[[3, 2, 1, 0]] - quad) * [[0.05], [0.09], [0.09], [0.05]]
                shapes.append(Shape(inner, self._tint(mixed(self.glass, self.light.sky_low, 0.12 + 0.3 * upward), lit)))
        if abs(math.cos(self.yaw)) > 0.5:
            is_rear = math.cos(self.yaw) > 0
            end, parts = ("rear", body.rear) if is_rear else ("front", body.front)
            shapes += self._end(end, float(corners[0 if is_rear else -1, 0]), parts)
        for outline, w in ((left[::-1], -1.0), (right, 1.0)):
            if faces_camera(outline):
                shapes += self._flank(body, outline, corners, w)
        return shapes

    def _end(self, end: str, t: float, parts: tuple[Fitting, ...]) -> list[Shape]:
        if not parts or self.width_px < 5:
            return []
        spots = np.array([part[:4] for part in parts])
        w, y = spots[:, [0, 0, 2, 2]], spots[:, [1, 3, 3, 1]]
        shapes = []
        for part, quad in zip(parts, self._world(np.full_like(w, t), w, y), strict=True):
            kind = part[4]
            if kind == "lamp":
                lamp = LAMPS[end]
                # A lamp that burns is not dimmed by the time of day.
                color = lamp if self.has_lamps_on else self._tint(mixed(lamp, (120, 120, 120), 0.4), 0.6)
            else:
                color = self._tint(scaled(self.paint, 0.7) if kind == "trim" else FITTINGS[kind], 0.6)
            shapes.append(Shape(quad, color))
        return shapes

    def _flank(self, body: Body, outline: np.ndarray, corners: np.ndarray, w: float) -> list[Shape]:
        """The long side at w = -1 or 1 with its stripe, its shaded sill and its windows."""
        facing = w * math.cos(self.yaw)
        lit = self.light.wall_light(facing) if abs(facing) > 0.5 else self.light.sun_behind
        shapes = [Shape(outline, self._tint(scaled(self.paint, 0.92), lit), Texture.METAL)]
        (low_t, low_y), high_t = corners.min(axis=0).tolist(), float(corners[:, 0].max())
        bands = [(low_y, 0.3, mixed(self.paint, (24, 24, 28), 0.3))]
        if body.stripe is not None:
            bands.append((*body.stripe, self.second))
        # All windows have four corners, and so have the bands: one projection for all.
        panes = [((low_t, y0), (low_t, y1), (high_t, y1), (high_t, y0)) for y0, y1, _ in bands if y1 > y0]
        colors = [color for y0, y1, color in bands if y1 > y0]
        glass = mixed(self.glass, self.light.sky_low, 0.2)
        if self.width_px > 3:
            panes += body.windows
            colors += [glass] * len(body.windows)
        if panes:
            points = np.array(panes, float)
            placed = self._world(points[..., 0], np.full(points.shape[:2], w), points[..., 1])
            shapes += [Shape(quad, self._tint(color, lit)) for quad, color in zip(placed, colors, strict=True)]
        return shapes

    def _wheels(self) -> list[Shape]:
        """Tyres and hubs of the flank in view."""
        shapes = []
        sin, cos = math.sin(self.yaw), math.cos(self.yaw)
        radius, circle = self.model.wheel_m, unit_circle(14)
        # The flank whose outward side points at the camera.
        w = 1.01 if cos * self.x - sin * self.z < 0 else -1.01
        for t in self.model.wheels:
            for share, color in ((1.0, (26, 26, 28)), (0.55, (122, 122, 124))):
                along = t + share * radius / self.length * circle[:, 0]
                up = (radius + share * radius * circle[:, 1]) / self.height
                shapes.append(Shape(self._world(along, np.full(14, w), up), self._tint(color, 0.5)))
        return shapes

    def _tyres_below(self) -> list[Shape]:
        """The two tyres that show under the near end; painted before the body, which hides their upper part."""
        if not self.model.wheels or abs(math.cos(self.yaw)) < 0.5:
            return []
        t = self.model.wheels[0 if math.cos(self.yaw) > 0 else -1]
        top = 1.4 * min(corner[1] for body in self.model.bodies for corner in body.profile)
        w = np.array([(-0.97, -0.97, -0.72, -0.72), (0.72, 0.72, 0.97, 0.97)])
        y = np.array([(0.0, top, top, 0.0)] * 2)
        color = self._tint((24, 24, 26), 0.3)
        return [Shape(quad, color) for quad in self._world(np.full((2, 4), t), w, y)]

    def _shadow(self) -> Shape:
        grow, away = 1.12, -self.light.sun_side * 0.25
        t = np.array([-0.04, -0.04, 1.04, 1.04])
        w = np.array([-grow, grow, grow, -grow]) + away * math.cos(self.yaw)
        return Shape(self._world(t, w, np.zeros(4)), (18, 20, 26), alpha=min(self.light.shadow * 1.6, 0.8))


def faces_camera(points: np.ndarray) -> bool:
    """Whether a polygon (float [N, 2], pixels, y down) runs clockwise as seen, which is how front faces are listed."""
    corners = points.tolist()
    area = 0.0
    x0, y0 = corners[-1]
    for x1, y1 in corners:
        area += x0 * y1 - x1 * y0
        x0, y0 = x1, y1
    return area > 0.0
