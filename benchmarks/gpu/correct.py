"""Part `correct`: logits against float64, and which runs end with the same bits."""

import json
import tempfile
from pathlib import Path

import torch

from catalyst_cityscapes.models.acceleration import FORMATS
from gpu.place import CUDA, DEVICE, TINY, WORK, say, told
from gpu.trainings import CONFIGS, DETERMINISTIC, EPOCHS, catalyst, checkpoint, control, difference, toy_recipe
from semseg_ref.model.pspnet import PSPNet

PRECISIONS = ("bf16",) if TINY else ("bf16", "fp16", "tf32")
FAST = ("engine.memory_format=channels_last", "optimizer.fused=true", "callbacks.gradient_step.clip_norm=10.0")


@torch.no_grad()
def logits() -> None:
    """Of PSPNet-50 with random weights, in each arithmetic, against float64 on the CPU."""
    torch.manual_seed(0)
    network = PSPNet(layers=50, classes=19, pretrained=False).eval()
    image = torch.randn(1 if TINY else 2, 3, *((33, 33) if TINY else (185, 185)))
    expected = network.double()(image.double())
    network = network.float().to(DEVICE)
    for arm, layout, dtype, tf32 in (
        ("fp32", "contiguous", None, False),
        ("fp32 channels_last", "channels_last", None, False),
        ("tf32 channels_last", "channels_last", None, True),
        ("bf16 channels_last", "channels_last", torch.bfloat16, False),
        ("fp16 channels_last", "channels_last", torch.float16, False),
    ):
        if arm.startswith("fp16") and not CUDA:
            continue
        with told("logits against float64", arm):
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
            network.to(memory_format=FORMATS[layout])
            with torch.autocast(DEVICE.type, dtype or torch.bfloat16, enabled=dtype is not None):
                found = network(image.to(DEVICE).to(memory_format=FORMATS[layout]))
            gap = (found.double().cpu() - expected).abs()
            say(
                "logits against float64",
                arm,
                largest=float(gap.max()),
                largest_relative=float(gap.max() / expected.abs().max()),
                norm_relative=float(gap.norm() / expected.norm()),
                same_class=float((found.cpu().argmax(1) == expected.argmax(1)).float().mean()),
            )
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def bits(base: Path) -> None:
    """Float32, deterministic: Catalyst = control, resumed = uninterrupted, twice the same; and without being asked."""
    with told("same bits, deterministic"):
        catalyst(toy_recipe(base / "a", *DETERMINISTIC))
        with told("catalyst = control, deterministic"):
            found = control(toy_recipe(base / "control", *DETERMINISTIC))
            say("catalyst = control, deterministic", **difference(checkpoint(base / "a"), found))
        with told("resumed = uninterrupted, deterministic"):
            catalyst(toy_recipe(base / "resumed", *DETERMINISTIC), checkpoint(base / "a", 1))
            same = difference(checkpoint(base / "a"), checkpoint(base / "resumed"))
            say("resumed = uninterrupted, deterministic", **same)
        if TINY:
            return
        with told("the same run twice, deterministic"):
            catalyst(toy_recipe(base / "b", *DETERMINISTIC))
            say("the same run twice, deterministic", **difference(checkpoint(base / "a"), checkpoint(base / "b")))
    with told("the same run twice"):
        for name in ("free", "free again"):
            catalyst(toy_recipe(base / name))
        say("the same run twice", **difference(checkpoint(base / "free"), checkpoint(base / "free again")))
        say("operations without a deterministic form", ledger=_ledger(base / "free"))
    with told("resumed = uninterrupted, resizes as products"):
        # With these and a seed, no operation is left that adds up in any order.
        products = ("engine.resize=products",)
        catalyst(toy_recipe(base / "products", *products))
        catalyst(toy_recipe(base / "products resumed", *products), checkpoint(base / "products", 1))
        same = difference(checkpoint(base / "products"), checkpoint(base / "products resumed"))
        say("resumed = uninterrupted, resizes as products", **same)


def _ledger(folder: Path) -> dict:
    return json.loads((folder / "determinism.json").read_text())


def precisions(base: Path) -> None:
    """The engine's other arithmetics train, save their scaler and resume; fused, clipped, channels_last."""
    for name in PRECISIONS:
        if name == "fp16" and not CUDA:
            continue
        what = "trained and resumed, channels_last, fused, clipped, deterministic"
        with told(what, name):
            settings = (f"engine.precision={name}", *FAST, *DETERMINISTIC)
            runner = catalyst(toy_recipe(base / name, *settings, configs=CONFIGS))
            catalyst(toy_recipe(base / f"{name} resumed", *settings, configs=CONFIGS), checkpoint(base / name, 1))
            scaler = runner.engine.scaler
            say(
                what,
                name,
                loss=float(runner.experiment_metrics[EPOCHS]["train"]["loss"]),
                loss_scale=None if scaler is None else scaler.get_scale(),
                **difference(checkpoint(base / name), checkpoint(base / f"{name} resumed")),
            )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        logits()
        bits(Path(folder))
        precisions(Path(folder))
