"""A network's prediction for any picture, as a person wants to see it."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import softmax
from torch import nn

from catalyst_cityscapes.inference import predict
from catalyst_cityscapes.inference.geometry import size_at
from catalyst_cityscapes.models.outputs import SizeRule
from catalyst_cityscapes.report.drawing import above, class_entries, legend, overlay
from semseg_ref.base.errors import CheckpointError, OptionError
from semseg_ref.protocol import WHOLE_IMAGE, Protocol, whole
from semseg_ref.tester import decide

SMALLEST_WIDTH = 480


def one_window(protocol: Protocol, height: int, width: int, rule: SizeRule | None = None) -> Protocol:
    """`protocol` with one window over the whole picture, one scale and no flip: faster, and another protocol.

    Args:
        protocol: its base size and normalisation stay.
        height, width: of the picture, in pixels.
        rule: sides that the network takes; None takes the next ones of the form 8 k + 1.
    """
    values = {"stride": None, "scales": (1.0,), "flip": False, "mirrored": "window", "name": "one-window"}
    if rule is None and protocol.pad_to != "crop":
        return dataclasses.replace(protocol, crop=WHOLE_IMAGE, stride_rate=2 / 3, **values)
    size = size_at(protocol, height, width, 1.0)
    crop = whole(*size).crop if rule is None else tuple(map(rule.at_least, size))
    return dataclasses.replace(protocol, crop=crop, pad_to="crop", **values)


class Demonstrator:
    """Predicts pictures under a protocol.

    Args:
        network: in eval mode; gives `models.outputs.Outputs`.
        protocol_of: (height, width) of a picture in pixels -> the test's protocol for it, so that a prediction here is
            the test's, bit for bit.
        names, colors: of the K classes; uint8 [K, 3].
    """

    def __init__(
        self,
        network: nn.Module,
        protocol_of: Callable[[int, int], Protocol],
        names: Sequence[str],
        colors: np.ndarray,
    ) -> None:
        self.network, self.protocol_of = network, protocol_of
        self.names, self.colors = names, colors

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Class ids uint8 [H, W] of an image, uint8 or float32 [H, W, 3], RGB 0..255.

        Raises:
            OptionError: the network has more classes than there are names.
            CheckpointError: its output is not finite.
        """
        return decide(self._scores(image, self.protocol_of(*image.shape[:2])))

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """The classes' probabilities float64 [H, W, K] that `predict` decides by; the same arguments and errors.

        The softmax of the mean logits under a protocol that averages these.
        """
        protocol = self.protocol_of(*image.shape[:2])
        scores = self._scores(image, protocol)
        return softmax(scores, axis=2) if protocol.softmax == "never" else scores

    def _scores(self, image: np.ndarray, protocol: Protocol) -> np.ndarray:
        scores = predict(self.network, image, protocol)
        if scores.shape[2] > len(self.names):
            raise OptionError(f"the network has {scores.shape[2]} classes, the recipe names {len(self.names)}")
        if not np.isfinite(scores).all():
            raise CheckpointError("the network's output is not finite; are its weights damaged?")
        return scores

    def picture(self, image: np.ndarray, prediction: np.ndarray, all_classes: bool = False) -> np.ndarray:
        """The image with the prediction on it, and below it the legend.

        Pictures narrower than 480 pixels are enlarged by a whole factor, so that the legend can be read.

        Args:
            image: uint8 [H, W, 3], RGB.
            prediction: uint8 [H, W].
            all_classes: the legend names every class (a video's legend must not change) and not only those that occur.
        """
        factor = -(-SMALLEST_WIDTH // image.shape[1])
        drawn = overlay(image, prediction, self.colors).repeat(factor, axis=0).repeat(factor, axis=1)
        present = range(len(self.names)) if all_classes else [int(v) for v in np.unique(prediction)]
        size = 13 if drawn.shape[1] < 1400 else 20
        return above(drawn, legend(class_entries(present, self.names, self.colors), drawn.shape[1], size))

    def summary(self, prediction: np.ndarray, most: int = 4) -> str:
        """The largest classes of a prediction and their shares: `road 34%, sky 20%`."""
        counts = np.bincount(prediction.ravel(), minlength=len(self.names))
        order = [index for index in np.argsort(-counts, kind="stable")[:most] if counts[index]]
        return ", ".join(f"{self.names[index]} {counts[index] / prediction.size:.0%}" for index in order)
