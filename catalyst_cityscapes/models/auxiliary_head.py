"""A fully convolutional auxiliary head on any network's inner features (PSPNet, section 3.3; FCN, Long et al. 2015)."""

from typing import Any

import torch
from torch import Tensor, nn

from catalyst_cityscapes.models.outputs import Outputs, outputs_of, size_rule_of
from semseg_ref.base.errors import InputError, did_you_mean
from semseg_ref.base.random_state import random_state, set_random_state
from semseg_ref.model.pspnet import pixel_classifier

PROBE = 128
"""Sides of the image by which the channels of the features are found; a multiple of every usual stride."""


class _Tap:
    """What a layer gave in the forward pass that is under way; a class, so that a copied network has its own."""

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.feature: Tensor | None = None

    def __call__(self, _layer: nn.Module, _inputs: tuple, output: Any) -> None:
        self.feature = output if self.index is None else output[self.index]

    def take(self) -> Tensor | None:
        """The feature, which is then forgotten."""
        feature, self.feature = self.feature, None
        return feature


def with_auxiliary_head(
    network: nn.Module, layer: str, classes: int, index: int | None = None, channels: int = 256, dropout: float = 0.1
) -> nn.Module:
    """Gives a network one more auxiliary head, `aux`, which it has in training only.

    The network stays what it is, with its names of parameters and whatever it returned before; the head's logits come
    after them, at the size of the features.

    Args:
        network: its forward takes float [N, 3, H, W].
        layer: name of the module whose output the head sees, as `encoder.layer3`.
        classes: number of classes K.
        index: which of the layer's outputs, where it gives several, as an encoder does (-2: the last but one).
        channels: width of the head's 3x3 convolution; 256 in PSPNet.
        dropout: probability of dropping a channel before the last convolution.

    Returns:
        The same object.

    Raises:
        InputError: no such layer, or its output is no feature map float [N, C, h, w].
    """
    layers = dict(network.named_modules())
    if layer not in layers or not layer:
        raise InputError(f"with_auxiliary_head: layer: no module '{layer}'{did_you_mean(layer, list(layers))}")
    if hasattr(network, "aux"):
        raise InputError(f"with_auxiliary_head: {type(network).__name__} has a module `aux` already")
    tap = _Tap(index)
    layers[layer].register_forward_hook(tap)
    width = _feature_channels(network, layer, tap)

    class WithAuxiliaryHead(type(network)):
        def forward(self, x: Tensor) -> Outputs:
            outputs = outputs_of(super().forward(x))
            feature = self.tap.take()
            return (*outputs, self.aux(feature)) if self.training else outputs

    WithAuxiliaryHead.__name__ = type(network).__name__
    network.tap = tap
    network.aux = pixel_classifier(width, channels, classes, dropout)
    network.__class__ = WithAuxiliaryHead
    return network


def _feature_channels(network: nn.Module, layer: str, tap: _Tap) -> int:
    rule = size_rule_of(network)
    side = PROBE + (rule.rest if rule else 0)
    state, was_training = random_state(), network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, side, side))
    except (TypeError, IndexError, KeyError) as error:
        raise InputError(f"with_auxiliary_head: layer {layer}, index {tap.index}: {error}") from error
    finally:
        network.train(was_training)
        set_random_state(state)
    feature = tap.take()
    if not isinstance(feature, Tensor) or feature.ndim != 4:
        shape = list(feature.shape) if isinstance(feature, Tensor) else type(feature).__name__
        raise InputError(
            f"with_auxiliary_head: layer {layer} gives {shape}, expected a feature map [N, C, h, w]; `index` takes one "
            "of several outputs"
        )
    return feature.shape[1]
