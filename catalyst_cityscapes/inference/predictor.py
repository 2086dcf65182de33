"""The network's part of a test: batches of windows in, class maps out, image after image in the list's order."""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np
import torch
from torch import nn
from torch.backends import cudnn

from catalyst_cityscapes.inference import MODES, PRECISIONS
from catalyst_cityscapes.inference.buffers import BufferPool
from catalyst_cityscapes.inference.class_maps import ClassMap, DeviceMap, HostMap, OneScaleMap
from catalyst_cityscapes.inference.fast_network import fast_network
from catalyst_cityscapes.inference.geometry import views
from catalyst_cityscapes.inference.view_map import ViewMap
from catalyst_cityscapes.inference.window_sum import WindowSum
from catalyst_cityscapes.inference.windows import PreparedScale, check_image, prepare_scale
from catalyst_cityscapes.models.acceleration import FORMATS, MemoryFormat
from catalyst_cityscapes.models.outputs import align_corners_of, check_sides, outputs_of
from catalyst_cityscapes.models.random_at_test import draws_at_test, seeded_draws
from semseg_ref.base.errors import InputError, OptionError, did_you_mean
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.protocol import WHOLE_IMAGE, Protocol
from semseg_ref.tester import evaluation_mode, network_device

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
FAST_BATCH = {"cpu": 1, "cuda": 8}


