"""Whether a network can be trained on one image at a time: batch norm over a single value has no variance."""

import torch
from torch import nn
from torch.func import functional_call

TORCH_SAYS = "Expected more than 1 value per channel"
"""How torch's batch norm begins its refusal; it has no error type of its own."""


def smallest_batch(samples: int, batch_size: int, drop_last: bool) -> int:
    """Images in the smallest batch of an epoch of one process."""
    rest = samples % batch_size
    return batch_size if drop_last or not rest else rest


def needs_several_images(network: nn.Module, crop: tuple[int, int], with_target: bool = False) -> bool:
    """Whether batch norm refuses a batch of one image, because a map of the network is 1 x 1 pixels.

    Measured by a forward pass without numbers (torch's meta device): nothing is computed, drawn or changed. A network
    that cannot be asked so gets the benefit of the doubt.

    Args:
        network: in training mode or not; its mode stays.
        crop: (height, width) of the input.
        with_target: whether the network in training mode takes (image, target), as the control arm's do.
    """
    inputs = [torch.empty(1, 3, *crop, device="meta")]
    if with_target:
        inputs.append(torch.empty(1, *crop, device="meta", dtype=torch.int64))
    state = {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }
    modes = [(module, module.training) for module in network.modules()]
    network.train()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), torch.compiler.set_stance("force_eager"):
            functional_call(network, state, tuple(inputs))
    except Exception as error:  # whatever else a network may raise here says nothing about its training
        return TORCH_SAYS in str(error)
    finally:
        for module, training in modes:
            module.training = training
    return False
