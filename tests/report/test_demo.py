"""The demo predicts what the test predicts, and refuses what it cannot read in one line."""

import shutil

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from catalyst_cityscapes.recipe.protocols import named
from catalyst_cityscapes.report.demonstration import Demonstrator, one_window
from catalyst_cityscapes.report.media import VideoReader, VideoWriter
from semseg_ref.base.errors import CheckpointError, DataError, OptionError
from semseg_ref.catalog import load_colors, load_names
from semseg_ref.dataset import make_dataset, read_image, read_label
from semseg_ref.evaluation import output_names
from semseg_ref.protocol import semseg_ms
from semseg_ref.tester import test_images as predict_images
from support.command_line import dl
from support.runs.finished import toy_recipe, write_logs

FRAMES = 5


def tiny_network(classes: int = 19) -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, classes, 5, padding=2).eval()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def recipe(root):
    recipe = toy_recipe(root)
    write_logs(root / "run", recipe)
    (root / "run" / "model").mkdir()
    (root / "run" / "model" / "last.pth").write_bytes(b"its content is not read: the network is replaced")
    return recipe


@pytest.fixture(scope="module")
def pairs(recipe):
    return make_dataset("val", recipe.data.root, recipe.data.val_list)


@pytest.fixture(scope="module")
def clip(root, pairs):
    path = root / "clip.mp4"
    with VideoWriter(path, 5.0) as writer:
        for index in range(FRAMES):
            writer.write(read_image(pairs[index % len(pairs)][0]).astype(np.uint8))
    return path


@pytest.fixture
def demo(root, recipe, monkeypatch):
    monkeypatch.setattr(
        "catalyst_cityscapes.evaluation.score_run.build_for_test", lambda *_: (tiny_network(), {"epoch": 3})
    )

    def run(*words):
        return dl("demo", "--run", root / "run", *words)

    return run