@contextmanager
def has_to_fit(what: str) -> Iterator[None]:
    """Turns lack of memory, where no smaller batch can be tried in its place, into an error that says what to do.

    Args:
        what: does not fit into the memory.

    Raises:
        InputError: the block ran out of the GPU's memory.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"{what} does not fit into the GPU's memory; take fewer windows at once (--tester fast --batch 1), or "
            "--device cpu"
        ) from error


@dataclass
class _Image:
    """An image whose windows are not all through the network yet."""

    index: int
    size: tuple[int, int]
    remaining: int
    sums: dict[int, WindowSum] = field(default_factory=dict)
    probabilities: ClassMap | None = None


@dataclass
class _Window:
    """A window that waits for its batch."""

    image: _Image
    scale: PreparedScale
    position: tuple[int, int, int, int]
    number: int


class Predictor:
    """Sliding windows in batches.

    `exact` gives the network what the control arm gives it, one window and its mirror image at a time, sums in float64
    in the control arm's order, and has its bits on a CPU (for the same number of threads). Under a protocol that
    averages logits it sums in float32, as mmsegmentation does, and has that one's bits.
    `fast` gives a copy of the network many windows at once, also of several images, and sums in float32. In the copy,
    which is made of the first window's weights, batch norm is folded into the convolutions.

    Args:
        model: gives `models.outputs.Outputs`, of which the main logits count, and says whether these are resized to
            the window with aligned corners; its parameters' device is used.
        protocol: how to test; any that `Protocol` can say.
        mode: `exact` or `fast`.
        batch: windows at once, each with its mirror image where the protocol flips windows; default 1 on a CPU, 8 on a
            GPU. A batch that does not fit into a GPU's memory is halved for the rest of the run.
        precision: of `fast` on a GPU: fp32, tf32, bf16 or fp16. The last two are autocast's.
        memory_format: of `fast`; default channels-last on a GPU where tensor cores compute, which is all but fp32.
        draws: of a network that draws at test: what a window draws follows from its image's place in the list, its view
            and its own number, whatever else is in the batch. None leaves them to torch's generators as they are.

    Raises:
        OptionError: windows of a size that the network does not take; unknown mode or precision; `exact` with a batch
            or with another precision than fp32.
    """

    def __init__(
        self,
        model: nn.Module,
        protocol: Protocol,
        mode: str = MODES[0],
        batch: int | None = None,
        precision: str = "fp32",
        memory_format: MemoryFormat | None = None,
        draws: SeedStreams | None = None,
    ) -> None:
        if mode not in MODES:
            raise OptionError(f"tester '{mode}'{did_you_mean(mode, MODES)}")
        if precision not in PRECISIONS:
            raise OptionError(f"precision '{precision}'{did_you_mean(precision, PRECISIONS)}")
        if mode == "exact" and (batch not in (None, 1) or precision != "fp32"):
            given = f"batch {batch}" if batch not in (None, 1) else f"precision {precision}"
            raise OptionError(f"tester exact: {given}: its windows go through the network one by one in fp32; use fast")
        if batch is not None and batch < 1:
            raise OptionError(f"batch {batch}: expected a positive whole number of windows")
        if protocol.crop != WHOLE_IMAGE:
            check_sides(model, protocol.crop, "protocol.crop")
        self.model, self.protocol, self.mode, self.precision = model, protocol, mode, precision
        self.align_corners = align_corners_of(model)
        self.draws = draws if draws_at_test(model) else None
        self.device = network_device(model)
        self.batch = (batch or FAST_BATCH[self.device.type]) if mode == "fast" else 1
        by_default = "channels_last" if self.device.type == "cuda" and precision != "fp32" else "contiguous"
        self.memory_format: MemoryFormat = (memory_format or by_default) if mode == "fast" else "contiguous"
        self.is_prepared = mode == "exact"
        self.scales = len(views(protocol))
        # The control arm sums probabilities in float64. Who sums logits does so in float32.
        self.dtype = torch.float64 if mode == "exact" and protocol.softmax == "window" else torch.float32
        self.halvings = 0
        self.pool = BufferPool(self.device)
        self.pixel_pool = BufferPool(torch.device("cpu"))
        self._waiting: deque[_Window] = deque()
        self._images: deque[_Image] = deque()

    def prepare(self, image: np.ndarray, scale: int, index: int = 0) -> PreparedScale:
        """`prepare_scale` in memory that `run` takes back; safe in other threads."""
        if self.device.type != "cpu":
            return prepare_scale(image, self.protocol, scale, index)
        return prepare_scale(
            image, self.protocol, scale, index, lambda shape: self.pixel_pool.take(shape, torch.float32)
        )

    def predict(self, image: np.ndarray, index: int = 0) -> ClassMap:
        """The class map of one image; call its `release` when done.

        Args:
            image: uint8 or float32 [H, W, 3], RGB 0..255.
            index: its place in its list, counted from 0.

        Raises:
            ValueError: the image has another shape.
        """
        image = check_image(image)
        scales = (self.prepare(image, number, index) for number in range(self.scales))
        # Not a plain `next`: the generator has to reach its end to restore the network's mode.
        (found,) = self.run(scales, release=False)
        return found[1]

    def run(self, scales: Iterable[PreparedScale], release: bool = True) -> Iterator[tuple[int, ClassMap]]:
        """Predicts all images whose scales come in.

        The network runs in eval mode; afterwards its modules have their own modes again. When `scales` raises an
        InputError, the images that were complete before it are still yielded.

        Args:
            scales: every image's scales, in order.
            release: give a map's memory back as soon as the next one is asked for.

        Yields:
            (index of the image, its class map).
        """
        with evaluation_mode(self.model):
            yield from self._run(scales, release)

    def _run(self, scales: Iterable[PreparedScale], release: bool) -> Iterator[tuple[int, ClassMap]]:
        failure: InputError | None = None
        iterator = iter(scales)
        try:
            while True:
                try:
                    scale = next(iterator, None)
                except InputError as error:
                    failure, scale = error, None
                if scale is None:
                    break
                self._enqueue(scale)
                while len(self._waiting) >= self.batch:
                    self._forward(self.batch)
                    yield from self._finished(release)
            while self._waiting:
                self._forward(self.batch)
                yield from self._finished(release)
            if failure is not None:
                raise failure
            if self._images:
                raise RuntimeError(
                    f"image {self._images[0].index}: all windows are through, but its map is not complete"
                )
        finally:
            # Nothing of a run that was given up gets into the next one.
            self._waiting.clear()
            self._images.clear()

    def _enqueue(self, scale: PreparedScale) -> None:
        height, width = _sides(scale.windows[0])
        if (height, width) != self.protocol.crop:
            check_sides(
                self.model, (height, width), f"protocol: image {scale.image + 1}: a window of {height} x {width}"
            )
        if scale.scale == 0:
            self._images.append(_Image(scale.image, scale.size, scale.scales))
        image = self._images[-1]
        if self.device.type != "cpu":
            with has_to_fit(f"image {scale.image + 1} of the list"):
                scale.pixels = scale.pixels.to(self.device, non_blocking=True)
        self._waiting.extend(_Window(image, scale, position, k) for k, position in enumerate(scale.windows))

    @torch.no_grad()
    def _forward(self, count: int) -> None:
        """Sends the first `count` waiting windows through the network; halves the batch where memory runs out in it.

        A window that is in its image's sum has left the queue, so only the rest is tried again.
        """
        while count := min(count, len(self._waiting)):
            try:
                self._step(count)
                return
            except torch.OutOfMemoryError as error:
                if count == 1:
                    sides = " x ".join(map(str, _sides(self._waiting[0].position)))
                    raise InputError(f"--batch 1: one window of {sides} does not fit into the GPU's memory") from error
                count = self.batch = max(count // 2, 1)
                self.halvings += 1
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _step(self, count: int) -> None:
        windows = [self._waiting[index] for index in range(count)]
        sides = _sides(windows[0].position)
        # Images of several sizes may have windows of several sizes, which do not go into one batch.
        windows = list(takewhile(lambda window: _sides(window.position) == sides, windows))
        crops = [window.scale.pixels[(slice(None), *_area(window.position))] for window in windows]
        flip = self.flips_windows
        batch = torch.stack([view for crop in crops for view in ((crop, crop.flip(2)) if flip else (crop,))])
        if not self.is_prepared:
            self.model = fast_network(self.model, batch[:1], self.memory_format)
            self.is_prepared = True
        batch = batch.contiguous(memory_format=FORMATS[self.memory_format])
        each = 2 if flip else 1
        with self.arithmetic():
            if self.draws is None:
                logits = outputs_of(self.model(batch))[0]
            else:
                logits = torch.cat(list(map(self._drawn, batch.split(each), windows)))
        del batch
        for index, window in enumerate(windows):
            self._sum_of(window, logits.shape[1]).add(logits[index * each : (index + 1) * each], window.position)
            self._waiting.popleft()
            self._done(window)

    def _drawn(self, views: torch.Tensor, window: _Window) -> torch.Tensor:
        """The logits of one window, and of its mirror image if that is there, drawn for where the window stands."""
        assert self.draws is not None
        position = (window.image.index, window.scale.scale, window.number)
        with seeded_draws(self.model, self.draws.seed("test", *position)):
            return outputs_of(self.model(views))[0]

    def _sum_of(self, window: _Window, classes: int) -> WindowSum:
        sums, number = window.image.sums, window.scale.scale
        if number not in sums:
            softmax = self.protocol.softmax == "window"
            sums[number] = WindowSum(window.scale, classes, self.dtype, self.pool, self.align_corners, softmax)
        return sums[number]

    def _done(self, window: _Window) -> None:
        image, scale = window.image, window.scale
        total = image.sums[scale.scale]
        total.remaining -= 1
        if total.remaining:
            return
        if self.device.type == "cpu":
            self.pixel_pool.give(scale.pixels)
        if image.probabilities is None:
            image.probabilities = self._new_map(image, scale, total.classes)
        # Not tried again: the window has left the queue, and some of its scale may be in the map already.
        with has_to_fit(f"image {image.index + 1} of the list: its class map of {total.classes} x {image.size}"):
            image.probabilities.add(total)
        del image.sums[scale.scale]
        image.remaining -= 1

    def _new_map(self, image: _Image, scale: PreparedScale, classes: int) -> ClassMap:
        arguments = (image.size, classes, scale.scales, self.pool)
        protocol = self.protocol
        # The softmax at the end of a single view that is not resized is the only thing missing in its sums.
        if scale.scales == 1 and scale.region[2:] == image.size and protocol.softmax != "view":
            return OneScaleMap(*arguments)
        if protocol.softmax != "window" or protocol.mirrored == "image" or protocol.resize_back != "bilinear":
            return ViewMap(*arguments, protocol.resize_back, softmax=protocol.softmax == "view")
        if self.device.type == "cpu":
            return HostMap(*arguments)
        return DeviceMap(*arguments, exact=self.mode == "exact")

    def _finished(self, release: bool) -> Iterator[tuple[int, ClassMap]]:
        while self._images and not self._images[0].remaining:
            image = self._images.popleft()
            assert image.probabilities is not None
            yield image.index, image.probabilities
            if release:
                image.probabilities.release()

    @property
    def flips_windows(self) -> bool:
        """Whether each window goes through the network together with its mirror image."""
        return self.protocol.flip and self.protocol.mirrored == "window"

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Inside the block the network computes in the predictor's precision."""
        dtype = AUTOCAST.get(self.precision)
        tf32, matmul = cudnn.allow_tf32, torch.backends.cuda.matmul
        before = tf32, matmul.allow_tf32
        if self.precision == "tf32":
            cudnn.allow_tf32, matmul.allow_tf32 = True, True
        try:
            with torch.autocast(self.device.type, dtype) if dtype is not None else nullcontext():
                yield
        finally:
            cudnn.allow_tf32, matmul.allow_tf32 = before

    def describe(self) -> str:
        """One line: mode, batch, memory of the sums and maps so far."""
        mirrored = " and its mirror image" if self.flips_windows else ""
        windows = f"{self.batch} window{'s' if self.batch > 1 else ''}"
        drawn = " (one by one, as the network draws)" if self.draws is not None and self.batch > 1 else ""
        halved = f", halved {self.halvings} times for lack of memory" if self.halvings else ""
        return (
            f"tester {self.mode}: {windows}{mirrored} at once{drawn}{halved}, {self.precision}; sums and maps in "
            f"{str(self.dtype).removeprefix('torch.')}, {self.pool.allocated_bytes / 2**20:.0f} MiB on "
            f"{self.device.type}, whatever the number of images"
        )


def _sides(position: tuple[int, int, int, int]) -> tuple[int, int]:
    top, bottom, left, right = position
    return bottom - top, right - left


def _area(position: tuple[int, int, int, int]) -> tuple[slice, slice]:
    top, bottom, left, right = position
    return slice(top, bottom), slice(left, right)
