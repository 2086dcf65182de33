"""In-training validation with the test's protocol: the `exact` tester on the network that is being trained."""

from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from catalyst_cityscapes.data.image_set import image_set
from catalyst_cityscapes.inference.predictor import Predictor
from catalyst_cityscapes.models.outputs import TRAITS
from catalyst_cityscapes.recipe.normalisation import tested_with
from catalyst_cityscapes.recipe.protocols import protocol_of
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import OptionError
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.protocol import Protocol
from semseg_ref.sampling import evenly_spaced
from semseg_ref.tester import strict_fp32
from semseg_ref.transform import val_transform


def validation_set(recipe: Recipe, world_size: int = 1) -> tuple[Dataset, Protocol | None]:
    """The images to validate on, and the protocol to do it with; None is the reference's centre crop.

    Items are (image float32 [3, H, W], label int64 [H, W]) for the centre crop, and for a protocol the unchanged
    (image float32 [H, W, 3], RGB 0..255, label uint8 [H, W]).

    Raises:
        OptionError: fewer images in the list than asked for, or fewer than processes.
        DataError: see `SemData`, `check_list`, `open_cache`.
    """
    data, validation = recipe.data, recipe.validation
    transform = None
    if validation.protocol == "crop":
        transform = val_transform(*data.crop, *tested_with(recipe), ignore_label=data.ignore_index)
    images = image_set("val", data, transform)
    try:
        chosen = evenly_spaced(len(images), validation.images)
    except OptionError as error:
        raise OptionError(f"validation.images: {error} ({data.val_list})") from error
    if len(chosen) < world_size:
        raise OptionError(f"validation.images: {len(chosen)} are fewer than the {world_size} processes")
    protocol = None if validation.protocol == "crop" else protocol_of(recipe, images.data_list)
    return images if validation.images is None else Subset(images, chosen), protocol


class _PlainForward(nn.Module):
    # Accelerate replaces a network's `forward` by one under autocast; the test runs in float32, so validation must too.
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        for name in TRAITS:
            if hasattr(network, name):
                setattr(self, name, getattr(network, name))

    def forward(self, x: torch.Tensor) -> Any:
        with torch.autocast(x.device.type, enabled=False):
            return type(self.network).forward(self.network, x)


def place_in_list(loader: DataLoader, batch: int) -> int:
    """Where the first image of a validation batch stands in `data.val_list`; both are counted from 0.

    A test's draws follow from it, so that validation with the test's protocol draws what the test will.
    """
    index = loader.sampler.indices[batch * loader.batch_size]
    return loader.dataset.indices[index] if isinstance(loader.dataset, Subset) else index


def predict_batch(
    network: nn.Module,
    images: torch.Tensor,
    protocol: Protocol,
    draws: SeedStreams | None = None,
    index: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `catalyst-dl test` would predict.

    Args:
        network: returns (main, aux) logits; its parameters' device is used, its mode is kept.
        images: float32 [1, H, W, 3] on the CPU, RGB 0..255.
        protocol: how to test.
        draws, index: of a network that draws at test, see `Predictor`; the image's place in the list.

    Returns:
        Predicted classes int64 [1, H, W], decided in float64, and float32 [1, K, H, W], the logits of the loss: mean
        logits, or the logarithms of the class probabilities where the protocol averages these; both on the network's
        device.
    """
    device = next(network.parameters()).device
    smallest = torch.finfo(torch.float32).tiny
    with strict_fp32():
        found = Predictor(_PlainForward(network), protocol, draws=draws).predict(images[0].numpy(), index)
        prediction, _ = found.decide()
        logits = torch.empty((found.classes, *found.size), dtype=torch.float32, device=device)
        for y, planes in found.strips():
            is_logits = protocol.softmax == "never"
            logits[:, y : y + planes.shape[1]] = planes if is_logits else planes.clamp(min=smallest).log()
    return prediction[None].to(device, torch.int64), logits[None]
