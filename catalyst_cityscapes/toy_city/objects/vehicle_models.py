"""The shapes of vehicles: profiles seen from the side, what is glass, where the wheels and lamps sit.

All numbers are shares: t along the vehicle from its rear (0) to its front (1), y of its height, w across from its
left (-1) to its right (1).
"""

from dataclasses import dataclass

from catalyst_cityscapes.toy_city.light import Color

Outline = tuple[tuple[float, float], ...]
Fitting = tuple[float, float, float, float, str]
PAINTS: tuple[Color, ...] = (
    (40, 42, 46),
    (186, 188, 190),
    (222, 222, 220),
    (92, 94, 98),
    (120, 28, 30),
    (40, 58, 104),
    (34, 70, 56),
    (150, 130, 100),
    (128, 132, 136),
    (62, 60, 66),
    (176, 120, 44),
    (96, 124, 152),
)
LIVERIES: tuple[Color, ...] = (
    (196, 176, 60),
    (176, 44, 42),
    (210, 208, 200),
    (56, 96, 150),
    (70, 120, 80),
    (120, 124, 128),
)


@dataclass(frozen=True)
class Body:
    """One solid part, its profile listed from the rear bottom over the roof to the front bottom.

    Attributes:
        profile: corners (t, y).
        glass: numbers of the profile's edges that are window panes.
        windows: panes (t, y) on the long sides.
        rear, front: rectangles (w0, y0, w1, y1, kind) on the ends; kind is glass, lamp, plate, dark or trim.
        stripe: a band (y0, y1) of the second colour along the sides, or None.
    """

    profile: Outline
    glass: tuple[int, ...] = ()
    windows: tuple[Outline, ...] = ()
    rear: tuple[Fitting, ...] = ()
    front: tuple[Fitting, ...] = ()
    stripe: tuple[float, float] | None = None


@dataclass(frozen=True)
class Model:
    """A kind of vehicle.

    Attributes:
        label: its annotated name.
        size: length, width, height in metres, each with a low and a high end.
        bodies: its solid parts from rear to front.
        wheels: positions t of the axles.
        wheel_m: wheel radius in metres.
        paints: its usual colours.
    """

    label: str
    size: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    bodies: tuple[Body, ...]
    wheels: tuple[float, ...]
    wheel_m: float
    paints: tuple[Color, ...] = PAINTS


def _panes(start: float, stop: float, count: int, low: float, high: float) -> tuple[Outline, ...]:
    """A row of equal upright panes between two positions."""
    pitch = (stop - start) / count
    return tuple(
        ((a, low), (a, high), (a + pitch * 0.86, high), (a + pitch * 0.86, low))
        for a in (start + k * pitch for k in range(count))
    )


def _lamps(w0: float, y0: float, w1: float, y1: float) -> tuple[Fitting, Fitting]:
    """A lamp on the right and its twin on the left."""
    return (-w1, y0, -w0, y1, "lamp"), (w0, y0, w1, y1, "lamp")


_TAIL = (*_lamps(0.68, 0.46, 0.95, 0.60), (-0.3, 0.34, 0.3, 0.44, "plate"))
_NOSE = (*_lamps(0.6, 0.38, 0.92, 0.48), (-0.5, 0.30, 0.5, 0.40, "dark"))
_BUMPER = ((-1.0, 0.14, 1.0, 0.26, "dark"),)

