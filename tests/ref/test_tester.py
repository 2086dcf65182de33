"""The tester against the reference's probability maps, predictions, palettes and accuracy log."""

import json
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from semseg_ref import tester
from semseg_ref.base.errors import CheckpointError, DataError, OptionError
from semseg_ref.catalog import load_colors
from semseg_ref.protocol import Protocol
from support.golden.inputs import MEAN, STD, fill_weights, load_golden, rec_image, sha256
from support.golden.rounding import spread
from support.golden.runs import golden_image, images_of, network_of_the_tester, probabilities, protocol_of
from support.golden.tolerances import DRAWS, Tolerances, one_pixel, tolerances

CASES = ["landscape_ss", "portrait_ms", "small_padded", "three_images", "zoom1"]

pytestmark = pytest.mark.usefixtures("golden_threads")


@pytest.fixture(scope="module")
def network():
    return cache(network_of_the_tester)


def enlarged(margin, shape):
    """The stored top-2 margin at full size; a map stored at every second pixel gives the smallest of its neighbours."""
    if margin.shape == shape:
        return margin.astype(np.float64)
    padded = np.pad(margin.astype(np.float64), 1, mode="edge")
    h, w = margin.shape
    smallest = np.min([padded[y : y + h, x : x + w] for y in range(3) for x in range(3)], axis=0)
    return smallest.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]


def unclear(golden, suffix, allowed):
    """Pixels whose two best classes may change places when each probability may be off by `allowed`."""
    gray = golden[f"gray{suffix}"]
    return enlarged(golden[f"top2_margin{suffix}"], gray.shape) < 2 * allowed


def check_case(network, case):
    golden, allowed = load_golden(f"tester_{case}"), tolerances(f"tester_{case}")
    model = network(golden["meta"]["model"]["zoom_factor"])
    result = probabilities(f"tester_{case}", network=model)
    for suffix, image, _ in images_of(golden):
        quantity = f"prob{suffix}"
        found = result[quantity]
        assert found.dtype == np.float64
        assert found.shape == (*image.shape[:2], 19)
        for key, step in (("prob", 1), ("prob_sub2", 2)):
            if key in golden:
                allowed.check(quantity, found[::step, ::step], golden[key])
        per_class = allowed.sum(quantity, found.size, parts=19)
        allowed.check(quantity, found.sum(axis=(0, 1)), golden[f"prob_class_sum{suffix}"], per_class)
        gray, close = golden[f"gray{suffix}"], unclear(golden, suffix, allowed.each(quantity))
        assert close.mean() < 0.02
        assert ((found.argmax(axis=2) == gray) | close).all()


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_predict(network, case):
    check_case(network, case)


@pytest.mark.slow
def test_predict_with_enlarged_scales(network):
    check_case(network, "landscape_ms")


@pytest.mark.golden
@pytest.mark.parametrize("case", ["flip", "noflip", "nostd"])
def test_predict_window(network, case):
    """Without division by std the logits, and so their roundings, are some fifty times as large."""
    golden = load_golden(f"tester_net_process_{case}")
    found = probabilities(f"tester_net_process_{case}", network=network())["prob"]
    assert found.dtype == np.float32
    tolerances(f"tester_net_process_{case}").check("prob", found, golden["prob"])


@pytest.mark.golden
def test_predict_scale(network):
    golden = load_golden("tester_scale_process_a")
    found = probabilities("tester_scale_process_a", network=network())["prob"]
    assert found.dtype == np.float64
    tolerances("tester_scale_process_a").check("prob", found, golden["prob"])


def test_same_bits_as_the_reference(network):
    """Where one window already has the reference's bits, everything that resizes no image has them too."""
    golden = load_golden("tester_net_process_flip")
    image = golden_image(golden["meta"])
    if sha256(tester.predict_window(network(), image, MEAN, STD)) != golden["meta"]["prob_sha256"]:
        pytest.skip("this machine's convolutions round differently from the reference run's")
    for case in ("landscape_ss", "portrait_ms", "small_padded"):
        golden = load_golden(f"tester_{case}")
        for _, image, entry in images_of(golden):
            found = tester.predict(network(), image, protocol_of(golden["meta"]))
            assert sha256(found) == entry["prob_float64_sha256"]


class PixelNet(nn.Module):
    """Logits from a pixel's own colour, so that windows, padding and mirroring cannot change them."""

    def __init__(self, classes=5, pair=False, stride=1):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, classes, 1, stride=stride)
        self.pair = pair

    def forward(self, x):
        logits = self.conv(x)
        return (logits, None) if self.pair else logits


SMALL = Protocol((17, 25), 60)


def test_windows_of_a_pixelwise_network_give_the_whole_image():
    image, model = rec_image(1, 40, 60), PixelNet()
    normalized = (image.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)
    with torch.no_grad():
        expected = model(torch.from_numpy(normalized.transpose(2, 0, 1))[None]).softmax(dim=1)[0]
    found = tester.predict(model, image, SMALL)
    allowed = Tolerances(spread(lambda: {"prob": tester.predict(model, image, SMALL)}, DRAWS), "PixelNet")
    allowed.check("prob", found, expected.numpy().transpose(1, 2, 0))
    allowed.check("prob", found.sum(axis=2), np.ones((40, 60)), 5 * allowed.each("prob"))


