"""Validation while training with the test's protocol: the logged score is the test's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from catalyst_cityscapes.evaluation.score_run import score_checkpoint
from catalyst_cityscapes.toy_city import build_toy_city
from catalyst_cityscapes.train.engine import close_processes
from catalyst_cityscapes.train.runner import SegmentationRunner
from catalyst_cityscapes.train.validation import predict_batch, validation_set
from semseg_ref.base.errors import InputError, OptionError
from semseg_ref.dataset import read_image
from semseg_ref.protocol import Protocol
from semseg_ref.sampling import evenly_spaced
from semseg_ref.tester import predict
from support.cities.scoring import SIZE
from support.networks.small import TinyLogits
from support.runs.forked_processes import finish, forked_processes
from support.runs.tiny import VAL_IMAGES, logged, recipe_of, settings_of, train

SLIDE = "{name: mmseg-slide, pad_to: 8, base_size: [96, 48], stride: [8, 16]}"
pytestmark = pytest.mark.usefixtures("one_thread", "workdir")


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return build_toy_city(tmp_path_factory.mktemp("city") / "city", 4, VAL_IMAGES, 2, *SIZE)


@pytest.mark.parametrize(("size", "count"), [(500, 50), (7, 3), (5, 5), (1, 1), (10, None)])
def test_evenly_spaced(size, count):
    chosen = evenly_spaced(size, count)
    assert len(chosen) == (count or size)
    assert chosen[0] == 0
    assert chosen == sorted(set(chosen))
    assert chosen[-1] < size
    assert np.ptp(np.diff([*chosen, size])) <= 1


@pytest.mark.parametrize("count", [0, 6])
def test_evenly_spaced_errors(count):
    with pytest.raises(OptionError, match=f"{count} images asked for, but the list has 5"):
        evenly_spaced(5, count)


@pytest.mark.parametrize("protocol", ["{name: semseg-ss}", "{name: semseg-ms, base_size: 64}", "{name: whole}", SLIDE])
def test_validation_with_protocol_test_is_what_the_test_says(city, protocol):
    recipe = recipe_of(city, f"protocol={protocol}", "validation.protocol=test")
    valid = train(recipe)
    score = score_checkpoint(recipe, Path("run/model/last.pth"), device="cpu").score
    assert score["images"] == VAL_IMAGES
    assert sum(row["accuracy"] > 0 for row in score["classes"]) >= 4  # no network that says one thing everywhere
    for name in ("mIoU", "mAcc", "allAcc"):
        assert valid[name] == score[name]
    for row in score["classes"]:
        assert valid[f"iou/{row['name']}"] == row["iou"]
    assert np.isfinite(valid["loss"])


def test_validation_on_a_fixed_part_of_the_list(city):
    recipe = recipe_of(city, "validation.protocol=test", "validation.images=2")
    valid = train(recipe)
    lines = (city / "list" / "fine_val.txt").read_text().splitlines()
    Path("part.txt").write_text(f"{lines[0]}\n{lines[2]}\n")
    score = score_checkpoint(recipe_of(city, "data.val_list=part.txt"), Path("run/model/last.pth"), device="cpu").score
    assert (valid["mIoU"], valid["allAcc"]) == (score["mIoU"], score["allAcc"])
    whole_list = score_checkpoint(recipe, Path("run/model/last.pth"), Path("all"), device="cpu").score
    assert whole_list["mIoU"] != score["mIoU"]


def test_centre_crops_of_a_part_of_the_list(city):
    images, protocol = validation_set(recipe_of(city, "validation.images=2"))
    everything, _ = validation_set(recipe_of(city))
    assert protocol is None
    assert len(images) == 2
    for position, index in enumerate((0, 2)):
        assert all(torch.equal(a, b) for a, b in zip(images[position], everything[index], strict=True))
    with pytest.raises(OptionError, match="2 are fewer than the 3 processes"):
        validation_set(recipe_of(city, "validation.images=2"), world_size=3)


def test_validation_does_not_touch_the_training(city):
    """Weights, running means and generators are as if nothing had been validated; precision of the test is float32."""
    states = []
    for settings in (["validation.every=0"], ["validation.protocol=test"], ["validation.protocol=crop"]):
        recipe = recipe_of(city, "experiment.epochs=2", *settings)
        train(recipe) if "every=0" not in settings[0] else train_without_validation(recipe)
        states.append(torch.load("run/model/last.pth", weights_only=True)["state_dict"])
    for state in states[1:]:
        assert all(torch.equal(states[0][key], state[key]) for key in states[0])


def train_without_validation(recipe):
    try:
        SegmentationRunner(recipe).run()
    finally:
        close_processes()


def test_validation_in_bf16_scores_in_float32_like_the_test(city, bf16_on_any_cpu):
    recipe = recipe_of(city, "validation.protocol=test", "engine.precision=bf16")
    valid = train(recipe)
    assert valid["mIoU"] == score_checkpoint(recipe, Path("run/model/last.pth"), device="cpu").score["mIoU"]


def test_prediction_in_training_is_the_testers_under_any_autocast(city):
    """Accelerate puts autocast into the network's own forward; Catalyst may add one around it."""
    network = TinyLogits().eval()
    image = read_image(next(city.glob("leftImg8bit/val/*/*.png")))
    protocol = Protocol((33, 33), 128)
    expected = predict(network, image, protocol)
    network.forward = torch.autocast("cpu", dtype=torch.bfloat16)(network.forward)
    assert not np.array_equal(predict(network, image, protocol), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction, logits = predict_batch(network, torch.from_numpy(image)[None], protocol)
    np.testing.assert_array_equal(prediction[0].numpy(), expected.argmax(axis=2))
    np.testing.assert_array_equal(logits[0].permute(1, 2, 0).numpy(), np.log(expected).astype(np.float32))
    assert prediction.dtype == torch.int64


@pytest.mark.slow
def test_two_processes_count_every_image_once(city):
    """5 images on 2 ranks, 3 and 2: the summed matrices are the test's."""
    recipe = recipe_of(city, "validation.protocol=test")
    arguments = ["run", "--config", "toy/pspnet50", "--trust", "support"]
    settings = [word for setting in settings_of(city, "validation.protocol=test") for word in ("--set", setting)]
    with forked_processes(Path.cwd(), [*arguments, *settings]) as ids:
        statuses, told = finish(Path.cwd(), ids)
    assert statuses == [0, 0], told
    assert told.count("done: run") == 1
    score = score_checkpoint(recipe, Path("run/model/last.pth"), device="cpu").score
    assert (logged()["mIoU"], logged()["allAcc"]) == (score["mIoU"], score["allAcc"])


def test_validation_errors(city):
    for setting, message in {
        "validation.images=9": rf"validation.images: 9 images asked for, but the list has {VAL_IMAGES}",
        "data.val_list=gone.txt": "gone.txt: no such list file",
    }.items():
        with pytest.raises(InputError, match=message):
            train(recipe_of(city, "validation.protocol=test", setting))
    with pytest.raises(InputError, match=r"validation\.protocol: Input should be 'crop' or 'test'"):
        recipe_of(city, "validation.protocol=tets")
    assert not Path("run/model").exists()
