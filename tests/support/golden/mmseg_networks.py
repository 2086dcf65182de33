"""Weights that mmsegmentation's golden files were computed with, rebuilt from the names of the entries."""

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from catalyst_cityscapes.models.mmseg import build
from support.golden.inputs import rec_input, rec_label

SMALLER = re.compile(r"\.bn3\.weight$|\.branches\.\d+\.\d+\.bn2\.weight$|\.fuse_layers\.")
"""Norm weights that are drawn at 0.3 of the others, so that residual sums stay small."""


def mmseg_weight(key: str, shape: Sequence[int]) -> np.ndarray:
    """One entry of a state dict, seeded by its name: float32 of `shape`; int64 zeros for `num_batches_tracked`."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    noise = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(tuple(shape))
    if key.endswith("running_var"):
        value = 1 + 0.1 * np.abs(noise)
    elif key.endswith(("running_mean", "bias")):
        value = 0.1 * noise
    elif "layer_scale_" in key:
        value = 0.02 * (1 + 0.1 * noise)
    elif len(shape) > 1:
        value = noise * np.sqrt(2.0 / int(np.prod(shape[1:])))
    else:
        value = (1 + 0.1 * noise) * (0.3 if SMALLER.search(key) else 1)
    return value.astype(np.float32)


def on_meta(name: str, **overrides: Any) -> nn.Module:
    """The network without any values: names, shapes and settings only."""
    with torch.device("meta"):
        return build(name, **overrides)


def filled(name: str, align_corners: bool, classes: int = 19) -> nn.Module:
    """The network with the golden files' weights, nothing dropped."""
    network = on_meta(name, classes=classes, dropout=0, drop_path=0, align_corners=align_corners)
    # Tensors of their own: a training forward moves the running statistics in place.
    network.load_state_dict({key: value.clone() for key, value in _weights(name, classes).items()}, assign=True)
    return network


@lru_cache(maxsize=1)  # one is up to 280 MB
def _weights(name: str, classes: int) -> dict[str, Tensor]:
    state = on_meta(name, classes=classes).state_dict()
    return {key: torch.from_numpy(np.asarray(mmseg_weight(key, value.shape))) for key, value in state.items()}


def golden_batch(meta: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Input float64 [N, 3, H, W] and labels int64 [N, H, W] of a `train_*` file's `meta`."""
    height, width = meta["input_shape"][2:]
    labels = [rec_label(seed, height, width, meta["num_classes"], meta["label_block"]) for seed in meta["label_seeds"]]
    x = torch.from_numpy(rec_input(meta["input_seed"], meta["input_shape"])).double()
    return x, torch.from_numpy(np.stack(labels)).long()


def geometry(network: nn.Module) -> dict[str, list]:
    """What of each layer the state dict does not show, as the `keys_*` files list it."""
    described = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            sides = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
            described[name] = ["conv", *map(list, sides), layer.groups, layer.bias is not None]
        elif isinstance(layer, nn.BatchNorm2d):
            described[name] = ["bn", layer.eps, layer.momentum]
        elif isinstance(layer, nn.LayerNorm):
            described[name] = ["ln", layer.eps]
        elif isinstance(layer, nn.GroupNorm):
            described[name] = ["gn", layer.num_groups, layer.eps]
        elif isinstance(layer, nn.MultiheadAttention):
            described[name] = ["mha", layer.num_heads, layer.dropout]
        elif isinstance(layer, nn.Dropout2d):
            described[name] = ["dropout2d", layer.p]
    return described
