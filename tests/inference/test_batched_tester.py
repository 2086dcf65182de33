"""The tester in batches against the control arm's: the same bytes (exact), or nearly the same classes (fast)."""

import filecmp
import json
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from catalyst_cityscapes import __version__
from catalyst_cityscapes.inference import window_sum
from catalyst_cityscapes.inference.class_maps import DeviceMap, decide_planes
from catalyst_cityscapes.inference.folder import Labels, check_tester
from catalyst_cityscapes.inference.folder import test_images as run_test
from catalyst_cityscapes.inference.predictor import Predictor
from catalyst_cityscapes.inference.resizing import has_opencv_bits, resize_planes
from catalyst_cityscapes.inference.row_threads import in_row_chunks
from catalyst_cityscapes.models.from_recipe import recipe_network
from catalyst_cityscapes.runs import environment, folder
from semseg_ref import tester
from semseg_ref.base.errors import CheckpointError, DataError, OptionError
from semseg_ref.evaluation import evaluate_folder, write_score
from semseg_ref.protocol import Protocol, whole
from support.command_line import catalyst_dl
from support.golden.inputs import rec_image
from support.golden.tolerances import grey_levels
from support.networks.context import COLORS, PROTOCOL, ContextNet, write_city
from support.runs.toy import SMALL, SMALL_PACKAGE, toy_recipe

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def short_strips(monkeypatch):
    """Strips of 16 rows, so that small images have several."""
    monkeypatch.setattr(window_sum, "STRIP_BYTES", 1)


def random_protocol(rng):
    scales = [(1.0,), (1.0,), (0.5, 1.0, 1.5), (2.0,), (1.0, 0.7), (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)]
    return Protocol(
        tuple(int(8 * k + 1) for k in rng.integers(2, 9, 2)),
        int(rng.integers(30, 110)),
        scales[rng.integers(len(scales))],
        bool(rng.integers(4)),
        float(rng.choice([1 / 3, 0.5, 2 / 3, 1.0])),
        std=None if rng.integers(4) == 0 else (58.395, 57.12, 57.375),
    )


def same(image, model, protocol):
    expected = tester.predict(model, image, protocol)
    predictor = Predictor(model, protocol)
    found = predictor.predict(image)
    prediction, finite = found.decide()
    assert finite
    values = found.probabilities()
    assert values.dtype == expected.dtype == np.float64
    assert values.tobytes() == expected.tobytes(), protocol
    np.testing.assert_array_equal(prediction.numpy(), tester.decide(expected))
    found.release()
    assert not predictor.pool._lent
    assert not predictor.pixel_pool._lent


