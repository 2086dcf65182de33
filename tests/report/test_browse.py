"""The sheet of what the network sees: the training's own samples, drawn as they are."""

import numpy as np
import pytest
import torch
from PIL import Image

from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.report.drawing import font, overlay
from catalyst_cityscapes.report.figure import elide
from catalyst_cityscapes.report.training_view import denormalised, normalisation, seen_samples
from catalyst_cityscapes.train.runner import SegmentationRunner
from semseg_ref.base.errors import DataError, InputError, OptionError
from semseg_ref.catalog import load_colors
from semseg_ref.dataset import read_image, read_label
from semseg_ref.transform import MEAN, STD
from support.command_line import dl
from support.runs.finished import toy_recipe


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with a city; no test needs another to have made it."""
    folder = tmp_path_factory.mktemp("browse")
    toy_recipe(folder)
    return folder


@pytest.fixture(scope="module")
def recipe(root):
    return toy_recipe(root)


def arguments(root, *more):
    settings = [f"data.root={root / 'city'}", "data.crop=[49,49]", "protocol.base_size=128"]
    return ["browse", "--config", "toy/pspnet50", "--set", *settings, *more]


def browse(root, *more):
    return dl(*arguments(root, *more))


@pytest.mark.parametrize("epoch", [0, 2])
def test_samples_are_the_batches_of_the_training(recipe, epoch):
    runner = SegmentationRunner(recipe)
    runner.engine = runner.get_engine()
    loader = runner.get_loaders()["train"]
    loader.sampler.set_epoch(epoch)
    images, labels = next(iter(loader))
    seen = list(seen_samples(recipe, epoch, len(images)))
    assert len(seen) == len(images) == 4
    for sample, image, label in zip(seen, images, labels, strict=True):
        assert torch.equal(torch.from_numpy(sample.image), image)
        assert np.array_equal(sample.label, label.numpy())


def test_epochs_and_seeds_draw_anew(recipe):
    other_seed = recipe.model_copy(update={"experiment": recipe.experiment.model_copy(update={"seed": 1})})
    first, again, later, other = (
        [sample.image for sample in seen_samples(*choice, 4)]
        for choice in ((recipe, 0), (recipe, 0), (recipe, 1), (other_seed, 0))
    )
    assert all(map(np.array_equal, first, again))
    assert not any(map(np.array_equal, first, later))
    assert not any(map(np.array_equal, first, other))


def test_denormalised_is_the_image_on_disk(root):
    dropped = [f"augmentation.steps.{name}=null" for name in ("scale", "rotate", "blur", "flip", "crop")]
    recipe = toy_recipe(root, settings=("augmentation.order=[to_tensor,normalize]", *dropped))
    for sample in seen_samples(recipe, 0, 3):
        picture = denormalised(sample.image, normalisation(recipe.augmentation))
        assert np.array_equal(picture, read_image(sample.image_path).astype(np.uint8))
        assert np.array_equal(sample.label, read_label(sample.label_path))


def test_normalisation_is_the_one_that_the_augmentation_applies(recipe):
    assert normalisation(recipe.augmentation) == (tuple(MEAN), tuple(STD))
    wrong = {
        **recipe.augmentation["steps"],
        "normalize": {"_target_": "semseg_ref.transform.Normalize", "mean": [0.0] * 3},
    }
    assert normalisation({**recipe.augmentation, "steps": wrong}) == ((0.0,) * 3, None)
    without = [name for name in recipe.augmentation["order"] if name != "normalize"]
    assert normalisation({**recipe.augmentation, "order": without}) is None
    pytest.importorskip("albumentations")
    other = load_recipe(["toy/pspnet50", "swap/augmentation_albumentations"])
    np.testing.assert_allclose(normalisation(other.augmentation), [MEAN, STD])


def test_the_incomplete_batch_is_marked(recipe):
    assert [sample.step for sample in seen_samples(recipe, 0, 99)] == [0, 0, 0, 0, None, None]


def test_overlay_leaves_no_colour_on_ignored_pixels():
    image = np.full((20, 20, 3), 90, np.uint8)
    label = np.full((20, 20), 255, np.uint8)
    label[:, :10] = 13
    colors = load_colors("cityscapes_colors.txt", 19)
    drawn = overlay(image, label, colors)
    assert {tuple(pixel) for pixel in drawn[:, 10:].reshape(-1, 3).tolist()} == {(90, 90, 90), (40, 40, 44)}
    assert np.array_equal(drawn[5, 5], np.rint((image[0, 0] + colors[13].astype(float)) / 2).astype(np.uint8))


def test_names_lose_their_middle():
    assert elide("short.png", 500, font(13)) == "short.png"
    cut = elide("frankfurt_" + 60 * "0" + "_end.png", 160, font(13))
    assert cut.startswith("frank") and cut.endswith(".png") and "…" in cut  # noqa: PT018
    assert elide("a\nb\udcff.png", 500, font(13)) == "a?b?.png"


def test_sheet(root, recipe, tmp_path):
    plain, with_originals = tmp_path / "new folder" / "sheet.png", tmp_path / "originals.png"
    result = browse(root, "--count", "3", "--output", str(plain))
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    names = [sample.image_path.rpartition("/")[2] for sample in seen_samples(recipe, 0, 3)]
    assert [line.split()[1] for line in lines[:3]] == names
    assert "toy_pspnet50, epoch 0, seed 0: input, input with labels" in lines
    assert lines[-1] == f"sheet: {plain}"
    again = browse(root, "--count", "3", "--output", str(with_originals), "--originals")
    assert again.exit_code == 0, again.output
    with Image.open(plain) as small, Image.open(with_originals) as large:
        assert small.format == "PNG"
        assert large.width * large.height > small.width * small.height
        assert len(small.convert("RGB").getcolors(1 << 24)) > 1000


def test_unseeded_recipes_say_so(root, tmp_path):
    result = browse(root, "experiment.seed=null", "--count", "1", "--output", str(tmp_path / "sheet.png"))
    assert "unseeded: another draw each time" in result.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--epoch", "12"], "--epoch 12: this recipe trains epochs 0..11"),
        (["--output", "sheet.jpg"], "--output sheet.jpg: expected a name that ends in .png"),
        (["--output", "/"], "--output /: is a folder"),
        (["--output", "/dev/null/sheet.png"], "/dev/null: this folder cannot be created"),
        (["data.root=/nowhere"], "/nowhere/list/fine_train.txt: no such list file"),
        (["callbacks.poly_lr.pwoer=1"], "did you mean 'power'?"),
    ],
)
def test_bad_input_is_one_line(root, more, message):
    result = browse(root, *more)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_without_a_recipe():
    result = dl("browse")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "no recipe" in result.stderr


def test_label_ids_are_found(root, recipe, tmp_path):
    lines = (root / "city" / "list" / "fine_train.txt").read_text().replace("labelTrainIds", "labelIds")
    wrong = tmp_path / "label_ids.txt"
    wrong.write_text(lines)
    data = recipe.data.model_copy(update={"train_list": str(wrong)})
    with pytest.raises(DataError, match="labelIds instead of trainIds"):
        list(seen_samples(recipe.model_copy(update={"data": data}), 0, 6))


def test_epoch_beyond_the_recipe(recipe):
    with pytest.raises(OptionError, match=r"0\.\.11"):
        seen_samples(recipe, 12, 1)


def test_an_augmentation_without_tensors(recipe):
    order = ["scale", "rotate", "blur", "flip", "crop"]
    steps = {name: node for name, node in recipe.augmentation["steps"].items() if name in order}
    broken = recipe.model_copy(update={"augmentation": {**recipe.augmentation, "order": order, "steps": steps}})
    with pytest.raises(InputError, match="is to_tensor last"):
        list(seen_samples(broken, 0, 1))
