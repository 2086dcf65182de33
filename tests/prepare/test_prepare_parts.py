"""The preparation's parts: label PNGs, files that are whole or absent, work in several processes."""

import multiprocessing
import os
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from catalyst_cityscapes.prepare import files
from catalyst_cityscapes.prepare.label_image import decode_indices, encode_png, image_size, values_of
from semseg_ref.base.errors import DataError, InputError
from semseg_ref.base.parallel import run_parallel, silent
from support.places import PROJECT


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (64, 96)])
@pytest.mark.parametrize("kind", ["noise", "flat", "stripes"])
def test_every_decoder_gives_the_label_back(tmp_path, shape, kind):
    noise = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    label = {"noise": noise, "flat": np.full(shape, 255, np.uint8), "stripes": np.sort(noise, axis=0)}[kind]
    content = encode_png(label)
    path = tmp_path / "label.png"
    path.write_bytes(content)
    np.testing.assert_array_equal(decode_indices(content, path), label)
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), label)
    with Image.open(path) as image:
        assert image.mode == "L"
        image.verify()
    assert image_size(path) == shape
    assert encode_png(label.copy()) == content
    assert values_of(label) == np.unique(label).tolist()


def test_image_sizes_and_damaged_images(tmp_path):
    path = tmp_path / "image.jpg"
    Image.new("RGB", (30, 20)).save(path)
    assert image_size(path) == (20, 30)
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match="not an image file"):
        image_size(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="not an image file"):
        image_size(path)
    with pytest.raises(DataError, match="No such file"):
        image_size(tmp_path / "none.png")


def test_a_draft_never_stands_under_the_name(tmp_path, monkeypatch):
    target = tmp_path / "a" / "label.png"

    def fail(*_: object) -> None:
        raise OSError("disk")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", fail)
        with pytest.raises(OSError, match="disk"):
            files.write_file(target, b"content")
    assert not list(target.parent.iterdir())
    files.write_file(target, b"content")
    assert target.read_bytes() == b"content"


def test_placing_links_or_copies(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.write_bytes(b"image")
    assert files.place_file(source, tmp_path / "linked")
    assert (tmp_path / "linked").samefile(source)
    assert not files.place_file(source, tmp_path / "linked")

    def cross_device(*_: object) -> None:
        raise OSError("cross-device link")

    monkeypatch.setattr(files.os, "link", cross_device)
    assert files.place_file(source, tmp_path / "copied")
    assert (tmp_path / "copied").read_bytes() == b"image"
    assert not (tmp_path / "copied").samefile(source)
    with pytest.raises(DataError, match="cannot be put at"):
        files.place_file(tmp_path / "none", tmp_path / "x")


def square(value: int) -> int:
    if value == 7:
        raise DataError("seven.png: cannot be used")
    return value * value


def die(value: int) -> int:
    # Only in a worker: with a broken `run_parallel` the test itself must not die.
    if multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


@pytest.mark.parametrize("workers", [1, 2])
def test_all_results_with_progress(workers):
    calls = []
    tasks = [8, 1, 2, 3, 4, 5]
    results = dict(run_parallel(square, tasks, workers, "squares", lambda *call: calls.append(call)))
    assert results == {task: task * task for task in tasks}
    assert calls == [("squares", done, 6) for done in range(7)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_worker_is_the_callers(workers):
    with pytest.raises(DataError, match=r"^seven\.png: cannot be used$"):
        list(run_parallel(square, [7, 1, 2, 3, 4], workers, "squares", silent))


def test_a_killed_worker_is_an_error_not_a_wait():
    with pytest.raises(InputError, match="labels: a worker process was killed"):
        list(run_parallel(die, [1, 2, 3, 4], 2, "labels", silent))


def test_the_last_example_of_the_document(tmp_path):
    """docs/datasets.md ends with commands and with what they should give."""
    document = (PROJECT / "docs" / "datasets.md").read_text()
    commands, expected = [block.strip("\n") for block in document.split("```")[-4:-1:2]]
    commands = commands.replace("python -m", f"{sys.executable} -m").replace(
        "catalyst-dl", f'{sys.executable} -c "from catalyst_cityscapes.cli import main; main()"'
    )
    result = subprocess.run(["bash", "-ec", commands], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == expected.replace("\n    ", " ")  # a line wider than the page is broken there
