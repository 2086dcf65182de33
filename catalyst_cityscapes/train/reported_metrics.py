"""Which metrics a run will report, known before it starts: a wrong name should not cost the first epoch."""

from catalyst_cityscapes.train.context import TrainingRun
from semseg_ref.base.errors import OptionError, did_you_mean

OWN_PACKAGE = "catalyst_cityscapes."
LOADERS = ("train", "valid")


def check_metric(runner: TrainingRun, place: str, metric: str, loader: str) -> None:
    """Raises OptionError when no callback of a run will report a metric; silent where that cannot be known.

    That is where a callback of another package takes part: it may report anything.

    Args:
        runner: with its callbacks and loaders; our callbacks say what they report in `reported(is_train)`.
        place: key path of the asking callback, for the message.
        metric, loader: whose value the callback will ask for.
    """
    if loader not in LOADERS:
        raise OptionError(f"{place}.loader: no loader '{loader}'{did_you_mean(loader, LOADERS)}")
    callbacks = list(runner.callbacks.values())
    if loader not in runner.loaders or not all(type(c).__module__.startswith(OWN_PACKAGE) for c in callbacks):
        return
    reporting = [callback for callback in callbacks if hasattr(callback, "reported")]
    names = {name for callback in reporting for name in callback.reported(loader == "train")}
    if metric not in names:
        raise OptionError(f"{place}.metric: loader '{loader}' has no metric '{metric}'{did_you_mean(metric, names)}")