def test_folder_gives_the_tests_predictions(demo, recipe, pairs, tmp_path):
    expected = tmp_path / "expected"
    colors = load_colors(recipe.data.colors)
    predict_images(tiny_network(), pairs, recipe.protocol.value(), expected, colors)
    folder = pairs[0][0].rpartition("/leftImg8bit/")[0] + "/leftImg8bit/val"
    result = demo(folder, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert recipe.protocol.value().hash in result.output.splitlines()[0]
    for (image, _), name in zip(pairs, output_names(pairs), strict=True):
        city, _, file = image.rpartition("/val/")[2].partition("/")
        stem = tmp_path / "out" / city / file.removesuffix(".png")
        gray = read_label(f"{stem}_gray.png")
        assert np.array_equal(gray, read_label(expected / "gray" / name))
        with Image.open(f"{stem}_color.png") as color:
            assert color.mode == "P"
            assert np.array_equal(np.asarray(color.convert("RGB")), colors[gray])
        with Image.open(f"{stem}_overlay.png") as picture:
            assert picture.width == 512  # enlarged four times, for the legend
            assert picture.height > 256


def test_results_are_no_inputs(demo, pairs, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(pairs[0][0], photos / "one.png")
    for _ in range(2):
        result = demo(photos, "--output", photos / "out")
        assert result.exit_code == 0, result.output
        assert len(result.output.splitlines()) == 2
    assert sorted(path.name for path in (photos / "out").iterdir()) == [
        "one_color.png",
        "one_gray.png",
        "one_overlay.png",
    ]


def test_video(demo, clip, tmp_path):
    result = demo(clip, "--output", tmp_path)
    assert result.exit_code == 0, result.output
    assert f"{clip}: {FRAMES} frames at 5 a second" in result.output
    overlays, colors = VideoReader(tmp_path / "clip_overlay.mp4"), VideoReader(tmp_path / "clip_color.mp4")
    shapes = [frame.shape for frame in overlays], [frame.shape for frame in colors]
    assert shapes[1] == [(64, 128, 3)] * FRAMES
    assert shapes[0] == [shapes[0][0]] * FRAMES
    assert shapes[0][0][1] == 512
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_first_frames_only(demo, clip, tmp_path):
    result = demo(clip, "--output", tmp_path, "--frames", "2")
    assert result.exit_code == 0, result.output
    assert "frame 2/2" in result.output
    assert "warning" not in result.stderr
    assert len(list(VideoReader(tmp_path / "clip_overlay.mp4"))) == 2


def test_video_frames_are_predicted_like_images(recipe, clip):
    network, data = tiny_network(), recipe.data
    demonstrator = Demonstrator(
        network, lambda *_: recipe.protocol.value(), load_names(data.names), load_colors(data.colors)
    )
    frame = next(iter(VideoReader(clip)))
    assert np.array_equal(demonstrator.predict(frame), demonstrator.predict(frame.astype(np.float32)))


def test_one_window_covers_the_picture(demo, pairs, tmp_path):
    protocol = one_window(semseg_ms(), 64, 128)
    assert (protocol.crop, protocol.flip, protocol.scales) == ((1025, 2049), False, (1.0,))
    assert protocol.base_size == 2048
    result = demo(pairs[0][0], "--output", tmp_path, "--window")
    assert result.exit_code == 0, result.output
    assert "one window, no flip" in result.output.splitlines()[0]


def test_probabilities_under_a_protocol_that_averages_logits(recipe):
    network, data = tiny_network(), recipe.data
    names, colors = load_names(data.names), load_colors(data.colors)
    protocol = one_window(named("mmseg-tta", softmax="never", pad_to=8), 64, 128)
    assert (protocol.crop, protocol.scales, protocol.flip) == ("image", (1.0,), False)
    demonstrator = Demonstrator(network, lambda *_: protocol, names, colors)
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    found = demonstrator.probabilities(image)
    np.testing.assert_allclose(found.sum(axis=2), 1)
    np.testing.assert_array_equal(found.argmax(axis=2), demonstrator.predict(image))


def test_a_large_picture_keeps_its_size(recipe):
    names, colors = load_names(recipe.data.names), load_colors(recipe.data.colors)
    demonstrator = Demonstrator(tiny_network(), lambda *_: recipe.protocol.value(), names, colors)
    image = np.zeros((300, 700, 3), np.uint8)
    drawn = demonstrator.picture(image, np.zeros((300, 700), np.uint8))
    assert drawn.shape[1] == 700
    assert tuple(drawn[150, 350]) == tuple(colors[0] // 2)


def test_unreadable_input(demo, clip, pairs, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("no image")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[:700])
    empty = tmp_path / "empty"
    empty.mkdir()
    cases = {
        tmp_path / "missing.png": "no such image, folder or video",
        text: "in no image format that OpenCV reads",
        cut: "not one frame could be decoded",
        empty: "no image or video in this folder",
    }
    for path, message in cases.items():
        result = demo(path, "--output", tmp_path / "out")
        assert result.exit_code == 2
        assert str(path) in result.stderr
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_names_that_clash(demo, pairs, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(pairs[0][0], tmp_path / folder / "one.png")
    result = demo(tmp_path / "a" / "one.png", tmp_path / "b" / "one.png", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "would both be written" in result.stderr
    assert not (tmp_path / "out").exists()


def test_words_that_do_not_fit(tmp_path):
    def message(*words):
        result = dl("demo", *words)
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
        return result.stderr

    assert "no INPUT" in message()
    assert "--checkpoint FILE is missing" in message("--config", "toy/pspnet50", "x.png")
    assert "give one of them" in message("--config", "toy/pspnet50", "--run", "y", "x.png")
    (tmp_path / "x.png").write_bytes(b"")
    assert "no such config" in message("--run", str(tmp_path), str(tmp_path / "x.png"))


def test_networks_that_do_not_fit(recipe):
    names, colors = load_names(recipe.data.names), load_colors(recipe.data.colors)
    image = np.zeros((64, 128, 3), np.uint8)

    def protocol(*_):
        return recipe.protocol.value()

    with pytest.raises(OptionError, match="21 classes"):
        Demonstrator(tiny_network(21), protocol, names, colors).predict(image)
    damaged = tiny_network()
    damaged.bias.data.fill_(float("nan"))
    with pytest.raises(CheckpointError, match="not finite"):
        Demonstrator(damaged, protocol, names, colors).predict(image)


def test_a_video_without_a_rate(tmp_path, monkeypatch, clip):
    class Silent:
        def __init__(self, path):
            self.real = _capture(path)

        def __getattr__(self, name):
            return getattr(self.real, name)

        def get(self, _):
            return float("nan")

    _capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Silent)
    reader = VideoReader(clip)
    assert (reader.rate, reader.announced) == (25.0, 0)
    assert len(list(reader)) == FRAMES


def test_an_interrupted_video_leaves_nothing(tmp_path):
    def interrupted():
        with VideoWriter(tmp_path / "out.mp4", 5.0) as writer:
            writer.write(np.zeros((64, 64, 3), np.uint8))
            raise DataError("stopped")

    with pytest.raises(DataError, match="stopped"):
        interrupted()
    assert list(tmp_path.iterdir()) == []
