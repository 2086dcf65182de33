"""What a recipe's `_target_` may name: the allowed packages, what in them is refused, and why.

A recipe is data that people mail to each other. The packages below are made of components (networks, losses,
optimisers, callbacks, data sets), but most also have corners that run text as code, unpickle, write a file under any
name or fetch one: those are refused by the module that defines them. `--trust PACKAGE` lifts all of it for one package
and one run.
"""

import re
from collections.abc import Iterable, Sequence

ALLOWED = (
    "catalyst",
    "catalyst_cityscapes.callbacks",
    "catalyst_cityscapes.data.augmentation",
    "catalyst_cityscapes.losses",
    "catalyst_cityscapes.models",
    "catalyst_cityscapes.optim",
    "catalyst_cityscapes.schedules",
    "catalyst_cityscapes.train.engine",
    "semseg_ref.dataset",
    "semseg_ref.metric",
    "semseg_ref.model",
    "semseg_ref.optimizer",
    "semseg_ref.sampling",
    "semseg_ref.schedule",
    "semseg_ref.transform",
    "torch.nn",
    "torch.optim",
    "torch.utils.data",
    "torchvision",
    "albumentations",
    "segmentation_models_pytorch",
    "timm",
    "transformers",
)

FACTORIES = tuple(
    f"torch.{name}"
    for name in ("arange", "as_tensor", "eye", "full", "linspace", "logspace", "ones", "tensor", "zeros")
)
"""What of torch itself is allowed, by its whole name: see `torch_factories`, which stands in for them."""

REFUSED = {
    "albumentations.core.hub_mixin": "downloads and writes files",
    "albumentations.core.serialization": "builds what other files name",
    "catalyst.contrib.datasets": "unpickles, downloads and unpacks files",
    "catalyst.contrib.scripts": "reads and runs further configs",
    "catalyst.contrib.utils": "unpickles and writes files",
    "catalyst.registry": "builds whatever it is told to",
    "catalyst.utils": "reads and writes files, and calls methods by name",
    "catalyst_cityscapes.callbacks.checkpoint.link_atomically": "writes files",
    "catalyst_cityscapes.optim.from_recipe": "builds whatever it is told to",
    "segmentation_models_pytorch.base.hub_mixin": "downloads and writes files",
    "segmentation_models_pytorch.datasets": "downloads and unpacks files",
    "timm.data": "unpickles, downloads and unpacks files",
    "timm.models._helpers": "reads checkpoints of any content",
    "timm.models._hub": "downloads and writes files",
    "timm.models.repghost.repghost_model_convert": "writes files",
    "timm.task": "reads checkpoints of any content",
    "timm.utils": "writes and removes files",
    "torch.nn.attention": "imports modules by name",
    "torch.nn.utils._deprecation_utils": "imports modules by name",
    "torch.utils.data.datapipes": "unpickles and reads any file",
    "torchvision.datasets": "unpickles, downloads and unpacks files",
    "torchvision.io": "writes files",
    "torchvision.utils": "writes files",
}
"""Module or name in an allowed package -> what it does that no recipe may."""

REINSTATED = (
    "torchvision.datasets.FakeData",
    "torchvision.datasets.fakedata",
    "torchvision.datasets.ImageFolder",
    "torchvision.datasets.DatasetFolder",
    "torchvision.datasets.folder",
)
"""In refused modules what only reads images, or nothing."""

TRANSFORMERS = re.compile(r"transformers(\.models\..+\.(modeling|configuration)_\w+)?(\.[A-Z]\w*)?")
"""Of transformers: classes in its modules of networks and configurations, also by the short names of the package."""

REFUSED_ARGUMENTS = {
    ("catalyst.callbacks.control_flow", "filter_fn"): "is run as python code",
}
"""(module of the target, argument) -> what it does that no recipe may."""


def within(name: str, packages: Iterable[str]) -> bool:
    """Whether a dotted name is one of the packages or lies in one; `torch.nnx` is not in `torch.nn`."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def is_allowed(name: str, trusted: Sequence[str] = ()) -> bool:
    """Whether a dotted module or target name lies in an allowed package, and in no refused part of it."""
    return name in FACTORIES or within(name, trusted) or (within(name, ALLOWED) and reason_against(name) is None)


def reason_against(name: str) -> str | None:
    """What a refused name of an allowed package does, None where it is not refused."""
    if within(name, REINSTATED):
        return None
    if within(name, ("transformers",)) and not TRANSFORMERS.fullmatch(name):
        return "is no network and no configuration of one"
    return next((reason for refused, reason in REFUSED.items() if within(name, (refused,))), None)
