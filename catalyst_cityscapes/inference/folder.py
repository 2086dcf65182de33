"""Predicting a list of images into PNG files: decoding, writing and scoring run beside the network.

Threads are enough, since the decoder, OpenCV and the PNG encoder let the interpreter go.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from catalyst_cityscapes.inference import TESTERS
from catalyst_cityscapes.inference.class_maps import ClassMap
from catalyst_cityscapes.inference.predictor import MODES, Predictor, has_to_fit
from catalyst_cityscapes.inference.windows import PreparedScale
from catalyst_cityscapes.models.random_at_test import draws_at_test, streams_of_test
from semseg_ref import tester
from semseg_ref.base.errors import CheckpointError, OptionError, did_you_mean
from semseg_ref.base.files import create_folder
from semseg_ref.dataset import read_image, read_label
from semseg_ref.evaluation import Evaluation, evaluate_folder, evaluation_from_matrices, output_names, score_prediction
from semseg_ref.protocol import Protocol
from semseg_ref.tester import Progress, save_prediction, strict_fp32

# Threads that read and prepare images; a CPU's cores are the network's.
READERS = {"cpu": 1, "cuda": min(4, os.cpu_count() or 1)}
# Writing and scoring an image of 2048 x 1024 takes 49 ms of a core, which two threads do not keep up with beside a GPU.
WRITERS = {"cpu": 2, "cuda": max(2, min(8, (os.cpu_count() or 1) // 2))}


@dataclass(frozen=True)
class Labels:
    """What predictions are scored against: class names, and the label value that does not count."""

    names: Sequence[str]
    ignore_index: int = 255


@dataclass(frozen=True)
class TestRun:
    """The predictions' file names in order, their evaluation (None without labels), and how it was done."""

    names: list[str]
    evaluation: Evaluation | None
    settings: dict[str, Any]


TestRun.__test__ = False  # pytest would take it for a test


def check_tester(name: str, batch: int | None = None, precision: str = "fp32") -> None:
    """Raises OptionError for an unknown tester, or options that it does not take."""
    if name not in TESTERS:
        raise OptionError(f"tester '{name}'{did_you_mean(name, TESTERS)}")
    if name != "fast" and (batch not in (None, 1) or precision != "fp32"):
        option = f"--batch {batch}" if batch not in (None, 1) else f"--precision {precision}"
        raise OptionError(
            f"--tester {name}: {option} goes with --tester fast; this one sends one window at a time, fp32"
        )


class _Reader:
    """Prepared scales of all images in order, read ahead by threads; `ahead` scales are in memory at most."""

    def __init__(self, paths: Sequence[str], predictor: Predictor, threads: int) -> None:
        self._paths, self._predictor = paths, predictor
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="read")
        self._ahead = threads + 1

    def __iter__(self) -> Iterator[PreparedScale]:
        futures: deque[Future[PreparedScale]] = deque()
        jobs = self._jobs()
        try:
            while True:
                while len(futures) < self._ahead and (job := next(jobs, None)) is not None:
                    futures.append(self._pool.submit(job))
                if not futures:
                    return
                yield futures.popleft().result()
        finally:
            for future in futures:
                future.cancel()
            self._pool.shutdown()

    def _jobs(self) -> Iterator[Callable[[], PreparedScale]]:
        for index, path in enumerate(self._paths):
            # The first job to run waits for nobody: jobs start in this order, so the image is being read by then.
            image = self._pool.submit(read_image, path)
            for scale in range(self._predictor.scales):
                yield partial(self._prepare, image, scale, index)

    def _prepare(self, image: "Future[np.ndarray]", scale: int, index: int) -> PreparedScale:
        return self._predictor.prepare(image.result(), scale, index)


class _Writer:
    """Writes and scores predictions in threads; results come back in order, and few wait at any time."""

    def __init__(
        self,
        folders: Sequence[Path],
        names: Sequence[str],
        data_list: Sequence[tuple[str, str]],
        colors: np.ndarray,
        labels: Labels | None,
        progress: Progress | None,
        threads: int,
    ) -> None:
        self._folders, self._names, self._data_list = folders, names, data_list
        self._colors, self._labels, self._progress = colors, labels, progress
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="write")
        self._waiting: deque[Future[np.ndarray | None]] = deque()
        self._most_waiting = 2 * threads
        self.matrices: list[np.ndarray] = []
        self._done = 0

    def put(self, index: int, found: ClassMap) -> None:
        """Takes a class map's decision over; its own memory is free afterwards."""
        with has_to_fit(f"image {index + 1} of the list: the decision of its classes"):
            prediction, finite = found.decide()
        ready = None
        if prediction.device.type == "cuda":
            host = torch.empty(prediction.shape, dtype=torch.uint8, pin_memory=True)
            prediction = host.copy_(prediction, non_blocking=True)
            flag = torch.empty((), dtype=torch.bool, pin_memory=True)
            finite = flag.copy_(finite, non_blocking=True)
            ready = torch.cuda.Event()
            ready.record()
        self._waiting.append(self._pool.submit(self._write, index, prediction, finite, ready))
        while len(self._waiting) > self._most_waiting:
            self._take()

    def finish(self) -> None:
        """Waits for all files; raises the first error among them, or RuntimeError where an image never came."""
        while self._waiting:
            self._take()
        if self._done != len(self._names):
            raise RuntimeError(f"{self._done} of {len(self._names)} images were predicted")

    def close(self) -> None:
        """Lets the files under way be completed."""
        self._pool.shutdown()

    def _take(self) -> None:
        matrix = self._waiting.popleft().result()
        if matrix is not None:
            self.matrices.append(matrix)
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, len(self._names), self._names[self._done - 1])

    def _write(
        self, index: int, prediction: torch.Tensor, finite: torch.Tensor, ready: torch.cuda.Event | None
    ) -> np.ndarray | None:
        image_path, label_path = self._data_list[index]
        if ready is not None:
            ready.synchronize()
        if not finite:
            raise CheckpointError(f"{image_path}: the network's output is not finite; are its weights damaged?")
        classes = prediction.numpy()
        paths = [folder / self._names[index] for folder in self._folders]
        save_prediction(classes, self._colors, *paths)
        if self._labels is None:
            return None
        count = len(self._labels.names)
        return score_prediction(
            classes, read_label(label_path), count, self._labels.ignore_index, (paths[0], label_path)
        )


