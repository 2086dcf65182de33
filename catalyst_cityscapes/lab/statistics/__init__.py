"""Statistics of paired runs: intervals, tests and what a number of seeds can show. numpy arrays in and out.

How each method was chosen and how well it keeps its promise is measured in docs/statistics.md.
"""

from catalyst_cityscapes.lab.statistics.image_bootstrap import image_interval
from catalyst_cityscapes.lab.statistics.interval import Interval
from catalyst_cityscapes.lab.statistics.multiple_tests import holm
from catalyst_cityscapes.lab.statistics.paired_seeds import paired_t_test, seed_bounds, seed_interval
from catalyst_cityscapes.lab.statistics.power import smallest_effect
from catalyst_cityscapes.lab.statistics.sign_flip import sign_flip_test, smallest_sign_flip_p

__all__ = [
    "Interval",
    "holm",
    "image_interval",
    "paired_t_test",
    "seed_bounds",
    "seed_interval",
    "sign_flip_test",
    "smallest_effect",
    "smallest_sign_flip_p",
]