@pytest.mark.parametrize("seed", range(60))
def test_exact_has_the_control_arms_bytes_under_any_protocol(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    if seed % 2:
        monkeypatch.setattr(window_sum, "STRIP_BYTES", 1)
    classes = int(rng.choice([2, 3, 4, 5, 12, 19, 33, 150]))
    model = ContextNet(classes, int(rng.choice([1, 1, 8])), bool(rng.integers(2)))
    protocol = random_protocol(rng)
    height, width = (int(side) for side in rng.integers(10, 120, 2))
    if seed % 3 == 0:  # the long side is the base size: at scale 1 nothing is resized
        height, width = (protocol.base_size, width) if height > width else (height, protocol.base_size)
        width = min(width, protocol.base_size)
    same(rec_image(seed, height, width), model, protocol)


@pytest.mark.parametrize(
    ("size", "classes", "protocol"),
    [
        ((128, 256), 19, whole(128, 256)),
        ((64, 64), 5, whole(64, 64)),
        ((40, 30), 600, Protocol((17, 25), 50)),  # more classes than OpenCV resizes at once
        ((21, 30), 19, Protocol((49, 49), 60)),  # padded on all sides
        ((31, 90), 2, Protocol((33, 33), 90, (0.5, 1.0, 2.0))),
    ],
)
def test_exact_on_special_cases(size, classes, protocol, short_strips):
    same(rec_image(3, *size), ContextNet(classes), protocol)


def test_probabilities_below_the_smallest_normal_number():
    """Halving rounds there; logits 90 apart are rare, not impossible."""
    image, model = rec_image(5, 40, 60), ContextNet(gain=150.0)
    protocol = Protocol((33, 33), 60)
    smallest = tester.predict(model, image, protocol)
    assert ((smallest > 0) & (smallest < np.finfo(np.float32).tiny)).any()
    same(image, model, protocol)


def test_strips_are_left_where_they_would_change_the_softmax(monkeypatch):
    monkeypatch.setattr(window_sum, "STRIP_BYTES", 1)
    asked = []
    monkeypatch.setattr(window_sum, "strips_keep_bits", lambda *shape: asked.append(shape))
    same(rec_image(1, 60, 75), ContextNet(), Protocol((49, 41), 75))
    assert set(asked) == {(2, 49, 41, 16, 1)}


def test_whether_strips_keep_the_bits_is_found_out():
    assert window_sum.strips_keep_bits(2, 49, 41, 16, 1)
    if window_sum._telling_logits(1) is None:
        pytest.skip("torch's softmax rounds alike everywhere on this machine")
    assert not window_sum.strips_keep_bits(2, 49, 41, 5, 1)
    torch.set_num_threads(2)
    assert window_sum.strips_keep_bits(2, 49, 41, 16, 2)
    assert not window_sum.strips_keep_bits(1, 33, 65, 16, 2)  # the second thread's share starts within a row


def test_shares_of_rows():
    torch.set_num_threads(2)
    seen = []
    in_row_chunks(lambda *share: seen.append((*share, torch.get_num_threads())), 70, 16, 2)
    assert sorted(seen) == [(0, 32, 1), (32, 70, 1)]
    assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError):
        in_row_chunks(lambda begin, end: 1 // begin, 70, 16, 2)


@pytest.mark.slow
def test_two_threads(short_strips):
    torch.set_num_threads(2)
    for seed in range(8):
        rng = np.random.default_rng(100 + seed)
        same(rec_image(seed, 90, 170), ContextNet(19), random_protocol(rng))


def test_opencvs_resize_in_torch():
    rng = np.random.default_rng(0)
    exact = 0
    for _ in range(200):
        classes = int(rng.integers(1, 24))
        h, w, new_h, new_w = (int(side) for side in rng.integers(1, 60, 4))
        if rng.integers(8) == 0:
            h, w = 2 * new_h, 2 * new_w
        dtype = np.float64 if rng.integers(2) else np.float32
        values = rng.random((h, w, classes)).astype(dtype)
        expected = cv2.resize(values, (new_w, new_h), interpolation=cv2.INTER_LINEAR).reshape(new_h, new_w, classes)
        planes = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
        found = resize_planes(planes, (new_h, new_w), torch.empty(classes, new_h, new_w, dtype=planes.dtype))
        found = found.permute(1, 2, 0).numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=grey_levels(h, w) / 255)  # of values up to 1
        if dtype == np.float64 and has_opencv_bits(classes, (h, w), (new_h, new_w)):
            np.testing.assert_array_equal(found, expected)
            exact += 1
    assert exact > 50


@pytest.mark.parametrize("classes", [3, 19])
def test_maps_of_a_gpu_have_the_same_bytes(classes, monkeypatch):
    """The GPU's code, run on the CPU."""
    protocol = Protocol((33, 33), 90, (0.5, 1.0, 2.0, 1.25))
    image, model = rec_image(8, 45, 90), ContextNet(classes)
    predictor = Predictor(model, protocol)
    monkeypatch.setattr(
        Predictor, "_new_map", lambda self, image, scale, k: DeviceMap(image.size, k, scale.scales, self.pool)
    )
    found = predictor.predict(image)
    expected = tester.predict(model, image, protocol)
    assert found.probabilities().tobytes() == expected.tobytes()
    np.testing.assert_array_equal(found.decide()[0].numpy(), tester.decide(expected))


