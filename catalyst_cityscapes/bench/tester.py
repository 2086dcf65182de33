"""How fast the tester is: against the control arm, and how its cost and its memory grow."""

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from catalyst_cityscapes.bench import TESTER_PARTS
from catalyst_cityscapes.bench.repeats import Row, interleaved, timed
from catalyst_cityscapes.inference.folder import test_images
from catalyst_cityscapes.inference.predictor import Predictor
from catalyst_cityscapes.models.acceleration import FORMATS
from semseg_ref import tester as control
from semseg_ref.model.pspnet import PSPNet
from semseg_ref.protocol import MULTI_SCALES, Protocol, window_positions

SIZE, CROP = (1024, 2048), 713
SMALL_SIZE, SMALL_CROP = (512, 1024), 353
CPU_NETWORK_ARMS = (
    ("exact", "fp32", "contiguous"),
    ("fast", "fp32", "contiguous"),
    ("fast", "fp32", "channels_last"),
)
NETWORK_ARMS = (
    *CPU_NETWORK_ARMS,
    ("fast", "tf32", "contiguous"),
    ("fast", "tf32", "channels_last"),
    ("fast", "bf16", "contiguous"),
    ("fast", "bf16", "channels_last"),
    ("fast", "fp16", "channels_last"),
)
"""(tester, precision, memory format) of what is timed with a network."""
COLORS = np.arange(450, dtype=np.uint32).astype(np.uint8).reshape(150, 3)


