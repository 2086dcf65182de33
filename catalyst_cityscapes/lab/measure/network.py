"""What a recipe's network is and does: heads, sizes, dropout, and which operations a training step runs."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import TorchDispatchMode

from catalyst_cityscapes.models.outputs import check_sides, outputs_of
from catalyst_cityscapes.models.random_at_test import draws_at_test
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.checkpoints.architecture import Identity, identify
from semseg_ref.base.errors import InputError
from semseg_ref.optimizer import BACKBONE

NO_DETERMINISTIC_FORM = {
    "aten::_adaptive_avg_pool2d_backward": "AdaptiveAvgPool2d",
    "aten::upsample_bilinear2d_backward": "interpolate",
    "aten::upsample_bicubic2d_backward": "interpolate",
    "aten::upsample_linear1d_backward": "interpolate",
    "aten::adaptive_max_pool2d_backward": "AdaptiveMaxPool2d",
    "aten::fractional_max_pool2d_backward": "FractionalMaxPool2d",
    "aten::max_unpool2d": "MaxUnpool2d",
    "aten::reflection_pad2d_backward": "ReflectionPad2d",
    "aten::nll_loss2d_forward": "NLLLoss",
    "aten::grid_sampler_2d_backward": "grid_sample",
    "aten::cumsum": "cumsum",
}
"""Operation -> name under which `torch.use_deterministic_algorithms` lists it as without a deterministic CUDA form."""


@dataclass(frozen=True)
class Step:
    """One forward and backward pass in training mode.

    Attributes:
        output: (height, width) of the main logits.
        has_aux: auxiliary logits come out too.
        operations: how often each runs, by name (`aten::convolution`).
    """

    output: tuple[int, int]
    has_aux: bool
    operations: dict[str, int]

    @property
    def nondeterministic(self) -> dict[str, int]:
        """The operations among them that torch lists as without a deterministic form on CUDA."""
        return {name: n for name, n in self.operations.items() if name in NO_DETERMINISTIC_FORM}


@dataclass(frozen=True)
class NetworkFacts:
    """A recipe's network.

    Attributes:
        kind: name of its class.
        has_reference_parts: it has the reference's children (layer0 ... layer4, cls), whatever is in them.
        identity: by names and shapes of its tensors.
        step: what a training step at the recipe's crop runs; None where it could not be run without data.
        refused: why the network does not take the crop, or None.
        dropout: probabilities of its dropout layers, in order.
        norm_settings: (momentum, eps) -> number of batch norm layers.
        frozen: names of parameters that do not train.
        random_at_test: its forward draws random numbers in eval mode too, as it says of itself.
    """

    kind: str
    has_reference_parts: bool
    identity: Identity
    step: Step | None
    refused: str | None
    dropout: tuple[float, ...]
    norm_settings: dict[tuple[float | None, float], int]
    frozen: tuple[str, ...]
    random_at_test: bool = False


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.operations[function.overloadpacket._qualified_op_name] += 1
        return function(*args, **(kwargs or {}))


def measure_network(recipe: Recipe, network: nn.Module) -> NetworkFacts:
    """Looks at a network and runs one training step of it on tensors without data.

    Args:
        recipe: its recipe, for the crop.
        network: as `recipe_network` builds it; it is on the `meta` device afterwards, its weights lost.
    """
    identity = identify(network.state_dict())
    step, refused = None, None
    try:
        step = _run(network.to("meta").train(), recipe.data.crop)
    except InputError as error:
        refused = str(error)
    except (RuntimeError, NotImplementedError, ValueError, TypeError):
        step = None  # something in it needs real numbers
    modules = list(network.modules())
    return NetworkFacts(
        kind=type(network).__name__,
        has_reference_parts=all(hasattr(network, name) for name in (*BACKBONE, "cls")),
        identity=identity,
        step=step,
        refused=refused,
        dropout=tuple(float(m.p) for m in modules if isinstance(m, _DropoutNd)),
        norm_settings=dict(Counter((m.momentum, m.eps) for m in modules if isinstance(m, _BatchNorm))),
        frozen=tuple(name for name, p in network.named_parameters() if not p.requires_grad),
        random_at_test=draws_at_test(network),
    )


def _run(network: nn.Module, crop: tuple[int, int]) -> Step:
    # Tensors without data get through layers that real ones are too small for.
    check_sides(network, crop, "side")
    x = torch.zeros(2, 3, *crop, device="meta")
    with _Recorder() as recorder:
        outputs = outputs_of(network(x))
        targets = [torch.zeros(2, *each.shape[-2:], dtype=torch.long, device="meta") for each in outputs]
        sum(map(nn.functional.cross_entropy, outputs, targets)).backward()
    return Step(tuple(outputs[0].shape[-2:]), len(outputs) > 1, dict(recorder.operations))
