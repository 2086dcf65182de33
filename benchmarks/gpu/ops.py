"""Part `ops`: the machine, the rates that everything is held against, and single operations of a training step."""

import shutil
from collections.abc import Callable

import torch
import torch.nn.functional as F

from catalyst_cityscapes.callbacks.mean_iou import count_confusion
from catalyst_cityscapes.models.acceleration import FORMATS, resize_by_products
from gpu.place import BATCH, CORES, CROP, CUDA, DEVICE, TINY, matrix_rate, say, seconds, told
from semseg_ref.model.pspnet import resize_bilinear

CLASSES, IGNORE = 19, 255
FEATURES = (CROP - 1) // 8 + 1


def machine() -> None:
    """What the rows were measured on; compiling needs gcc, loader processes need /dev/shm."""
    memory = torch.cuda.get_device_properties(0).total_memory / 1e9 if CUDA else None
    shared = shutil.disk_usage("/dev/shm").total / 1e9
    say("machine", cores=CORES, gpu_gb=memory, shm_gb=shared, gcc=shutil.which("gcc"), git=shutil.which("git"))


def rates() -> None:
    """Matrix products in three precisions, and copying."""
    for name, dtype, tf32 in (
        ("bf16", torch.bfloat16, False),
        ("fp16", torch.float16, False),
        ("tf32", torch.float32, True),
        ("fp32", torch.float32, False),
    ):
        with told("matrix rate", name):
            torch.backends.cuda.matmul.allow_tf32 = tf32
            say("matrix rate", name, tflop_per_s=matrix_rate(dtype, 20 if name != "fp32" else 5) / 1e12)
    torch.backends.cuda.matmul.allow_tf32 = False
    with told("copy"):
        say(
            "copy",
            "on the device",
            gb_per_s=2 * copy_rate(torch.zeros((1 << 20) if TINY else (1 << 30), device=DEVICE)),
        )
        say(
            "copy",
            "a batch of images to the device",
            gb_per_s=copy_rate(torch.zeros(BATCH, 3, CROP, CROP, pin_memory=CUDA)),
        )


def copy_rate(source: torch.Tensor) -> float:
    """GB a second that are read from a tensor and copied to another one on the device."""
    target = torch.empty_like(source, device=DEVICE)
    taken = seconds(lambda: target.copy_(source, non_blocking=True), 10)
    return source.numel() * source.element_size() / taken / 1e9


def metric() -> None:
    """Counting the confusion matrix: labels of two classes meet in few counters, as a road's do."""
    for labels, classes in (("uniform", CLASSES), ("road", 2)):
        with told("metric", labels):
            time_metric(labels, torch.randint(0, classes, (BATCH, CROP, CROP), device=DEVICE))


def time_metric(labels: str, target: torch.Tensor) -> None:
    """A row of one kind of labels, int64 [N, H, W], with predictions that are right."""
    logits = F.one_hot(target, CLASSES).permute(0, 3, 1, 2).float()
    counted = count_confusion(logits.argmax(1), target, CLASSES, IGNORE)
    say(
        "metric",
        labels,
        ms=1e3 * seconds(lambda: count_confusion(logits.argmax(1), target, CLASSES, IGNORE), 10),
        counting_ms=1e3 * seconds(lambda: count_confusion(target, target, CLASSES, IGNORE), 10),
        right=int(counted.diagonal().sum()) == target.numel(),
    )


def upsampling() -> None:
    """The logits' way from an eighth of the size to the whole, forward and backward: torch's, and as products."""
    ways: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "interpolate": lambda x: resize_bilinear(x, (CROP, CROP)),
        "products": lambda x: resize_by_products(x, (CROP, CROP)),
    }
    for layout, memory_format in FORMATS.items():
        x = torch.randn(BATCH, CLASSES, FEATURES, FEATURES, device=DEVICE).to(memory_format=memory_format)
        x.requires_grad_()
        for name, way in ways.items():
            with told("upsampling", f"{name} {layout}"):
                time_upsampling(f"{name} {layout}", way, x, ways["interpolate"](x.detach()))


def time_upsampling(
    arm: str, way: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, expected: torch.Tensor
) -> None:
    """A row of one way in one layout."""
    result = way(x)
    gradient = torch.randn_like(result)

    def backward() -> torch.Tensor:
        return torch.autograd.grad(result, x, gradient, retain_graph=True)[0]

    say(
        "upsampling",
        arm,
        forward_ms=1e3 * seconds(lambda: way(x), 5),
        backward_ms=1e3 * seconds(backward, 5),
        same_gradient_twice=torch.equal(backward(), backward()),
        far_from_interpolate=float((result.detach() - expected).abs().max()),
    )


def loss() -> None:
    """Cross entropy of one head, forward and backward."""
    with told("cross entropy"):
        target = torch.randint(0, CLASSES, (BATCH, CROP, CROP), device=DEVICE)
        logits = torch.randn(BATCH, CLASSES, CROP, CROP, device=DEVICE, requires_grad=True)

        def step() -> None:
            torch.autograd.grad(F.cross_entropy(logits, target, ignore_index=IGNORE), logits)

        say("cross entropy", "eager", ms=1e3 * seconds(step, 5))


if __name__ == "__main__":
    machine()
    rates()
    metric()
    upsampling()
    loss()
