"""Networks that draw random numbers at test: what they draw follows from a seed and from where the image stands."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from catalyst_cityscapes.inference import predict
from catalyst_cityscapes.inference.fast_network import fold_batch_norm
from catalyst_cityscapes.inference.folder import test_images as run_test
from catalyst_cityscapes.inference.predictor import Predictor
from catalyst_cityscapes.models.random_at_test import streams_of_test
from catalyst_cityscapes.recipe.protocols import named
from catalyst_cityscapes.train.validation import predict_batch
from semseg_ref.base.errors import OptionError
from semseg_ref.protocol import Protocol
from support.golden.inputs import rec_image
from support.networks.context import COLORS

pytestmark = pytest.mark.usefixtures("one_thread")
SLIDE = named("mmseg-slide", crop=(24, 32), base_size=(80, 40))
SIZES = ((40, 80), (30, 60), (40, 80))


class Drawing(nn.Module):
    """Logits with noise as large as themselves."""

    random_at_test = True

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.conv, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)

    def forward(self, x):
        return self.norm(self.conv(x)) + torch.randn(len(x), 6, *x.shape[2:])


def predictions(images, folder, **options):
    pairs = []
    for name, image in images.items():
        cv2.imwrite(str(folder / f"{name}.png"), image[:, :, ::-1])
        pairs.append((str(folder / f"{name}.png"), ""))
    said = []
    run = run_test(Drawing(), pairs, SLIDE, folder / "out", COLORS, report=said.append, **options)
    found = [cv2.imread(str(folder / "out" / "gray" / name), cv2.IMREAD_GRAYSCALE) for name in run.names]
    return found, said, run.settings


def test_a_test_repeats_whatever_the_generator_the_batch_and_the_other_images(tmp_path):
    images = {f"i{seed}": rec_image(seed, *size) for seed, size in enumerate(SIZES)}
    torch.manual_seed(1)
    expected, said, settings = predictions(images, tmp_path)
    assert settings["seed_of_draws"] == 0
    assert "draws random numbers in every forward, at test too: here from seed 0" in said[0]
    before = torch.get_rng_state()
    for options in ({}, {"mode": "fast", "batch": 1}, {"mode": "fast", "batch": 3}):
        found, _, _ = predictions(images, tmp_path, **options)
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours != theirs).mean() < 0.001, options
    assert torch.equal(torch.get_rng_state(), before)
    # Another image in the first place changes nothing of the others.
    found, _, _ = predictions({**images, "i0": rec_image(9, 40, 80)}, tmp_path)
    assert (found[0] != expected[0]).mean() > 0.1
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[2], expected[2])
    other, _, settings = predictions(images, tmp_path, seed=7)
    assert settings["seed_of_draws"] == 7
    assert (other[0] != expected[0]).mean() > 0.1


def test_windows_views_and_images_draw_different_numbers():
    """Of a grey image, whose windows would be equal without their draws."""
    image = np.full((20, 40, 3), 90, np.uint8)
    protocol = named("mmseg-slide", crop=(20, 20), stride=(20, 20), base_size=(40, 20))
    predictor = Predictor(Drawing(), protocol, draws=streams_of_test(None))
    first, again, second = (predictor.predict(image, index).probabilities() for index in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - second).max() > 0.1
    assert np.abs(first[:, 2:18] - first[:, 22:38]).max() > 0.1


def test_one_prediction_draws_from_torchs_generator():
    """So that `torch.manual_seed` before it pins it, as before a forward."""
    network, image = Drawing(), rec_image(1, 24, 32)
    protocol = named("mmseg-whole", base_size=(32, 24))
    torch.manual_seed(5)
    expected = predict(network, image, protocol)
    assert not np.array_equal(predict(network, image, protocol), expected)
    torch.manual_seed(5)
    np.testing.assert_array_equal(predict(network, image, protocol), expected)


def test_validation_draws_what_the_test_will(tmp_path):
    images = {f"i{seed}": rec_image(seed, *size) for seed, size in enumerate(SIZES)}
    expected, _, _ = predictions(images, tmp_path, seed=4)
    for index, image in enumerate(images.values()):
        pixels = torch.from_numpy(image.astype(np.float32))[None]
        classes, _ = predict_batch(Drawing().eval(), pixels, SLIDE, streams_of_test(4), index)
        np.testing.assert_array_equal(classes[0].numpy(), expected[index])


def test_batch_norm_is_folded_all_the_same():
    """The folded network is held against the network itself under the same draws, and none of the test's are used."""
    network, window = Drawing().eval(), torch.zeros(1, 3, 8, 8)
    before = torch.get_rng_state()
    folded = fold_batch_norm(network, window)
    assert isinstance(folded.norm, nn.Identity)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_references_tester_is_refused(tmp_path):
    with pytest.raises(OptionError, match=r"^--tester reference: this network draws random numbers at test.*exact or"):
        run_test(Drawing(), [("a.png", "")], Protocol((9, 9), 20), tmp_path, COLORS, mode="reference")
