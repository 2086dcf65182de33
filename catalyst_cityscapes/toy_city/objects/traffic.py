"""Who and what is on the street: moving traffic, parked cars, people, and the furniture of the sidewalks."""

import numpy as np

from catalyst_cityscapes.toy_city.camera import Camera
from catalyst_cityscapes.toy_city.light import Light
from catalyst_cityscapes.toy_city.objects.people import cyclist, parked, pedestrian
from catalyst_cityscapes.toy_city.objects.street_furniture import (
    bollards,
    kerb_box,
    lamp_post,
    shelter,
    sign_post,
    traffic_light,
)
from catalyst_cityscapes.toy_city.objects.vegetation import tree
from catalyst_cityscapes.toy_city.objects.vehicle_models import BUS, CARAVAN, CARS, TRAM, TRUCK, Model
from catalyst_cityscapes.toy_city.objects.vehicles import AWAY, ONCOMING, TO_LEFT, TO_RIGHT, Vehicle
from catalyst_cityscapes.toy_city.shapes import Actor
from catalyst_cityscapes.toy_city.street import Street, Strip

RIDES: dict[str, str] = {"motorcycle": "motorcycle", "rider": "bicycle"}
RIDER_M = 11.0
HEAVY: dict[str, Model] = {"bus": BUS, "truck": TRUCK}


