"""Toy city: made-up street scenes in the full Cityscapes layout, drawn from a seed."""

from catalyst_cityscapes.toy_city.scene import Scene, render_scene
from catalyst_cityscapes.toy_city.writer import MANIFEST, build_toy_city

__all__ = ["MANIFEST", "Scene", "build_toy_city", "render_scene"]