def test_images(
    model: nn.Module,
    data_list: Sequence[tuple[str, str]],
    protocol: Protocol,
    save_folder: str | Path,
    colors: np.ndarray,
    progress: Progress | None = None,  # noqa: PT028 - no test
    mode: str = MODES[0],  # noqa: PT028
    batch: int | None = None,  # noqa: PT028
    precision: str = "fp32",  # noqa: PT028
    labels: Labels | None = None,  # noqa: PT028
    report: Callable[[str], None] | None = None,  # noqa: PT028
    seed: int | None = None,  # noqa: PT028
) -> TestRun:
    """Predicts a list of images into `<save_folder>/gray` and `<save_folder>/color`, and scores them on the way.

    Files as `semseg_ref.tester.test_images` writes them: of the same bytes on a CPU with the tester `exact`.

    Args:
        model, data_list, protocol, save_folder, colors, progress: see there; labels are read when `labels` is given.
        mode: a tester: `reference` (the control arm's own function), `exact` or `fast`, see `Predictor`.
        batch, precision: see `Predictor`.
        labels: score the predictions.
        report: gets one line on memory and batch after the first image, and another when a batch was halved; before
            the first one a line that the network draws random numbers, where it does.
        seed: root of these draws, which are a function of it and of the image's place in the list; None is 0.

    Raises:
        DataError: an unreadable image or label, or two images of one name.
        OptionError: the network has more classes than there are colours; the tester `reference` for a network that
            draws at test; see also `check_tester`.
        CheckpointError: the network's output is not finite.
        InputError: one window does not fit into the GPU's memory.
    """
    check_tester(mode, batch, precision)
    draws = streams_of_test(seed)
    if draws_at_test(model):
        if mode == "reference":
            raise OptionError(
                "--tester reference: this network draws random numbers at test, and the reference's tester leaves them "
                "to what ran before; expected exact or fast"
            )
        if report is not None:
            report(
                f"this network draws random numbers in every forward, at test too: here from seed {draws.root} and the "
                "image's place in the list, so that the test repeats; another seed gives another score"
            )
    if mode == "reference":
        return _control_run(model, data_list, protocol, Path(save_folder), colors, progress, labels)
    names = output_names(data_list)
    folders = [create_folder(Path(save_folder) / kind) for kind in ("gray", "color")]
    predictor = Predictor(model, protocol, mode, batch, precision, draws=draws)
    told = -1
    with strict_fp32():
        writer = _Writer(folders, names, data_list, colors, labels, progress, WRITERS[predictor.device.type])
        reader = iter(_Reader([image for image, _ in data_list], predictor, READERS[predictor.device.type]))
        maps = predictor.run(reader)
        try:
            for index, found in maps:
                if found.classes > len(colors):
                    raise OptionError(f"the network has {found.classes} classes, but there are {len(colors)} colours")
                writer.put(index, found)
                if report is not None and predictor.halvings > told:
                    report(predictor.describe())
                    told = predictor.halvings
            writer.finish()
        finally:
            maps.close()
            reader.close()
            writer.close()
    evaluation = None
    if labels is not None:
        evaluation = evaluation_from_matrices(np.stack(writer.matrices), names, labels.names)
    settings: dict[str, Any] = {"name": mode, "batch": predictor.batch, "precision": precision}
    if predictor.draws is not None:
        settings["seed_of_draws"] = draws.root
    return TestRun(names, evaluation, settings)


test_images.__test__ = False  # pytest would take the imported name for a test


def _control_run(
    model: nn.Module,
    data_list: Sequence[tuple[str, str]],
    protocol: Protocol,
    folder: Path,
    colors: np.ndarray,
    progress: Progress | None,
    labels: Labels | None,
) -> TestRun:
    names = tester.test_images(model, data_list, protocol, folder, colors, progress)
    evaluation = None
    if labels is not None:
        count = len(labels.names)
        evaluation = evaluate_folder(folder / "gray", data_list, count, labels.names, labels.ignore_index)
    return TestRun(names, evaluation, {"name": "reference", "batch": 1, "precision": "fp32"})