@pytest.mark.parametrize("batch", [1, 3, 50])
@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0, 1.5)])
def test_fast_agrees(tmp_path, batch, scales):
    protocol, model = Protocol((49, 49), 150, scales), ContextNet()
    pairs = write_city(tmp_path, model, protocol, [(75, 150), (150, 80), (60, 60), (150, 150)])
    arguments = model, pairs, protocol
    labels = Labels([f"c{k}" for k in range(19)])
    control = run_test(*arguments, tmp_path / "a", COLORS, mode="reference", labels=labels)
    fast = run_test(*arguments, tmp_path / "b", COLORS, mode="fast", batch=batch, labels=labels)
    assert fast.names == control.names
    assert fast.settings == {"name": "fast", "batch": batch, "precision": "fp32"}
    assert control.evaluation.mIoU > 0.1
    assert f"{fast.evaluation.mIoU:.4f}" == f"{control.evaluation.mIoU:.4f}"
    agreeing = pixels = 0
    for name in fast.names:
        first, second = (np.array(Image.open(tmp_path / folder / "gray" / name)) for folder in "ab")
        agreeing += (first == second).sum()
        pixels += first.size
    assert agreeing / pixels >= 0.9999


# --- folders --------------------------------------------------------------------------------------------------------


def test_files_and_scores_have_the_same_bytes(tmp_path):
    model, names = ContextNet(), [f"c{k}" for k in range(19)]
    pairs = write_city(tmp_path, model, PROTOCOL, [(45, 90), (90, 50), (30, 20), (46, 91), (45, 90), (45, 90)])
    expected = tester.test_images(model, pairs, PROTOCOL, tmp_path / "a", COLORS)
    evaluation = evaluate_folder(tmp_path / "a" / "gray", pairs, 19, names)
    done, told = [], []
    run = run_test(
        model,
        pairs,
        PROTOCOL,
        tmp_path / "b",
        COLORS,
        lambda *a: done.append(a),
        labels=Labels(names),
        report=told.append,
    )
    assert run.names == expected
    assert done == [(k + 1, 6, f"i{k}.png") for k in range(6)]
    assert run.settings == {"name": "exact", "batch": 1, "precision": "fp32"}
    assert len(told) == 1
    assert "1 window and its mirror image at once" in told[0]
    for kind in ("gray", "color"):
        assert filecmp.cmpfiles(tmp_path / "a" / kind, tmp_path / "b" / kind, expected, shallow=False)[0] == expected
    write_score(tmp_path / "a" / "score.json", evaluation, PROTOCOL)
    write_score(tmp_path / "b" / "score.json", run.evaluation, PROTOCOL)
    for name in ("score.json", "score.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(("mode", "batch"), [("exact", None), ("fast", 40)])
def test_a_damaged_image_leaves_those_before_it(tmp_path, mode, batch):
    pairs = write_city(tmp_path, ContextNet(), PROTOCOL, [(45, 90)] * 4)
    Path(pairs[2][0]).write_bytes(b"broken")
    with pytest.raises(DataError, match=r"i2\.png"):
        run_test(ContextNet(), pairs, PROTOCOL, tmp_path / "out", COLORS, mode=mode, batch=batch)
    for kind in ("gray", "color"):
        assert sorted(path.name for path in (tmp_path / "out" / kind).iterdir()) == ["i0.png", "i1.png"]


def test_errors_of_a_folder(tmp_path):
    model = ContextNet()
    pairs = write_city(tmp_path, model, PROTOCOL, [(45, 90)] * 3)
    with pytest.raises(DataError, match="both be predicted"):
        run_test(model, [*pairs, ("x/i0.jpg", "")], PROTOCOL, tmp_path / "out", COLORS)
    with pytest.raises(OptionError, match="19 classes, but there are 18 colours"):
        run_test(model, pairs, PROTOCOL, tmp_path / "out", COLORS[:18])
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(pairs[1][1])
    with pytest.raises(DataError, match=r"i1\.png: size \(45, 90\) differs from .*l1\.png"):
        run_test(model, pairs, PROTOCOL, tmp_path / "out", COLORS, labels=Labels(["c"] * 19))
    nn.init.constant_(model.conv.weight, float("nan"))
    for scales in ((1.0,), (0.5, 1.0)):
        with pytest.raises(CheckpointError, match=r"i0\.png: the network's output is not finite"):
            run_test(model, pairs, Protocol((33, 33), 90, scales), tmp_path / "nan", COLORS)
    assert not list((tmp_path / "nan" / "gray").glob("i0.png"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("exat",), "did you mean 'exact'"),
        (("exact", 4), "--tester exact: --batch 4 goes with --tester fast"),
        (("reference", None, "bf16"), "--tester reference: --precision bf16 goes with --tester fast"),
    ],
)
def test_options_that_do_not_go_together(arguments, message):
    with pytest.raises(OptionError, match=message):
        check_tester(*arguments)


