"""Painting: sky, ground, shapes, surface texture, and what the lens and the sensor add."""

import cv2
import numpy as np

from catalyst_cityscapes.toy_city.camera import Camera
from catalyst_cityscapes.toy_city.light import Light
from catalyst_cityscapes.toy_city.shapes import SUBPIXEL_BITS, Shape, Texture, fixed_point, pixel_window

# Contrast of each surface in levels: grain of one pixel, patches of H/48, blotches of H/10.
RELIEF: dict[Texture, tuple[float, float, float]] = {
    Texture.SMOOTH: (1.0, 0.5, 1.0),
    Texture.SKY: (0.5, 0.0, 0.0),
    Texture.ASPHALT: (3.5, 1.5, 3.0),
    Texture.PAVING: (4.0, 4.0, 3.0),
    Texture.GRASS: (9.0, 8.0, 6.0),
    Texture.LEAVES: (11.0, 15.0, 8.0),
    Texture.PLASTER: (3.0, 2.0, 6.0),
    Texture.BRICK: (7.0, 5.0, 5.0),
    Texture.METAL: (1.0, 1.0, 4.0),
    Texture.CLOTH: (4.0, 4.0, 0.0),
}
# Contrast of the ground's own pattern, which lies flat in perspective.
GROUND_RELIEF: dict[Texture, float] = {Texture.ASPHALT: 7.0, Texture.PAVING: 9.0, Texture.GRASS: 14.0}


