"""The tester in batches: the control arm's numbers (`exact`) or nearly them (`fast`), several times sooner.

`semseg_ref.tester` stays the reference; `folder.test_images` takes its place file for file.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from semseg_ref.protocol import Protocol

MODES = ("exact", "fast")
TESTERS = ("reference", *MODES)
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
"""Of the network under `fast`. These names are here for the command line, which shows them without importing torch."""


def predict(network: "nn.Module", image: "np.ndarray", protocol: "Protocol") -> "np.ndarray":
    """Class scores of an image under any protocol, by the tester `exact`; the prediction is their arg-max.

    Args:
        network: see `predictor.Predictor`; runs in eval mode on its own device.
        image: uint8 or float32 [H, W, 3], RGB 0..255.
        protocol: how to test.

    Returns:
        float64 [H, W, K]: mean probabilities; under a protocol with `softmax: never`, mean logits.

    Raises:
        ValueError: the image has another shape.
        OptionError: windows of a size that the network does not take.
    """
    from catalyst_cityscapes.inference.predictor import Predictor
    from semseg_ref.tester import strict_fp32

    with strict_fp32():
        return Predictor(network, protocol).predict(image).probabilities().astype("float64", copy=False)