def test_modes_of_the_modules_are_restored():
    model = nn.Sequential(ContextNet(), nn.BatchNorm2d(19))
    model[1].eval()
    Predictor(model, PROTOCOL).predict(rec_image(1, 40, 60))
    assert [module.training for module in model.modules()] == [True, True, True, False]


def test_ties_and_numbers_that_are_none():
    planes = np.array([[0.2, 0.4, 0.1], [0.4, 0.4, np.nan], [0.4, 0.2, 0.8]])[:, None]
    winner, best = decide_planes(planes)
    np.testing.assert_array_equal(winner[0, :2], [1, 0])
    assert np.isnan(best[0, 2])


def test_command_line_records_the_tester(toy_city, workdir, capsys):
    recipe = toy_recipe(toy_city, *SMALL)
    (workdir / "run").mkdir()
    (workdir / "run" / "recipe.yml").write_text(folder.to_yaml(recipe))
    network = recipe_network(recipe)
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, workdir / "w.pth")
    scores = {}
    for words in (["reference"], ["exact"], ["fast", "--batch", "5"]):
        name = words[0]
        arguments = ["test", "--config", "run/recipe.yml", "--trust", SMALL_PACKAGE, "--checkpoint", "w.pth"]
        assert catalyst_dl(*arguments, "--device", "cpu", "--output", name, "--tester", *words) == 0
        scores[name] = json.loads((workdir / name / "score.json").read_text())
        assert scores[name]["tester"] == {"name": name, "batch": 5 if name == "fast" else 1, "precision": "fp32"}
    assert len({score["protocol"]["hash"] for score in scores.values()}) == 1
    different = {key for key in scores["exact"] if scores["exact"][key] != scores["reference"][key]}
    assert different <= {"tester", "seconds", "time_utc"}
    assert (workdir / "exact" / "score.npz").read_bytes() == (workdir / "reference" / "score.npz").read_bytes()
    assert f"{scores['fast']['mIoU']:.4f}" == f"{scores['reference']['mIoU']:.4f}"
    assert "5 windows" in capsys.readouterr().out


def test_a_plain_checkout_scores_without_being_installed(toy_city, workdir, monkeypatch):
    """The version of a package without metadata is then unknown; its own is in its code."""

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert set(environment.environment()["versions"].values()) == {None}
    assert environment.versions.__wrapped__()["torch"] == "absent"
    recipe = toy_recipe(toy_city, *SMALL)
    Path("recipe.yml").write_text(folder.to_yaml(recipe))
    torch.save({"state_dict": recipe_network(recipe).state_dict(), "epoch": 3}, "w.pth")
    arguments = ["test", "--config", "recipe.yml", "--trust", SMALL_PACKAGE, "--checkpoint", "w.pth", "--limit", "1"]
    assert catalyst_dl(*arguments, "--device", "cpu", "--output", "out") == 0
    assert json.loads(Path("out/score.json").read_text())["code"]["version"] == __version__


def test_command_line_refuses_a_batch_for_the_exact_tester(workdir, capsys):
    assert catalyst_dl("test", "--batch", "4") == 2
    assert "--tester exact: --batch 4 goes with --tester fast" in capsys.readouterr().err
