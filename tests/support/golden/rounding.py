"""Float32's rounding as noise: what any processor may make of the same computation.

A processor chooses the order in which it adds, and whether a product is rounded before it is added; it does not choose
the precision. So the law of the errors needs no processor:

- An operation on single elements (add, multiply, divide, batch norm once its statistics are known) rounds each result:
  a relative error of at most u = 2^-24, uniform within that, so with standard deviation u / sqrt(3).
- A sum of n terms rounds after each of them. The k-th partial sum of terms without a common sign has the size
  sqrt(k / n) of the whole, so n roundings add up to u / sqrt(3) * sqrt(sum of k / n) = u * sqrt(n / 6) of the whole's
  size. This is the plain order, one after the other; blocks, vector lanes and fused multiply-adds only make the walk
  shorter. Since partial sums do not know that the whole will cancel, "size" is the root mean square of the result.

What later steps (normalisation by a batch, softmax, resizing, further training steps) make of these errors is not
estimated: `spread` lets noisy runs go through them, and takes their distance from a run without noise.
"""

import math
from collections.abc import Callable, Mapping
from unittest import mock

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

UNIT_ROUNDOFF = 2.0**-24
RING = 4_000_037
# Operations that move, select or compare, and so give float32's numbers whatever the order.
EXACT = {
    "detach", "clone", "empty", "relu_", "relu", "threshold_backward", "slice", "cat", "argmax", "ones_like", "expand",
    "max_pool2d_with_indices", "max_pool2d_with_indices_backward", "view", "transpose", "gather", "masked_fill",
    "clamp", "unsqueeze", "squeeze", "permute", "flip", "select", "zeros", "zero_", "fill_", "copy_", "_to_copy", "max",
    "sort", "lift_fresh", "zeros_like", "empty_like", "unbind", "item", "_local_scalar_dense", "as_strided", "t",
    "alias", "full", "neg", "abs", "eq", "ne", "isfinite",
}  # fmt: skip


def _terms_of_convolution_backward(grad: Tensor, x: Tensor, weight: Tensor) -> list[int]:
    """Terms in the sums of the gradients of input, weight and bias."""
    positions = grad.numel() // grad.shape[1]
    return [weight.numel() // weight.shape[1], positions, positions]


def terms(name: str, args: tuple, outputs: list) -> list[int]:
    """How many terms each output of an operation sums up; 1 for one rounding of each element, 0 for an exact output.

    Batch norm sums in double precision on every CPU, so its outputs have the roundings of (x - mean) / std * weight +
    bias; the sums of its backward pass count as sums all the same, because their results are float32.
    """
    if name == "convolution":
        weight = args[1]
        return [weight.numel() // weight.shape[0]]
    if name == "convolution_backward":
        return _terms_of_convolution_backward(*args[:3])
    if name == "native_batch_norm":
        return [4, 1, 1]
    if name == "native_batch_norm_backward":
        per_channel = args[0].numel() // args[0].shape[1]
        return [per_channel] * 3
    if name in ("bmm", "mm"):
        return [args[0].shape[-1]]
    if name == "addmm":
        return [args[1].shape[-1]]
    if name in ("_softmax", "_log_softmax", "_log_softmax_backward_data"):
        return [args[0].shape[args[1]] if name != "_log_softmax_backward_data" else args[0].shape[args[2]]]
    if name == "nll_loss2d_forward":
        return [args[1].numel(), 0]  # The number of pixels is a sum of ones, and exact.
    if name in ("mean", "sum", "_adaptive_avg_pool2d"):
        return [max(1, args[0].numel() // max(1, output.numel())) for output in outputs]
    if name == "upsample_bilinear2d":
        # A source coordinate is rounded by u of at most the side: as much as this many terms, for neighbours that
        # differ by sqrt(2) of their size.
        return [4 * max(args[0].shape[2:]) ** 2]
    if name in ("upsample_bilinear2d_backward", "_adaptive_avg_pool2d_backward"):
        return [max(4, args[0].numel() // outputs[0].numel())]
    return [1] * len(outputs)


class Float32Rounding(TorchDispatchMode):
    """Inside the block every operation's result gets the rounding error that another order could have made.

    Args:
        seed: of the noise.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)
        self.ring = torch.randn(RING, generator=self.generator)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if name in EXACT or func.namespace != "aten":
            return result
        outputs = list(result) if isinstance(result, (tuple, list)) else [result]
        for output, n in zip(outputs, terms(name, args, outputs), strict=False):
            if n and isinstance(output, Tensor) and output.is_floating_point() and output.numel():
                self._disturb(output, n)
        return result

    def _disturb(self, output: Tensor, n: int) -> None:
        noise = self._noise(output)
        if n == 1:
            output.addcmul_(noise, output, value=UNIT_ROUNDOFF / math.sqrt(3))
        else:
            size = output.square().mean().sqrt().item()
            output.add_(noise, alpha=size * UNIT_ROUNDOFF * math.sqrt(n / 6))

    def _noise(self, like: Tensor) -> Tensor:
        """Normal noise of a tensor's shape: a stretch from a random place of one long ring, which saves most draws."""
        count, length = like.numel(), self.ring.numel()
        start = int(torch.randint(length, (), generator=self.generator))
        turns = -(-(start + count) // length)
        ring = self.ring.repeat(turns) if turns > 1 else self.ring
        return ring[start : start + count].view(like.shape).to(like.dtype)


def resize_rounding(height: int, width: int) -> float:
    """Grey levels by which a float32 bilinear resize or warp of an image of this size may be off the truth.

    A source coordinate of at most the side is rounded once, by u of itself; the weight is off by as much, and weighs a
    difference of at most 255 between neighbours. Once for each axis, and four roundings of the values themselves.
    """
    return UNIT_ROUNDOFF * 255 * (height + width + 4)


class _NoisyResize:
    """Stands for cv2.resize: float32 images get the rounding that another program's float32 could have made."""

    def __init__(self, seed: int) -> None:
        self.resize, self.random = cv2.resize, np.random.default_rng(seed)

    def __call__(self, image: np.ndarray, size: tuple[int, int], **options: int) -> np.ndarray:
        resized = self.resize(image, size, **options)
        if image.dtype != np.float32 or image.shape[:2] == resized.shape[:2]:
            return resized
        noise = self.random.uniform(-1, 1, resized.shape) * resize_rounding(*image.shape[:2])
        return (resized + noise).astype(np.float32)


def spread(run: Callable[[], Mapping[str, np.ndarray]], draws: int) -> dict[str, tuple[float, float]]:
    """How far float32's rounding moves a computation's results.

    The run without noise has this machine's own roundings. They add to the noise in quadrature; where kernels add in
    blocks they are a seventh of it or so, which makes the spread a hundredth larger.

    Args:
        run: gives the results by name.
        draws: how often it runs with noise, beside once without.

    Returns:
        For each floating-point result the root mean square and the largest absolute change, over draws and elements.
    """
    plain = {name: np.array(value) for name, value in run().items()}
    squares, largest = dict.fromkeys(plain, 0.0), dict.fromkeys(plain, 0.0)
    for seed in range(draws):
        with Float32Rounding(seed), mock.patch("cv2.resize", _NoisyResize(seed)):
            noisy = run()
        for name, value in noisy.items():
            change = np.abs(value.astype(np.float64) - plain[name])
            squares[name] += float((change**2).mean()) / draws
            largest[name] = max(largest[name], float(change.max()))
    return {name: (squares[name] ** 0.5, largest[name]) for name in plain if plain[name].dtype.kind == "f"}
