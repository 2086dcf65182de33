"""A resize of logits as products of matrices against torch's interpolation: seconds and errors, forward and backward.

    python benchmarks/resize.py [--device cuda] [--threads 1] [--batch 4]

Errors are against float64 on the same device, relative to the largest value.
"""

import argparse
import time

import torch

from catalyst_cityscapes.models.acceleration import FORMATS, resize_by_products
from semseg_ref.model.pspnet import resize_bilinear

CLASSES, OLD, NEW = 19, 90, 713
REPEATS = 5


def now(device: torch.device) -> float:
    """Seconds, when the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Prints a line for each layout and way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device, generator = torch.device(options.device), torch.Generator().manual_seed(0)
    logits = torch.randn(options.batch, CLASSES, OLD, OLD, generator=generator).to(device)
    gradient = torch.randn(options.batch, CLASSES, NEW, NEW, generator=generator).to(device)
    exact = logits.double().requires_grad_()
    exact_map = resize_bilinear(exact, (NEW, NEW))
    exact_map.backward(gradient.double())
    for layout, memory_format in FORMATS.items():
        for name, resize in (("interpolate", resize_bilinear), ("products", resize_by_products)):
            best = [float("inf")] * 2
            for _ in range(REPEATS):
                x = logits.clone(memory_format=memory_format).requires_grad_()
                begun = now(device)
                y = resize(x, (NEW, NEW))
                between = now(device)
                y.backward(gradient)
                ended = now(device)
                best = [min(best[0], between - begun), min(best[1], ended - between)]
            errors = [
                float((a.double() - b).abs().max() / b.abs().max())
                for a, b in ((y.detach(), exact_map.detach()), (x.grad, exact.grad))
            ]
            print(
                f"{layout} {name}: forward {1e3 * best[0]:.1f} ms, error {errors[0]:.1e}; "
                f"backward {1e3 * best[1]:.1f} ms, error {errors[1]:.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
