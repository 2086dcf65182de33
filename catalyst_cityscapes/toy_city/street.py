"""The plan of a street: which strip lies where across it, where it is crossed, and what traffic it carries."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

FAR_M = 120.0

# What the scenes are made to hold in turn, one each; the rest is left to chance.
FEATURES: tuple[str, ...] = ("train", "bus", "truck", "motorcycle", "wall", "fence", "terrain", "rider")


class Strip(NamedTuple):
    """Ground between x0 and x1 (metres, x0 < x1) along the whole street.

    `kind` is one of lane, parking, tram, verge, sidewalk; `label` its annotated name.
    """

    kind: str
    label: str
    x0: float
    x1: float

    @property
    def middle(self) -> float:
        """Its centre line in metres."""
        return (self.x0 + self.x1) / 2


@dataclass(frozen=True)
class Street:
    """The plan.

    Attributes:
        setting: urban, residential or green.
        feature: the entry of `FEATURES` this scene must hold, though something may stand before it.
        lane_m: width of a lane.
        left, right: strips from the kerb outwards, on either side of the road.
        road: the road between its kerbs; traffic keeps to the right, our own lane is centred on x = 0.
        oncoming: centre lines of the lanes that come towards us, all left of us.
        crossing: depths (near, far) of a crossroads in metres, or None.
    """

    setting: str
    feature: str
    lane_m: float
    left: tuple[Strip, ...]
    right: tuple[Strip, ...]
    road: Strip
    oncoming: tuple[float, ...]
    crossing: tuple[float, float] | None

    def strips(self, kind: str) -> list[Strip]:
        """All strips of a kind, left ones first."""
        return [strip for strip in (*self.left, *self.right) if strip.kind == kind]

    def frontage(self, side: int) -> float:
        """x in metres where the buildings start, `side` -1 left or +1 right."""
        return self.left[-1].x0 if side < 0 else self.right[-1].x1

    def in_crossing(self, z: float, margin: float = 0.0) -> bool:
        """Whether depth z lies on the crossroads or within `margin` metres of it."""
        return self.crossing is not None and self.crossing[0] - margin < z < self.crossing[1] + margin

    @classmethod
    def draw(cls, rng: np.random.Generator, index: int) -> "Street":
        """A random street for the scene of that number; every eight in a row plan each feature once."""
        feature = FEATURES[index % len(FEATURES)]
        setting = str(rng.choice(["urban", "residential", "green"], p=[0.55, 0.25, 0.20]))
        lane_m = rng.uniform(3.0, 3.7)
        lanes_back = int(rng.choice([0, 1, 2], p=[0.12, 0.68, 0.20]))
        has_tram = feature == "train" or rng.random() < 0.10
        verge = 1.0 if feature == "terrain" else {"urban": 0.15, "residential": 0.4, "green": 0.7}[setting]
        kerb_left, kerb_right = -lane_m * (0.5 + lanes_back) - 0.3, lane_m * 0.5 + rng.uniform(0.2, 1.2)
        left = _side(rng, -1, kerb_left, has_tram, verge, rng.uniform(1.8, 5.0))
        right = _side(rng, 1, kerb_right, False, verge * 0.6, rng.uniform(1.5, 3.6))
        crossing = None
        if rng.random() < 0.45:
            start = rng.uniform(15.0, 40.0)
            crossing = (start, start + rng.uniform(7.0, 13.0))
        return cls(
            setting=setting,
            feature=feature,
            lane_m=lane_m,
            left=tuple(left),
            right=tuple(right),
            road=Strip("lane", "road", kerb_left, kerb_right),
            oncoming=tuple(-lane_m * (k + 1) for k in range(lanes_back)),
            crossing=crossing,
        )


def _side(rng: np.random.Generator, side: int, kerb: float, has_tram: bool, verge: float, walk_m: float) -> list[Strip]:
    """The strips of one side from the kerb outwards: parking, tram track, verge, sidewalk, front garden."""
    plan: list[tuple[str, str, float]] = []
    if has_tram:
        plan.append(("tram", "rail track" if rng.random() < 0.6 else "road", 3.2))
    if rng.random() < 0.55:
        plan.append(("parking", "parking" if rng.random() < 0.35 else "road", rng.uniform(2.0, 2.4)))
    if rng.random() < verge:
        plan.append(("verge", "terrain", rng.uniform(1.0, 3.0)))
    plan.append(("sidewalk", "sidewalk", walk_m))
    if rng.random() < verge * 0.7:
        plan.append(("verge", "terrain", rng.uniform(1.5, 4.0)))
    strips = []
    edge = kerb
    for kind, label, width in plan:
        outer = edge + side * width
        strips.append(Strip(kind, label, min(edge, outer), max(edge, outer)))
        edge = outer
    return strips
