"""The toy city's former place: `python -m catalyst_cityscapes.data.toy_city` still builds it."""

import sys

from catalyst_cityscapes.toy_city import MANIFEST, Scene, build_toy_city, render_scene
from catalyst_cityscapes.toy_city.__main__ import main

__all__ = ["MANIFEST", "Scene", "build_toy_city", "render_scene"]

if __name__ == "__main__":
    sys.exit(main())
