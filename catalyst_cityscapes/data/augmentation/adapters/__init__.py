"""Transforms of other libraries as `(image, label) -> (image, label)`, one file a library, told by a class's module.

What goes in and comes out, of a single step as of a whole composition:

* in: arrays, image float32 or uint8 [H, W, 3], RGB 0..255, and label uint8 [H, W], as the reference's steps have them
  before `ToTensor`; or tensors, image float32 [3, H, W] and label int64 [H, W], as they have them after it;
* the libraries expect 8-bit images: an array is rounded to uint8 before the call;
* out: while images stay 8-bit, arrays, the image float32 0..255; once a transform makes tensors or values of another
  range (`Normalize`, `ToDtype`, `ToTensorV2`), tensors as above, whose range is then the recipe's own affair. The whole
  augmentation gives tensors in either case.
"""

from typing import Any

from catalyst_cityscapes.data.augmentation.adapters.albumentations_calls import AlbumentationsCall
from catalyst_cityscapes.data.augmentation.adapters.torchvision_calls import TorchvisionCall
from catalyst_cityscapes.recipe.nodes.kinds import ALBUMENTATIONS, TORCHVISION, library_of

CALLS = {ALBUMENTATIONS: AlbumentationsCall, TORCHVISION: TorchvisionCall}


def adapted(transform: Any, whole: bool = False) -> Any:
    """A transform that takes (image, label): itself, or one of another library in its adapter.

    Args:
        transform: any callable.
        whole: it is all of the augmentation, so that what comes out are the network's tensors.
    """
    libraries = {library_of(base.__module__) for base in type(transform).__mro__}
    call = next((CALLS[name] for name in CALLS if name in libraries), None)
    return transform if call is None else call(transform, whole)


__all__ = ["AlbumentationsCall", "TorchvisionCall", "adapted"]
