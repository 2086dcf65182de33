"""Predicting pictures with a run's network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from catalyst_cityscapes.api.arguments import DEVICES, check_choice
from catalyst_cityscapes.api.run import Run
from catalyst_cityscapes.api.scoring import with_protocol
from semseg_ref.base.errors import DataError
from semseg_ref.base.safe.torch_load import no_pickled_code

if TYPE_CHECKING:
    import numpy as np

    Picture = np.ndarray | str | Path


class Predictor:
    """A run's network, loaded once, and the protocol that it predicts with: what `catalyst-dl demo` works with.

    Args:
        run: whose recipe and checkpoint are taken.
        protocol: name of another protocol than the recipe's.
        device: `auto` (a GPU when there is one), `cpu` or `cuda`.
        window: one window over the whole picture and no flip: faster, not the test's numbers.
        checkpoint: another file than the run's.

    Attributes:
        demonstrator: predicts arrays and draws predictions.
        recipe: with the protocol asked for.
        checkpoint: its file.
        epoch: of the checkpoint; None where it has none.
        trained: how long its weights were trained: `epoch`, and `iteration` of a run that counts those.
        names: of the classes, in the order of the predicted numbers.

    Raises:
        InputError: as on the command line.
    """

    @no_pickled_code()
    def __init__(
        self,
        run: Run,
        protocol: str | None = None,
        device: str = "auto",
        window: bool = False,
        checkpoint: str | Path | None = None,
    ) -> None:
        check_choice("device", device, DEVICES)
        self.recipe = recipe = with_protocol(run.recipe, protocol)
        run.use_code()
        self.checkpoint = Path(checkpoint) if checkpoint else run.checkpoint
        from catalyst_cityscapes.evaluation.score_run import build_for_test
        from catalyst_cityscapes.models.outputs import size_rule_of
        from catalyst_cityscapes.recipe.protocols import protocol_value
        from catalyst_cityscapes.report.demonstration import Demonstrator, one_window
        from semseg_ref.catalog import load_colors, load_names
        from semseg_ref.protocol import Protocol

        data = recipe.data
        names, colors = load_names(data.names, data.classes), load_colors(data.colors, data.classes)
        network, self.trained = build_for_test(recipe, self.checkpoint, device)
        self.epoch = self.trained["epoch"]

        def protocol_of(height: int, width: int) -> Protocol:
            of_test = protocol_value(recipe, (height, width))
            return one_window(of_test, height, width, size_rule_of(network)) if window else of_test

        self.demonstrator = Demonstrator(network, protocol_of, names, colors)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the K classes."""
        return tuple(self.demonstrator.names)

    def __call__(self, image: Picture, probabilities: bool = False) -> np.ndarray:
        """Predicts one picture.

        Args:
            image: uint8 [H, W, 3], RGB, or the path of an image file.
            probabilities: give those instead of the classes.

        Returns:
            Class ids uint8 [H, W], or probabilities float64 [H, W, K].

        Raises:
            DataError: no such file, or an array of another kind.
            CheckpointError: the network's output is not finite.
        """
        pixels = _pixels(image)
        return self.demonstrator.probabilities(pixels) if probabilities else self.demonstrator.predict(pixels)


def predict(
    run: Run,
    image: Picture | list[Picture] | tuple[Picture, ...],
    probabilities: bool = False,
    protocol: str | None = None,
    device: str = "auto",
    window: bool = False,
) -> np.ndarray | list[np.ndarray]:
    """Predicts one picture, or several with one loaded network; `Predictor` keeps it for more.

    Args:
        run, protocol, device, window: see `Predictor`.
        image, probabilities: see `Predictor.__call__`; a list or tuple holds several pictures.

    Returns:
        Class ids uint8 [H, W], or probabilities float64 [H, W, K]; of several pictures a list of them.

    Raises:
        InputError: see `Predictor`.
    """
    predictor = Predictor(run, protocol, device, window)
    if isinstance(image, (list, tuple)):
        return [predictor(each, probabilities) for each in image]
    return predictor(image, probabilities)


def _pixels(image: Picture) -> np.ndarray:
    import numpy as np

    from semseg_ref.dataset import read_image

    if isinstance(image, (str, Path)):
        return read_image(image)
    kind = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
    if kind.startswith("uint8 ") and image.ndim == 3 and image.shape[2] == 3 and image.size:
        return image
    raise DataError(f"image: {kind}; expected uint8 [H, W, 3], RGB 0..255, or the path of an image file")