class StandIn(nn.Module):
    """Costs nothing: the same random logits for every window, so that only what surrounds a network is measured."""

    def __init__(self, classes: int, crop: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("logits", 4 * torch.randn(2, classes, crop, crop, generator=generator))
        self.place = nn.Parameter(torch.zeros(()))
        self._large: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float [N, 3, crop, crop] -> float [N, K, crop, crop]."""
        if len(x) <= 2:
            return self.logits[: len(x)]
        if self._large is None or len(self._large) < len(x):
            self._large = self.logits.repeat(-(-len(x) // 2), 1, 1, 1)
        return self._large[: len(x)]


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def scene(seed: int, height: int, width: int) -> np.ndarray:
    """A smooth random picture, uint8 [height, width, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 32 + 1, width // 32 + 1, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def control_classes(model: nn.Module, image: np.ndarray, protocol: Protocol) -> np.ndarray:
    """What the control arm does with an image between decoding and writing."""
    with control.strict_fp32():
        probabilities = control.predict(model, image, protocol)
    assert np.isfinite(probabilities).all()
    return control.decide(probabilities)


def our_classes(predictor: Predictor, image: np.ndarray) -> np.ndarray:
    """The same of ours."""
    with control.strict_fp32():
        found = predictor.predict(image)
        prediction, finite = found.decide()
        assert finite
        found.release()
    return prediction.cpu().numpy()


def compare_maps(
    model: nn.Module,
    image: np.ndarray,
    protocol: Protocol,
    mode: str,
    repeats: int,
    predictor: Predictor | None = None,
) -> Row:
    """Times one image from pixels to classes, in memory; by a predictor of `mode`, or the given one."""
    predictor = predictor or Predictor(model, protocol, mode)
    expected, found = control_classes(model, image, protocol), our_classes(predictor, image)
    agreement = round(float((expected == found).mean()), 6)
    measured = interleaved(
        lambda: control_classes(model, image, protocol), lambda: our_classes(predictor, image), repeats
    )
    return {**_about(image.shape, protocol), "tester": mode, "agreement": agreement, **measured.row()}


def compare_files(
    model: nn.Module, size: tuple[int, int], protocol: Protocol, images: int, mode: str, repeats: int
) -> Row:
    """Times a list of images from PNG to PNG."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = _write_scenes(folder, size, images)

        def ours() -> object:
            return test_images(model, pairs, protocol, folder / "ours", COLORS, mode=mode)

        def controls() -> object:
            return control.test_images(model, pairs, protocol, folder / "control", COLORS)

        measured = interleaved(controls, ours, repeats)
        same = all(
            (folder / "ours" / path.relative_to(folder / "control")).read_bytes() == path.read_bytes()
            for path in (folder / "control").rglob("*.png")
        )
    return {**_about(size, protocol), "images": images, "tester": mode, "same_files": same, **measured.row()}


def outside_the_network(repeats: int) -> Iterator[Row]:
    """One 2048 x 1024 image, 19 classes, with a network that costs nothing."""
    model, image = StandIn(19, CROP).to(device()), scene(0, *SIZE)
    for mode in ("exact", "fast"):
        yield {"what": "outside the network", **compare_maps(model, image, Protocol((CROP, CROP), 2048), mode, repeats)}
    yield {
        "what": "outside the network, with files",
        **compare_files(model, SIZE, Protocol((CROP, CROP), 2048), 4, "exact", max(repeats // 2, 1)),
    }
    small = StandIn(19, SMALL_CROP).to(device())
    protocol = Protocol((SMALL_CROP, SMALL_CROP), SMALL_SIZE[1], MULTI_SCALES)
    for mode in ("exact", "fast"):
        row = compare_maps(small, scene(0, *SMALL_SIZE), protocol, mode, repeats)
        yield {"what": "outside the network, six scales", **row}


def forward_seconds(predictor: Predictor, size: tuple[int, int], repeats: int) -> float:
    """Median seconds of the forward passes of one image at scale 1, in the predictor's batches: no tester that sends
    the same batches can be faster."""
    protocol = predictor.protocol
    windows = len(window_positions(*size, protocol.crop, protocol.stride_rate))
    counts = [min(predictor.batch, windows - done) for done in range(0, windows, predictor.batch)]
    views = 2 if protocol.flip else 1
    batches = [torch.rand(views * count, 3, *protocol.crop, device=predictor.device) for count in counts]

    @torch.no_grad()
    def forward() -> None:
        for batch in batches:
            predictor.model(batch)

    # As the predictor runs it: its copy of the network, its layout and its precision.
    if not predictor.is_prepared:
        our_classes(predictor, scene(0, *size))
    batches = [batch.contiguous(memory_format=FORMATS[predictor.memory_format]) for batch in batches]
    with control.strict_fp32(), predictor.arithmetic():
        return float(np.median([timed(forward)[0] for _ in range(repeats + 1)][1:]))


def with_network(repeats: int) -> Iterator[Row]:
    """PSPNet-50: on a GPU an image of Cityscapes' size, else a small one; the forward passes alone are the bound."""
    torch.manual_seed(0)
    model = PSPNet(layers=50, classes=19, pretrained=False).to(device()).eval()
    crop, size = (CROP, SIZE) if torch.cuda.is_available() else (177, (177, 353))
    protocol = Protocol((crop, crop), size[1])
    for mode, precision, memory_format in NETWORK_ARMS if torch.cuda.is_available() else CPU_NETWORK_ARMS:
        predictor = Predictor(model, protocol, mode, precision=precision, memory_format=memory_format)
        row = compare_maps(model, scene(0, *size), protocol, mode, repeats, predictor)
        bound = forward_seconds(predictor, size, repeats)
        share = {"forward_s": round(bound, 4), "share_of_bound": round(bound / row["ours_s"], 4)}
        arm = {"precision": precision, "memory_format": memory_format}
        yield {"what": "with PSPNet-50", **row, **arm, **share}


def curves(repeats: int) -> Iterator[Row]:
    """Seconds of `exact` outside the network as one quantity grows, per unit of it."""
    height, width = SMALL_SIZE
    once = Protocol((SMALL_CROP, SMALL_CROP), width)

    def measure(what: str, amount: float, classes: int, image: np.ndarray, protocol: Protocol, images: int = 1) -> Row:
        predictor = Predictor(StandIn(classes, protocol.crop[0]).to(device()), protocol)

        def work() -> None:
            for _ in range(images):
                our_classes(predictor, image)

        work()
        times = np.array([timed(work) for _ in range(repeats)])
        wall, cpu = np.median(times, axis=0)
        return {
            "what": f"curve: {what}",
            **_about(image.shape, protocol),
            "classes": classes,
            "images": images,
            "amount": round(amount, 4),
            "ours_s": round(float(wall), 4),
            "ours_cpu_s": round(float(cpu), 4),
            "cpu_s_per_unit": round(float(cpu) / amount, 4),
        }

    for images in (1, 2, 4, 8):
        yield measure("images", images, 19, scene(0, height, width), once, images)
    for classes in (19, 38, 76, 150):
        yield measure("classes", classes, classes, scene(0, height, width), once)
    for count in range(1, 7):
        # Six scales of nearly one size, so that each adds the same work.
        scales = tuple(1 - 0.001 * k for k in range(1, count + 1))
        protocol = Protocol(once.crop, width, scales)
        yield measure("scales", count, 19, scene(0, height, width), protocol)
    for factor in (1, 2, 4):
        # The long side grows by whole strides, so that the number of windows does as well.
        wide = SMALL_CROP + (factor * 4 - 1) * 236
        yield measure("windows", 4 * factor, 19, scene(0, SMALL_CROP, wide), Protocol(once.crop, wide))


def peak_memory(images: int, mode: str) -> int:
    """Bytes by which testing so many images, PNG to PNG, raises a fresh process's peak memory."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak_of_this_process, (images, mode))


def _peak_of_this_process(images: int, mode: str) -> int:
    torch.set_num_threads(1)
    model = StandIn(19, SMALL_CROP)
    protocol = Protocol((SMALL_CROP, SMALL_CROP), SMALL_SIZE[1])
    with tempfile.TemporaryDirectory() as name:
        pairs = _write_scenes(Path(name), SMALL_SIZE, images)
        before = _memory_of_this_process("VmRSS")
        if mode == "reference":
            control.test_images(model, pairs, protocol, Path(name) / "out", COLORS)
        else:
            test_images(model, pairs, protocol, Path(name) / "out", COLORS, mode=mode)
        return _memory_of_this_process("VmHWM") - before


def _memory_of_this_process(name: str) -> int:
    """Bytes: VmRSS is the memory in use, VmHWM its peak. Linux only; `getrusage` would count the parent's peak too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status: no {name}")


def memory() -> Iterator[Row]:
    """Peak memory against the number of images."""
    for mode in ("reference", "exact", "fast"):
        for images in (1, 4, 16):
            megabytes = round(peak_memory(images, mode) / 2**20, 1)
            yield {"what": "peak memory", "tester": mode, "images": images, "peak_mib": megabytes}


PARTS: Mapping[str, Callable[[int], Iterator[Row]]] = dict(
    zip(TESTER_PARTS, (outside_the_network, with_network, curves, lambda repeats: memory()), strict=True)
)


def _about(shape: tuple[int, ...], protocol: Protocol) -> Row:
    return {
        "height": shape[0],
        "width": shape[1],
        "crop": protocol.crop[0],
        "scales": len(protocol.scales),
        "threads": torch.get_num_threads(),
    }


def _write_scenes(folder: Path, size: tuple[int, int], images: int) -> list[tuple[str, str]]:
    pairs = []
    for index in range(images):
        path = folder / f"scene{index}.png"
        cv2.imwrite(str(path), scene(index, *size))
        pairs.append((str(path), str(path)))
    return pairs
