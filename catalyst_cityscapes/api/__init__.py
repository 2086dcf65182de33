"""Training, scoring, predicting and comparing from Python: what `catalyst-dl run`, `test`, `demo` and `scores` do.

Importing it loads no torch; each function imports what it works with when it is called. Bad input is an `InputError`
with the command line's text, a run that had to stop a `RunStopError`. docs/python.md has examples.
"""

from catalyst_cityscapes.api.comparing import Comparison, compare
from catalyst_cityscapes.api.predicting import Predictor, predict
from catalyst_cityscapes.api.run import Run, load_recipe
from catalyst_cityscapes.api.scoring import Score, test
from catalyst_cityscapes.api.training import train
from semseg_ref.base.errors import InputError, RunStopError

__all__ = [
    "Comparison",
    "InputError",
    "Predictor",
    "Run",
    "RunStopError",
    "Score",
    "compare",
    "load_recipe",
    "predict",
    "test",
    "train",
]