class Canvas:
    """A picture being painted.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        surface: uint8 [H, W], the `Texture` seen in each pixel.
    """

    def __init__(self, camera: Camera, light: Light, rng: np.random.Generator) -> None:
        """Paints the sky; `rng` also drives all texture and noise."""
        self.camera = camera
        self.light = light
        self.rng = rng
        self.surface = np.full((camera.height, camera.width), Texture.SKY, np.uint8)
        self.image = self._sky()

    def paint(self, shapes: list[Shape]) -> None:
        """Fills the shapes in order, edges smoothed."""
        limit = 8.0 * (self.camera.width + self.camera.height)
        for shape in shapes:
            if shape.alpha < 1.0:
                self._glaze(shape, limit)
                continue
            corners = [fixed_point(shape.points, limit)]
            cv2.fillPoly(self.image, corners, shape.color, cv2.LINE_AA, SUBPIXEL_BITS)
            cv2.fillPoly(self.surface, corners, int(shape.texture), cv2.LINE_8, SUBPIXEL_BITS)

    def settle_ground(self) -> None:
        """Gives the painted ground its flat pattern and its haze; call once, before anything stands on it."""
        first = int(np.clip(np.floor(self.camera.horizon), 0, self.camera.height - 1))
        depth = self.camera.row_depth()[first:].astype(np.float32)
        columns = np.arange(self.camera.width, dtype=np.float32) - self.camera.center
        across = columns[None, :] * (depth / self.camera.focal)[:, None] - (self.camera.bend * depth**2)[:, None]
        pattern = self._octaves(256, 256, (4, 16, 64, 256))
        # 20 cells to the metre across; along the street the pattern is drawn out, as tyres draw it.
        wrapped = cv2.remap(
            pattern,
            np.mod(across * 20.0, 255.0).astype(np.float32),
            np.repeat(np.mod(depth * 8.0, 255.0)[:, None], self.camera.width, axis=1).astype(np.float32),
            cv2.INTER_LINEAR,
        )
        strength = np.zeros(len(Texture), np.float32)
        for texture, levels in GROUND_RELIEF.items():
            strength[texture] = levels
        wrapped *= strength[self.surface[first:]]
        wrapped *= np.exp(-depth / 30.0)[:, None]
        keep = np.exp(-depth / self.light.haze_m)[:, None, None]
        part = self.image[first:].astype(np.float32) + wrapped[:, :, None]
        haze = np.array(self.light.sky_low, np.float32)
        # The row of the horizon belongs to the sky as well: the ground fades into it.
        part = part * keep + haze * (1.0 - keep)
        below = self.surface[first:] != Texture.SKY
        self.image[first:][below] = np.clip(part[below], 0, 255).astype(np.uint8)

    def develop(self) -> np.ndarray:
        """uint8 [H, W, 3], RGB: the finished picture with texture, lens blur, vignette, tone and sensor noise."""
        height, width = self.surface.shape
        relief = np.array([RELIEF[texture] for texture in Texture], np.float32)
        grain = self.rng.standard_normal((height, width), np.float32)
        patches = self._octaves(height, width, (48, 110))
        blotches = self._octaves(height, width, (10,))
        luma = grain * relief[:, 0][self.surface]
        luma += patches * relief[:, 1][self.surface]
        luma += blotches * relief[:, 2][self.surface]
        picture = self.image.astype(np.float32)
        # Texture is a share of the colour rather than an offset, so that shadows stay quiet.
        picture *= (1.0 + luma / 110.0)[:, :, None]
        sigma = height / 1024.0 * self.rng.uniform(0.6, 1.1) + self.rng.uniform(0.1, 0.35)
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)
        picture *= self._vignette()[:, :, None]
        gains = self.rng.uniform(0.95, 1.05, 3).astype(np.float32)
        lift = np.float32(self.rng.uniform(-4, 10))
        level = self.rng.uniform(1.2, 3.2)
        picture = picture * gains + lift
        for channel, roll in enumerate((0, 7, 19)):
            picture[:, :, channel] += np.roll(grain, (roll + 3, 2 * roll + 5), (0, 1)) * level
        return np.clip(picture, 0, 255).astype(np.uint8)

    def _glaze(self, shape: Shape, limit: float) -> None:
        window = pixel_window(shape.points, self.camera.height, self.camera.width)
        if window is None:
            return
        left, top, right, bottom = window
        mask = np.zeros((bottom - top, right - left), np.uint8)
        cv2.fillPoly(mask, [fixed_point(shape.points - (left, top), limit)], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        share = mask.astype(np.float32)[:, :, None] * (shape.alpha / 255.0)
        under = self.image[top:bottom, left:right]
        mixture = under + (np.array(shape.color, np.float32) - under) * share
        self.image[top:bottom, left:right] = np.clip(mixture + 0.5, 0, 255).astype(np.uint8)

    def _octaves(self, height: int, width: int, cells: tuple[int, ...]) -> np.ndarray:
        """float32 [height, width]: smooth noise, about -1..1; each entry of `cells` counts cells down the height."""
        total = np.zeros((height, width), np.float32)
        for rows in cells:
            columns = max(2, round(rows * width / height))
            coarse = self.rng.standard_normal((rows, columns), np.float32)
            total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
        return total / np.sqrt(len(cells)).astype(np.float32)

    def _sky(self) -> np.ndarray:
        height, width = self.surface.shape
        rise = np.clip(np.arange(height, dtype=np.float32) / max(self.camera.horizon, 1.0), 0, 1)[:, None, None]
        top, low = (np.array(c, np.float32) for c in (self.light.sky_top, self.light.sky_low))
        sky = np.broadcast_to(top + (low - top) * rise**1.4, (height, width, 3)).copy()
        # Clouds are flat and wide, and flatter towards the horizon.
        field = self._octaves(height, max(width // 4, 8), (5, 9, 18, 36))
        field = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
        cover = np.clip((field + 2.0 * self.light.clouds - 1.1) * 1.3, 0, 1)[:, :, None] * (1.0 - 0.5 * rise)
        cloud = low * 0.5 + np.array((236, 236, 238), np.float32) * 0.5
        cloud = cloud * (1.0 - 0.10 * np.clip(field, 0, 1.5)[:, :, None])
        sky += (cloud - sky) * cover * 0.85
        glow_at = self.camera.center + self.light.sun_side * 0.45 * width
        reach = (np.arange(width, dtype=np.float32) - glow_at) / (0.4 * width)
        glow = np.exp(-(reach**2))[None, :, None] * rise * (1.0 - self.light.sun_behind) * 26.0
        return np.clip(sky + glow, 0, 255).astype(np.uint8)

    def _vignette(self) -> np.ndarray:
        height, width = self.surface.shape
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
        return 1.0 - np.float32(self.rng.uniform(0.02, 0.10)) * (x * x + y * y)