class Casting:
    """Fills a street with actors; everything is drawn from one random stream."""

    def __init__(self, camera: Camera, light: Light, street: Street, rng: np.random.Generator) -> None:
        self.camera, self.light, self.street, self.rng = camera, light, street, rng
        self.actors: list[Actor] = []

    def fill(self) -> list[Actor]:
        """All actors, in no order."""
        self._lanes()
        self._trams()
        self._parked()
        self._cross_traffic()
        self._riders()
        for side in (-1, 1):
            self._sidewalk(side)
        self._zebra()
        self._signals()
        return self.actors

    def _vehicle(self, model: Model, x: float, near: float, yaw: float) -> float:
        """Adds a vehicle whose near end is `near` metres away; returns the depth of its far end."""
        vehicle = Vehicle(self.camera, self.light, self.rng, model, x, near, yaw)
        vehicle.z += near - vehicle.nearest
        self.actors.append(vehicle.actor())
        return 2 * vehicle.z - near

    def _car(self) -> Model:
        return CARS[int(self.rng.choice(len(CARS), p=[0.36, 0.30, 0.22, 0.12]))]

    def _lanes(self) -> None:
        """Traffic in our lane and in the oncoming ones; the feature's vehicle comes first, where it shows."""
        street, rng = self.street, self.rng
        lanes = [(0.0, AWAY), *((x, ONCOMING) for x in street.oncoming)]
        heavy_lane = int(rng.integers(len(lanes)))
        for number, (x, yaw) in enumerate(lanes):
            z = rng.uniform(8, 30) if yaw == AWAY else rng.uniform(7, 26)
            if street.feature in RIDES:
                # The scene's rider comes first and needs the room.
                z += RIDER_M
            if number == heavy_lane and street.feature in HEAVY:
                model = HEAVY[street.feature]
                z = self._vehicle(model, x + rng.uniform(-0.2, 0.2), rng.uniform(9, 21), yaw) + rng.uniform(4, 14)
            while z < 90:
                if not street.in_crossing(z, 4.0):
                    draw = rng.random()
                    model = TRUCK if draw < 0.04 else BUS if draw < 0.07 else self._car()
                    z = self._vehicle(model, x + rng.uniform(-0.25, 0.25), z, yaw)
                z += rng.uniform(3, 30)

    def _trams(self) -> None:
        for strip in self.street.strips("tram"):
            if self.street.feature == "train" or self.rng.random() < 0.25:
                yaw = ONCOMING if self.rng.random() < 0.7 else AWAY
                self._vehicle(TRAM, strip.middle, self.rng.uniform(9, 22), yaw)

    def _parked(self) -> None:
        """Cars at the kerb: right of us they look away, left of us most look at us."""
        rng = self.rng
        for strip in self.street.strips("parking"):
            full = rng.uniform(0.35, 0.9)
            z = rng.uniform(3.5, 9)
            while z < 80:
                if rng.random() < full and not self.street.in_crossing(z, 5.0):
                    yaw = AWAY if strip.middle > 0 or rng.random() < 0.2 else ONCOMING
                    model = CARAVAN if rng.random() < 0.03 else self._car()
                    z = self._vehicle(model, strip.middle + rng.uniform(-0.15, 0.15), z, yaw)
                else:
                    z += 4.5
                z += rng.uniform(0.8, 2.2)

    def _cross_traffic(self) -> None:
        street, rng = self.street, self.rng
        if street.crossing is None:
            return
        near, far = street.crossing
        for z, yaw in ((near + 0.28 * (far - near), TO_RIGHT), (near + 0.72 * (far - near), TO_LEFT)):
            if rng.random() < 0.5:
                draw = rng.random()
                model = BUS if draw < 0.10 else TRUCK if draw < 0.2 else TRAM if draw < 0.25 else self._car()
                vehicle = Vehicle(self.camera, self.light, rng, model, rng.uniform(-16, 16), z, yaw)
                self.actors.append(vehicle.actor())

    def _riders(self) -> None:
        """Cyclists keep to the right edge of the road; motorcycles ride in the lane."""
        street, rng = self.street, self.rng
        if street.feature in RIDES:
            self._rider(RIDES[street.feature], rng.uniform(6.5, RIDER_M))
        if rng.random() < 0.3:
            self._rider("bicycle" if rng.random() < 0.8 else "motorcycle", rng.uniform(8, 35))
        if street.crossing is not None and rng.random() < 0.25:
            z, heading = rng.uniform(*street.crossing), int(rng.choice([-1, 1]))
            self._add(cyclist(self.camera, self.light, rng, rng.uniform(-7, 7), z, "bicycle", True, heading))

    def _rider(self, ride: str, z: float) -> None:
        street, rng = self.street, self.rng
        comes = bool(street.oncoming) and rng.random() < 0.35
        x = street.oncoming[0] - 0.9 if comes else street.road.x1 - 0.7
        if ride == "motorcycle":
            x += -0.5 if not comes else 0.5
        # A little across the lane, the machine shows its side.
        sideways = bool(rng.random() < 0.4)
        heading = -1 if comes else 1
        self._add(cyclist(self.camera, self.light, rng, x, z, ride, sideways, heading))

    def _sidewalk(self, side: int) -> None:
        """People, posts, trees and clutter of one side; signs stand on our side, where we would read them."""
        street, rng, camera, light = self.street, self.rng, self.camera, self.light
        walk = next(s for s in (street.left if side < 0 else street.right) if s.kind == "sidewalk")
        kerb = walk.x1 - 0.5 if side < 0 else walk.x0 + 0.5
        for _ in range(int(rng.poisson(4.0 if street.setting == "urban" else 2.0))):
            z = rng.uniform(7, 42)
            for k in range(1 + int(rng.random() < 0.3)):
                x = float(np.clip(rng.uniform(walk.x0 + 0.4, walk.x1 - 0.2) + 0.6 * k, walk.x0 + 0.3, walk.x1 - 0.1))
                self._add(pedestrian(camera, light, rng, x, z + 0.3 * k))
        spacing, start = rng.uniform(18, 30), rng.uniform(8, 20)
        for z in np.arange(start, 90, spacing):
            if not street.in_crossing(z, 1.0):
                self._add(lamp_post(camera, light, rng, kerb, float(z)))
        if rng.random() < {"urban": 0.4, "residential": 0.45, "green": 0.85}[street.setting]:
            tall = rng.uniform(5, 10)
            for z in np.arange(rng.uniform(9, 18), 100, rng.uniform(7, 13)):
                if not street.in_crossing(z, 2.0):
                    self._add(tree(camera, light, rng, kerb + 0.2 * side, float(z), tall * rng.uniform(0.8, 1.2)))
        for _ in range(int(rng.poisson(1.6 if side > 0 else 0.6))):
            self._add(sign_post(camera, light, rng, kerb + rng.uniform(-0.2, 0.2), rng.uniform(7, 32)))
        for _ in range(int(rng.poisson(0.8))):
            self._add(kerb_box(camera, light, rng, kerb + side * rng.uniform(0, 1.0), rng.uniform(8, 35)))
        if rng.random() < 0.12:
            self._add(bollards(camera, light, rng, kerb - 0.2 * side, rng.uniform(9, 18)))
        if rng.random() < 0.12:
            self._add(shelter(camera, light, rng, walk.middle, rng.uniform(11, 25)))
        self._parked_two_wheelers(walk, side)

    def _parked_two_wheelers(self, walk: Strip, side: int) -> None:
        rng = self.rng
        if rng.random() < 0.45:
            x = walk.middle + side * 0.3 * (walk.x1 - walk.x0)
            self._add(parked(self.camera, self.light, rng, x, rng.uniform(7, 24), "bicycle", int(rng.integers(1, 5))))
        if rng.random() < 0.12:
            kerb = walk.x1 - 0.7 if side < 0 else walk.x0 + 0.7
            self._add(parked(self.camera, self.light, rng, kerb, rng.uniform(7, 18), "motorcycle", 1))

    def _zebra(self) -> None:
        street, rng = self.street, self.rng
        if street.crossing is None or rng.random() < 0.5:
            return
        for _ in range(int(rng.integers(1, 4))):
            x, z = rng.uniform(street.road.x0, street.road.x1), street.crossing[0] - rng.uniform(1.3, 3.8)
            self._add(pedestrian(self.camera, self.light, rng, x, z))

    def _signals(self) -> None:
        """Signals at every crossroads, and now and then at a crossing in between."""
        street, rng = self.street, self.rng
        if street.crossing is None and rng.random() < 0.6:
            return
        z = street.crossing[0] - 1.0 if street.crossing is not None else rng.uniform(10, 26)
        state = int(rng.integers(3))
        for x, is_gantry in ((street.road.x1 + 0.6, rng.random() < 0.4), (street.road.x0 - 0.6, False)):
            if x > 0 or rng.random() < 0.7:
                self._add(traffic_light(self.camera, self.light, rng, x, z, state, bool(is_gantry)))

    def _add(self, actor: Actor) -> None:
        self.actors.append(actor)