def test_dtype_of_the_image_and_tuple_output_do_not_matter():
    image = rec_image(1, 35, 50)
    expected = tester.predict(PixelNet(), image, SMALL)
    np.testing.assert_array_equal(tester.predict(PixelNet(), image.astype(np.float32), SMALL), expected)
    np.testing.assert_array_equal(tester.predict(PixelNet(pair=True), image, SMALL), expected)


def test_modes_of_the_modules_are_restored():
    model = nn.Sequential(PixelNet(), nn.BatchNorm2d(5))
    model[1].eval()
    tester.predict(model, rec_image(1, 40, 60), SMALL)
    assert [module.training for module in model.modules()] == [True, True, True, False]
    assert int(model[1].num_batches_tracked) == 0


def test_more_channels_than_opencv_takes():
    image = rec_image(1, 20, 30).astype(np.float32)
    found = tester.predict_scale(PixelNet(600), image, (17, 25), 24, 33, MEAN, STD)
    full = tester.predict_scale(PixelNet(600), image, (17, 25), 20, 30, MEAN, STD)
    expected = cv2.resize(np.ascontiguousarray(full[:, :, 7:77]), (33, 24), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(found[:, :, 7:77], expected)


def test_predict_refuses_other_shapes():
    with pytest.raises(ValueError, match="expected"):
        tester.predict(PixelNet(), np.zeros((20, 30), np.uint8), SMALL)


# --- folders of images and the command line ---------------------------------------------------------------------------


@pytest.fixture
def image_files(tmp_path):
    pairs = []
    for seed in range(3):
        path = tmp_path / "img" / f"i{seed}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rec_image(seed, 30, 40)).save(path)
        pairs.append((str(path), "unused"))
    return pairs


def test_palette(tmp_path):
    golden = load_golden("tester_small_padded")
    colors = load_colors("cityscapes_colors.txt", 19)
    np.testing.assert_array_equal(colors.ravel(), golden["palette"])
    tester.save_prediction(golden["gray"], colors, tmp_path / "g.png", tmp_path / "c.png")
    color = Image.open(tmp_path / "c.png")
    assert color.mode == "P"
    np.testing.assert_array_equal(color.getpalette()[:57], golden["palette"])
    np.testing.assert_array_equal(np.array(color), golden["gray"])
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "g.png")), golden["gray"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.png", "g.png"]


COLORS = np.arange(15, dtype=np.uint8).reshape(5, 3)


def test_images_are_predicted_in_order(tmp_path, image_files):
    done = []
    names = tester.test_images(PixelNet(), image_files, SMALL, tmp_path / "out", COLORS, lambda *a: done.append(a))
    assert names == ["i0.png", "i1.png", "i2.png"]
    assert done == [(1, 3, "i0.png"), (2, 3, "i1.png"), (3, 3, "i2.png")]
    for seed, name in enumerate(names):
        expected = tester.predict(PixelNet(), rec_image(seed, 30, 40), SMALL).argmax(axis=2)
        np.testing.assert_array_equal(np.array(Image.open(tmp_path / "out" / "gray" / name)), expected)
        np.testing.assert_array_equal(np.array(Image.open(tmp_path / "out" / "color" / name)), expected)


def test_a_failing_run_keeps_whole_files_only(tmp_path, image_files):
    (tmp_path / "img" / "i2.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"i2\.png"):
        tester.test_images(PixelNet(), image_files, SMALL, tmp_path / "out", COLORS)
    for kind in ("gray", "color"):
        assert sorted(path.name for path in (tmp_path / "out" / kind).iterdir()) == ["i0.png", "i1.png"]


def test_images_errors(tmp_path, image_files):
    with pytest.raises(DataError, match="both be predicted"):
        tester.test_images(PixelNet(), [*image_files, ("x/i0.jpg", "")], SMALL, tmp_path / "out", COLORS)
    with pytest.raises(OptionError, match="5 classes, but there are 4 colours"):
        tester.test_images(PixelNet(), image_files, SMALL, tmp_path / "out", COLORS[:4])
    model = PixelNet()
    nn.init.constant_(model.conv.weight, float("nan"))
    with pytest.raises(CheckpointError, match="not finite"):
        tester.test_images(model, image_files, SMALL, tmp_path / "out", COLORS)


def write_config(path, values):
    entries = {
        "data_root": str(path.parent),
        "classes": 19,
        "arch": "psp",
        "layers": 50,
        "train_h": 49,
        "train_w": 49,
        "zoom_factor": 8,
        "ignore_label": 255,
        "test_list": str(path.parent / "list.txt"),
        "split": "val",
        "base_size": 81,
        "test_h": 49,
        "test_w": 49,
        "scales": [1.0],
        "has_prediction": False,
        "index_start": 0,
        "index_step": 0,
        "test_gpu": [0],
        "model_path": str(path.parent / "w.pth"),
        "save_folder": str(path.parent / "out"),
        "colors_path": "data/cityscapes/cityscapes_colors.txt",
        "names_path": "data/cityscapes/cityscapes_names.txt",
        **values,
    }
    path.write_text("ALL:\n" + "".join(f"  {key}: {value}\n" for key, value in entries.items()))
    return str(path)


def test_command_line_on_three_images(tmp_path, monkeypatch, caplog):
    """The whole way from files to scores; the colour and name tables are found in the catalog."""
    golden = load_golden("tester_three_images")
    lines = []
    for suffix, image, entry in images_of(golden):
        path = tmp_path / entry["rel_path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        Image.fromarray(golden[f"label{suffix}"]).save(tmp_path / f"l{suffix}.png")
        lines.append(f"{entry['rel_path']} l{suffix}.png\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    (tmp_path / "w.pth").write_bytes(b"stands for a checkpoint")
    monkeypatch.setattr(tester, "load_weights", lambda model, path: fill_weights(model))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = write_config(tmp_path / "c.yaml", {})
    with caplog.at_level("INFO"):
        tester.main(["--config", config])
    logged = [record.getMessage() for record in caplog.records]
    flipped = 0
    for suffix, _, entry in images_of(golden):
        found = np.array(Image.open(tmp_path / "out" / "gray" / entry["output_png"]))
        flipped += int((found != golden[f"gray{suffix}"]).sum())
        close = unclear(golden, suffix, tolerances("tester_three_images").each(f"prob{suffix}"))
        assert ((found == golden[f"gray{suffix}"]) | close).all()
        color = Image.open(tmp_path / "out" / "color" / entry["output_png"])
        np.testing.assert_array_equal(color.getpalette()[:57], golden["palette"])
    score = json.loads((tmp_path / "out" / "score.json").read_text())
    labels = [golden[f"label{suffix}"] for suffix, _, _ in images_of(golden)]
    assert score["mIoU"] == pytest.approx(float(golden["mIoU"]), abs=1e-9 + flipped * one_pixel(labels, 19))
    assert score["protocol"]["hash"] == Protocol((49, 49), 81).hash
    assert score["checkpoint"]["path"] == str(tmp_path / "w.pth")
    assert sum(line.startswith("Evaluating") for line in logged) == 3
    assert "Test: [3/3] sq.png" in logged

    caplog.clear()
    with caplog.at_level("INFO"):
        tester.main(["--config", config, "has_prediction", "True", "index_start", "1", "index_step", "1"])
    logged = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("Evaluating 1/1 on image x_y.png") for line in logged)
    assert not any(line.startswith("Test:") for line in logged)
    assert json.loads((tmp_path / "out" / "score.json").read_text())["protocol"] is None


def test_split_test_is_not_evaluated(tmp_path, image_files, monkeypatch):
    (tmp_path / "list.txt").write_text("img/i0.png\nimg/i1.png\nimg/i2.png\n")
    (tmp_path / "w.pth").write_bytes(b"stands for a checkpoint")
    monkeypatch.setattr(tester, "build_network", lambda cfg, pretrained: PixelNet(19))
    monkeypatch.setattr(tester, "load_weights", lambda model, path: None)
    tester.main(["--config", write_config(tmp_path / "c.yaml", {"split": "test", "index_step": 2})])
    assert sorted(path.name for path in (tmp_path / "out" / "gray").iterdir()) == ["i0.png", "i1.png"]
    assert not (tmp_path / "out" / "score.json").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"test_h": 50}, "crop 50"),
        ({"split": "vall"}, "did you mean 'val'"),
        ({"index_start": 5}, "index_start 5"),
        ({"classes": 300}, "at most 256"),
        ({"classes": 18}, "19 colours, expected 18"),
        ({"colors_path": "city_colors.txt"}, "no such file"),
        ({"model_path": ""}, "model_path is empty"),
        ({"model_path": "missing.pth"}, "missing.pth"),
        ({"arch": "pspnet"}, "arch"),
    ],
)
def test_command_line_errors_are_one_line(tmp_path, image_files, capsys, values, message):
    (tmp_path / "list.txt").write_text("img/i0.png img/i1.png\n")
    with pytest.raises(SystemExit) as stop:
        tester.main(["--config", write_config(tmp_path / "c.yaml", values)])
    assert stop.value.code == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert message in error[0]


def test_missing_option_is_named(tmp_path, image_files, capsys):
    (tmp_path / "c.yaml").write_text("TEST:\n  test_h: 49\n  test_w: 49\n  base_size: 81\n  scales: [1.0]\n")
    with pytest.raises(SystemExit):
        tester.main(["--config", str(tmp_path / "c.yaml")])
    assert "no option 'classes'" in capsys.readouterr().err
