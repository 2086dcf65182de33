"""Starting from a whole network, trained on other classes or on the same."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from semseg_ref.base.checkpoints.reading import read_checkpoint
from semseg_ref.base.checkpoints.state_dict import first_names, match, named_as, reasons, weights_in
from semseg_ref.base.errors import CheckpointError


def start_from(model: nn.Module, path: str | Path, classes: int, tell: Callable[[str], object]) -> None:
    """Fills a network with a checkpoint's weights: all of them, except the classifiers where the classes are others.

    A tensor stays as it was initialised only when its first dimension is the number of classes in both and everything
    else is equal.

    Args:
        model: a bare network with the weights that its classifiers are to start from.
        path: any weight file, see `weights_in`.
        classes: of the data.
        tell: called with one line that says what was taken and what stayed random.

    Raises:
        CheckpointError: anything else is missing, unexpected or of another shape; `model` is unchanged then.
    """
    own = model.state_dict()
    named = named_as(own, weights_in(read_checkpoint(path), path), path)
    result = match(own, named.weights)
    pairs = {name: (named.weights[name].shape, own[name].shape) for name in result.differing}
    counts = {(has[0], wants[0]) for has, wants in pairs.values() if has and wants and has[1:] == wants[1:]}
    of_classes = len(counts) == 1 and all(has[1:] == wants[1:] and has and wants for has, wants in pairs.values())
    others = next(iter(counts))[0] if of_classes and next(iter(counts))[1] == classes else None
    if result.missing or result.unexpected or (pairs and others is None):
        raise CheckpointError(
            f"{path}: does not fit {type(model).__name__}: {result}{reasons(named.weights, own)}; only classifiers of "
            "another number of classes may differ"
        )
    model.load_state_dict({**own, **{name: named.weights[name] for name in result.matched}}, strict=True)
    what = f"starting from {len(result.matched)} of its tensors, which are the whole network"
    if pairs:
        what = (
            f"starting from {len(result.matched)} of {result.expected_count} tensors; random, for {classes} classes "
            f"instead of {others}: {first_names(list(pairs))}"
        )
    tell(f"{path}: {what}{f'; {named}' if named.prefix else ''}")