HATCHBACK = Model(
    "car",
    ((3.6, 4.3), (1.66, 1.82), (1.42, 1.56)),
    (
        Body(
            (
                (0, 0.18),
                (0, 0.42),
                (0.02, 0.62),
                (0.10, 0.93),
                (0.20, 1),
                (0.52, 1),
                (0.74, 0.64),
                (0.95, 0.52),
                (1, 0.4),
                (1, 0.18),
            ),
            glass=(2, 5),
            windows=(
                ((0.17, 0.64), (0.20, 0.92), (0.36, 0.94), (0.36, 0.63)),
                ((0.39, 0.63), (0.39, 0.94), (0.53, 0.94), (0.69, 0.64)),
            ),
            rear=(*_TAIL, *_BUMPER),
            front=(*_NOSE, *_BUMPER),
        ),
    ),
    (0.17, 0.82),
    0.31,
)
SEDAN = Model(
    "car",
    ((4.4, 4.95), (1.74, 1.88), (1.38, 1.5)),
    (
        Body(
            (
                (0, 0.18),
                (0, 0.42),
                (0.02, 0.66),
                (0.17, 0.68),
                (0.30, 0.97),
                (0.38, 1),
                (0.56, 1),
                (0.73, 0.66),
                (0.96, 0.54),
                (1, 0.4),
                (1, 0.18),
            ),
            glass=(3, 6),
            windows=(
                ((0.25, 0.67), (0.33, 0.93), (0.44, 0.94), (0.44, 0.66)),
                ((0.46, 0.66), (0.46, 0.94), (0.56, 0.94), (0.68, 0.66)),
            ),
            rear=(*_TAIL, *_BUMPER),
            front=(*_NOSE, *_BUMPER),
        ),
    ),
    (0.18, 0.82),
    0.32,
)
ESTATE = Model(
    "car",
    ((4.4, 4.9), (1.78, 1.95), (1.55, 1.8)),
    (
        Body(
            ((0, 0.2), (0, 0.55), (0.05, 0.94), (0.10, 1), (0.58, 1), (0.74, 0.66), (0.96, 0.58), (1, 0.42), (1, 0.2)),
            glass=(1, 4),
            windows=(
                ((0.08, 0.64), (0.10, 0.92), (0.28, 0.94), (0.28, 0.64)),
                ((0.30, 0.64), (0.30, 0.94), (0.58, 0.94), (0.70, 0.66)),
            ),
            rear=(*_TAIL, *_BUMPER),
            front=(*_NOSE, *_BUMPER),
        ),
    ),
    (0.18, 0.82),
    0.35,
)
VAN = Model(
    "car",
    ((4.8, 5.5), (1.9, 2.05), (1.9, 2.3)),
    (
        Body(
            ((0, 0.15), (0, 0.9), (0.02, 1), (0.72, 1), (0.88, 0.62), (0.98, 0.5), (1, 0.3), (1, 0.15)),
            glass=(3,),
            windows=(((0.68, 0.6), (0.68, 0.9), (0.74, 0.9), (0.84, 0.6)),),
            rear=(*_TAIL, *_BUMPER, (-0.85, 0.6, -0.05, 0.88, "glass"), (0.05, 0.6, 0.85, 0.88, "glass")),
            front=(*_NOSE, *_BUMPER),
        ),
    ),
    (0.17, 0.83),
    0.35,
)
TRUCK = Model(
    "truck",
    ((7.0, 10.0), (2.35, 2.5), (3.2, 3.8)),
    (
        Body(
            ((0.0, 0.14), (0.0, 0.24), (0.98, 0.24), (0.98, 0.14)),
            rear=((-1, 0.14, 1, 0.24, "dark"), *_lamps(0.6, 0.17, 0.9, 0.22)),
        ),
        Body(
            ((0.0, 0.25), (0.0, 1.0), (0.74, 1.0), (0.74, 0.25)),
            stripe=(0.45, 0.6),
            rear=((-0.03, 0.27, 0.03, 0.98, "trim"), (-0.98, 0.25, 0.98, 0.29, "trim")),
        ),
        Body(
            ((0.77, 0.12), (0.77, 0.80), (0.80, 0.84), (0.95, 0.82), (1.0, 0.52), (1.0, 0.12)),
            glass=(3,),
            windows=(((0.86, 0.50), (0.86, 0.76), (0.93, 0.76), (0.965, 0.50)),),
            front=(*_lamps(0.6, 0.2, 0.9, 0.27), (-0.55, 0.22, 0.55, 0.44, "dark"), (-1, 0.12, 1, 0.18, "dark")),
        ),
    ),
    (0.16, 0.26, 0.86),
    0.48,
    (*PAINTS, *LIVERIES),
)
BUS = Model(
    "bus",
    ((10.5, 12.5), (2.45, 2.55), (2.95, 3.2)),
    (
        Body(
            ((0, 0.1), (0, 0.95), (0.01, 1), (0.985, 1), (1, 0.92), (1, 0.1)),
            windows=_panes(0.03, 0.97, 7, 0.42, 0.84),
            rear=((-0.85, 0.5, 0.85, 0.86, "glass"), *_lamps(0.75, 0.26, 0.95, 0.4), (-0.6, 0.16, 0.6, 0.3, "dark")),
            front=(
                (-0.93, 0.36, 0.93, 0.82, "glass"),
                (-0.7, 0.85, 0.7, 0.95, "dark"),
                *_lamps(0.6, 0.18, 0.9, 0.27),
                (-0.2, 0.16, 0.2, 0.22, "plate"),
            ),
            stripe=(0.18, 0.34),
        ),
    ),
    (0.25, 0.78),
    0.48,
    LIVERIES,
)


def _tram_section(start: float, stop: float, nose: bool, tail: bool) -> Body:
    """One section of a tram between two positions; the ends lean back where they are the tram's own."""
    back, ahead = (0.03 if tail else 0.0), (0.03 if nose else 0.0)
    end = ((-0.9, 0.42, 0.9, 0.82, "glass"), (-0.75, 0.85, 0.75, 0.93, "dark"), *_lamps(0.6, 0.2, 0.85, 0.27))
    return Body(
        (
            (start, 0.07),
            (start, 0.4),
            (start + back, 0.9),
            (start + back + 0.01, 1),
            (stop - ahead - 0.01, 1),
            (stop - ahead, 0.9),
            (stop, 0.4),
            (stop, 0.07),
        ),
        glass=((5,) if nose else ()) + ((1,) if tail else ()),
        windows=_panes(start + back + 0.015, stop - ahead - 0.01, 5, 0.42, 0.8),
        rear=end if tail else (),
        front=end if nose else (),
        stripe=(0.1, 0.3),
    )


TRAM = Model(
    "train",
    ((20.0, 28.0), (2.3, 2.45), (3.3, 3.6)),
    (
        _tram_section(0.0, 0.32, False, True),
        _tram_section(0.34, 0.66, False, False),
        _tram_section(0.68, 1.0, True, False),
    ),
    (),
    0.3,
    LIVERIES,
)
CARAVAN = Model(
    "caravan",
    ((4.5, 6.0), (2.1, 2.3), (2.4, 2.7)),
    (
        Body(
            ((0, 0.18), (0.02, 0.9), (0.08, 1), (0.85, 1), (0.96, 0.7), (1, 0.18)),
            windows=(((0.2, 0.5), (0.2, 0.75), (0.4, 0.75), (0.4, 0.5)),),
            rear=((-0.6, 0.5, 0.6, 0.8, "glass"), *_lamps(0.7, 0.25, 0.9, 0.32)),
            front=((-0.6, 0.5, 0.6, 0.75, "glass"),),
        ),
    ),
    (0.5,),
    0.3,
    ((214, 212, 206), (198, 192, 178)),
)
CARS: tuple[Model, ...] = (HATCHBACK, SEDAN, ESTATE, VAN)
