"""Time of day: what light does to a colour, and the colours of the sky."""

import math
from dataclasses import dataclass

import numpy as np

Color = tuple[float, float, float]

# name: weight, sky at the top, sky at the horizon, sunlit factor, shaded factor, haze distance in metres, clouds
MOODS: dict[str, tuple[float, Color, Color, Color, Color, float, float]] = {
    "noon": (0.26, (84, 138, 204), (186, 210, 228), (1.12, 1.09, 1.02), (0.60, 0.66, 0.76), 420, 0.45),
    "overcast": (0.30, (176, 182, 188), (212, 214, 214), (0.90, 0.91, 0.92), (0.72, 0.74, 0.77), 240, 0.85),
    "evening": (0.16, (112, 132, 178), (244, 204, 160), (1.14, 0.96, 0.76), (0.52, 0.54, 0.66), 300, 0.55),
    "morning": (0.16, (150, 178, 206), (226, 222, 210), (1.06, 1.02, 0.92), (0.62, 0.68, 0.78), 150, 0.35),
    "dusk": (0.12, (82, 92, 122), (178, 158, 158), (0.70, 0.66, 0.68), (0.46, 0.49, 0.60), 200, 0.65),
}


@dataclass(frozen=True)
class Light:
    """The light over one scene.

    Attributes:
        sky_top, sky_low: RGB 0..255 at the zenith and at the horizon.
        sunlit, shaded: factors on R, G, B of a surface in full light and in shadow.
        haze_m: depth in metres at which 63 % of a colour is lost to the haze.
        clouds: how much of the sky they cover, 0..1.
        sun_side: -1 the sun stands left of the street, +1 right.
        sun_behind: light on surfaces that face the camera, 0..1.
        shadow: how dark cast shadows are, 0..1.
    """

    sky_top: Color
    sky_low: Color
    sunlit: Color
    shaded: Color
    haze_m: float
    clouds: float
    sun_side: float
    sun_behind: float
    shadow: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Light":
        """A random time of day and weather."""
        weights = [mood[0] for mood in MOODS.values()]
        name = str(rng.choice(list(MOODS), p=np.array(weights) / sum(weights)))
        _, top, low, sunlit, shaded, haze_m, clouds = MOODS[name]
        exposure = rng.uniform(1.0, 1.25)
        return cls(
            sky_top=vary(rng, top, 14),
            sky_low=vary(rng, low, 10),
            sunlit=scaled(sunlit, exposure),
            shaded=scaled(shaded, exposure),
            haze_m=haze_m * rng.uniform(0.7, 1.4),
            clouds=float(np.clip(clouds + rng.uniform(-0.3, 0.3), 0.0, 1.0)),
            sun_side=float(rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 1.0)),
            sun_behind=rng.uniform(0.2, 0.9),
            shadow=0.25 if name in ("overcast", "dusk") else rng.uniform(0.38, 0.55),
        )

    def tint(self, color: Color, lit: float, z: float) -> Color:
        """`color` (RGB 0..255) under the light: `lit` 0 in shadow to 1 in the sun, seen through z metres of haze."""
        keep = math.exp(-z / self.haze_m)
        (r, g, b), (dark_r, dark_g, dark_b), (sun_r, sun_g, sun_b) = color, self.shaded, self.sunlit
        far_r, far_g, far_b = self.sky_low
        return (
            keep * r * (dark_r + (sun_r - dark_r) * lit) + (1.0 - keep) * far_r,
            keep * g * (dark_g + (sun_g - dark_g) * lit) + (1.0 - keep) * far_g,
            keep * b * (dark_b + (sun_b - dark_b) * lit) + (1.0 - keep) * far_b,
        )

    def wall_light(self, facing: float) -> float:
        """How lit an upright surface is that faces right (+1) or left (-1) across the street, 0..1."""
        return 0.5 + 0.5 * facing * self.sun_side


def scaled(color: Color, factor: float) -> Color:
    """The colour times `factor`."""
    return (color[0] * factor, color[1] * factor, color[2] * factor)


def mixed(first: Color, second: Color, share: float) -> Color:
    """`first`, with `share` (0..1) of `second`."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return red, green, blue


def vary(rng: np.random.Generator, color: Color, spread: float) -> Color:
    """The colour lighter or darker by up to 1.5 `spread` levels, and each channel off by up to half of `spread`."""
    shift, *off = (rng.random(4) - 0.5).tolist()
    red, green, blue = (min(max(c + (3.0 * shift + o) * spread, 4.0), 252.0) for c, o in zip(color, off, strict=True))
    return red, green, blue


def pick(rng: np.random.Generator, palette: tuple[Color, ...], spread: float = 12.0) -> Color:
    """A colour of the palette, varied."""
    return vary(rng, palette[int(rng.integers(len(palette)))], spread)
