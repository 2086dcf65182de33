"""The pinhole camera behind the windscreen: metres in, pixels out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NEAR_M = 0.8
Points = Sequence[Sequence[float]] | np.ndarray


@dataclass(frozen=True)
class Camera:
    """Looks along +Z from above the origin; X points right, Y up, the ground is Y = 0; units are metres.

    Attributes:
        width, height: the picture in pixels.
        focal: focal length in pixels.
        horizon: row of the horizon, in pixels from the top.
        center: column of the vanishing point, in pixels from the left.
        eye: height of the camera above the ground, in metres.
        bend: how far the street drifts to the right, in metres per square metre of depth.
    """

    width: int
    height: int
    focal: float
    horizon: float
    center: float
    eye: float
    bend: float

    @classmethod
    def draw(cls, rng: np.random.Generator, height: int, width: int) -> "Camera":
        """A camera of random mounting; the vertical field of view is that of Cityscapes whatever the size."""
        return cls(
            width=width,
            height=height,
            focal=2.1 * height * rng.uniform(0.94, 1.06),
            horizon=height * rng.uniform(0.39, 0.47),
            center=width * rng.uniform(0.44, 0.56),
            eye=rng.uniform(1.25, 1.6),
            bend=rng.choice([0.0, 1.0]) * rng.uniform(-0.0022, 0.0022),
        )

    def project(self, points: Points) -> np.ndarray:
        """float [..., 3] in metres to float64 [..., 2] in pixels (x, y); depth is held above `NEAR_M`."""
        xyz = np.asarray(points, float)
        z = np.maximum(xyz[..., 2], NEAR_M)
        scale = self.focal / z
        pixels = np.empty((*xyz.shape[:-1], 2))
        pixels[..., 0] = self.center + scale * (xyz[..., 0] + self.bend * z * z)
        pixels[..., 1] = self.horizon + scale * (self.eye - xyz[..., 1])
        return pixels

    def row_depth(self) -> np.ndarray:
        """float64 [H]: depth in metres of the ground seen in each row; above the horizon 1e4."""
        below = np.arange(self.height) + 0.5 - self.horizon
        return np.where(below > 0.2, self.focal * self.eye / np.maximum(below, 0.2), 1e4)

    def stand(self, x: float, z: float, base: float = 0.0) -> "Stand":
        """The upright plane facing the camera at (x, z), its origin `base` metres above the ground."""
        foot = self.project([x, base, z])
        return Stand(float(foot[0]), float(foot[1]), self.focal / z, z)


@dataclass(frozen=True)
class Stand:
    """An upright plane facing the camera: origin (u, v) in pixels, `scale` pixels to the metre, depth z in metres."""

    u: float
    v: float
    scale: float
    z: float

    def place(self, points: Points) -> np.ndarray:
        """float [..., 2] in metres (right, up) to float64 [..., 2] in pixels (x, y)."""
        return np.asarray(points, float) * (self.scale, -self.scale) + (self.u, self.v)
