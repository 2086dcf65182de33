"""Fixtures of the training tests: a toy city, one thread, a working directory of one's own."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest
import torch

from catalyst_cityscapes.toy_city import build_toy_city
from support.golden.inputs import GOLDEN_THREADS
from support.runs.toy import remove_checkpoints

pytest_plugins = ["support.surroundings", "support.weight_files"]


SLOW_TEST = 40
"""So many other tests take as long as one that is marked slow, roughly."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The modules that take longest come first, so that no worker ends up alone with one of them."""
    weights = Counter()
    for item in items:
        weights[item.path] += SLOW_TEST if item.get_closest_marker("slow") else 1
    items.sort(key=lambda item: -weights[item.path])


@pytest.fixture(scope="session")
def toy_city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a toy city: 5 training, 3 validation and 1 test scene of 64 x 96 pixels. Read only."""
    return build_toy_city(tmp_path_factory.mktemp("data") / "toy_city", train=5, val=3, test=1, height=64, width=96)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Threads of torch, which sums by thread, so that more of them move the last bits; OpenCV gets one."""
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(number)
    cv2.setNumThreads(0)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMP_NUM_THREADS", str(number))
            yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv_threads)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread in torch and OpenCV, for the claims about bits; also in child processes."""
    with _threads(1):
        yield


@pytest.fixture(scope="module")
def one_thread_module() -> Iterator[None]:
    """The same for a module whose fixtures train."""
    with _threads(1):
        yield


@pytest.fixture(scope="module")
def golden_threads() -> Iterator[None]:
    """As many threads as the golden files are compared with."""
    with _threads(GOLDEN_THREADS):
        yield


@pytest.fixture
def bf16_on_any_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a bf16 training start where the processor would have to emulate it: slow, but tests are small."""
    monkeypatch.setattr("catalyst_cityscapes.train.engine.cpu_has_bf16", lambda: True)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of one test; its checkpoints are removed afterwards."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    remove_checkpoints(tmp_path)
