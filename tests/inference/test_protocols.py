"""Protocols beyond the reference's, against straightforward loops written here from the published behaviour."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from catalyst_cityscapes.inference import predict
from catalyst_cityscapes.inference.folder import test_images as run_test
from catalyst_cityscapes.inference.geometry import border, scale_of_test, size_at, views, windows
from catalyst_cityscapes.inference.predictor import Predictor
from catalyst_cityscapes.models.timm_fcn import TimmFCN
from catalyst_cityscapes.recipe.protocols import named
from catalyst_cityscapes.train.validation import predict_batch
from semseg_ref import tester
from semseg_ref.base.errors import OptionError
from semseg_ref.protocol import Protocol
from support.golden.inputs import rec_image
from support.networks.context import COLORS, ContextNet, write_city

pytestmark = pytest.mark.usefixtures("one_thread")
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
LOGITS = Protocol("image", "image", flip=False, pad_to="none", softmax="never")
RATIOS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


class Strided(nn.Module):
    """Logits at a quarter of the input's size, resized as `align_corners` says."""

    def __init__(self, align_corners, size_rule=None):
        super().__init__()
        torch.manual_seed(5)
        self.conv = nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2), nn.Tanh(), nn.Conv2d(8, 6, 3, 2, 1))
        self.align_corners = align_corners
        if size_rule is not None:
            self.size_rule = size_rule

    def forward(self, x):
        columns = torch.linspace(0, 1, x.shape[3]).to(x)
        return 3 * self.conv(x * (1 + columns))


# -- mmsegmentation, in float32 as it computes ---------------------------------------------------------------------
def input_of(image, size, mirrored=False):
    """float32 [1, 3, h, w]: resized as grey levels, perhaps mirrored, normalised."""
    if image.shape[:2] != size:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    image = image[:, ::-1] if mirrored else image
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()
    return ((planes - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])[None]


def in_box(height, width, long, short):
    factor = min(long / max(height, width), short / min(height, width))
    return int(height * factor + 0.5), int(width * factor + 0.5)


def to_size(logits, size, network):
    return F.interpolate(logits, size, mode="bilinear", align_corners=network.align_corners)


def whole_logits(network, x):
    return to_size(network(x), x.shape[2:], network)


def slide_logits(network, x, crop, stride):
    height, width = x.shape[2:]
    total, count = 0, torch.zeros(1, 1, height, width)
    rows = max(height - crop[0] + stride[0] - 1, 0) // stride[0] + 1
    columns = max(width - crop[1] + stride[1] - 1, 0) // stride[1] + 1
    for row in range(rows):
        for column in range(columns):
            y2, x2 = min(row * stride[0] + crop[0], height), min(column * stride[1] + crop[1], width)
            y1, x1 = max(y2 - crop[0], 0), max(x2 - crop[1], 0)
            part = whole_logits(network, x[:, :, y1:y2, x1:x2])
            total = total + F.pad(part, (x1, width - x2, y1, height - y2))
            count[:, :, y1:y2, x1:x2] += 1
    assert count.min() > 0
    return total / count


def close(found, expected, size):
    expected = expected[0].permute(1, 2, 0).numpy()
    assert found.shape == (*size, 6)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=2e-5)


SIZES = [(40, 80), (45, 71), (90, 33), (21, 30), (64, 128)]


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("aligned", [False, True])
def test_mmseg_whole(size, aligned):
    image, network = rec_image(1, *size), Strided(aligned)
    back = "bilinear_aligned" if aligned else "bilinear"
    x = input_of(image, in_box(*size, 80, 40))
    expected = to_size(whole_logits(network, x), size, network)
    close(predict(network, image, named("mmseg-whole", base_size=(80, 40), resize_back=back)), expected, size)


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [(22, 31), None])
def test_mmseg_slide(size, stride):
    image, network = rec_image(2, *size), Strided(True)
    x = input_of(image, in_box(*size, 81, 41))
    expected = to_size(slide_logits(network, x, (33, 33), stride or (22, 22)), size, network)
    protocol = named(
        "mmseg-slide", crop=(33, 33), base_size=(81, 41), stride=stride, resize_back="bilinear_aligned"
    )  # fmt: skip
    close(predict(network, image, protocol), expected, size)


@torch.no_grad()
@pytest.mark.parametrize("crop", ["image", (24, 32)])
@pytest.mark.parametrize("size", SIZES[1:4])
def test_mmseg_tta(size, crop):
    image, network = rec_image(3, *size), Strided(False)
    expected = 0
    for ratio in RATIOS:
        scaled = tuple(int(side * ratio + 0.5) for side in size)
        for mirrored in (False, True):
            x = input_of(image, scaled, mirrored)
            logits = whole_logits(network, x) if crop == "image" else slide_logits(network, x, crop, (16, 22))
            logits = logits.flip(3) if mirrored else logits
            expected = expected + F.softmax(to_size(logits, size, network), dim=1) / 12
    found = predict(network, image, named("mmseg-tta", crop=crop))
    close(found, expected, size)
    np.testing.assert_allclose(found.sum(axis=2), 1, atol=1e-6)


@torch.no_grad()
def test_mmseg_padding_to_a_multiple_is_cut_from_the_logits():
    size, network = (45, 71), Strided(False)
    image = rec_image(4, *size)
    x = F.pad(input_of(image, in_box(*size, 80, 40)), (0, 64 - 63, 0, 64 - 40))
    expected = to_size(whole_logits(network, x)[:, :, :40, :63], size, network)
    close(predict(network, image, named("mmseg-whole", base_size=(80, 40), pad_to=32)), expected, size)


# -- single fields -------------------------------------------------------------------------------------------------
def test_published_windows_and_sizes():
    slide = named("mmseg-slide")
    starts = windows(slide, 1025, 2049)
    assert [left for top, _, left, _ in starts if top == 0] == [0, 513, 1026, 1280]
    assert sorted({top for top, *_ in starts}) == [0, 256]
    assert size_at(slide, 1024, 2048, 1.0) == (1025, 2049)
    assert named("mmseg-slide", flip=False, stride=(400, 400)).name == slide.name == "mmseg-slide"
    assert named("mmseg-slide", flip=True).name is named("mmseg-whole", softmax="window").name is None
    segformer = named("mmseg-slide", crop=(1024, 1024), stride=(768, 768), base_size=(2048, 1024))
    assert [left for _, _, left, _ in windows(segformer, 1024, 2048)] == [0, 768, 1024]
    assert size_at(named("mmseg-whole"), 720, 1280, 1.0) == (1024, 1820)
    assert scale_of_test(named("mmseg-whole"), (720, 1280)) == 1024 / 720
    assert size_at(named("mmseg-tta"), 21, 30, 0.75) == (16, 23)
    assert views(named("mmseg-tta"))[:3] == [(0.5, False), (0.5, True), (0.75, False)]
    assert border(Protocol((65, 65), "image", pad_at="end"), 33, 70) == (0, 32, 0, 0)
    assert size_at(Protocol((9, 9), 25, rounding="half_up"), 10, 20, 0.5) == (6, 13)


@torch.no_grad()
def test_native_image_in_one_pass_as_gluoncv_tests():
    """'testval': the image's own size, arg-max of the logits, resized with aligned corners."""
    image, network = rec_image(5, 37, 58), Strided(True)
    close(predict(network, image, LOGITS), whole_logits(network, input_of(image, (37, 58))), (37, 58))


@torch.no_grad()
@pytest.mark.parametrize(("kind", "softmax"), [("window", "never"), ("window", "view"), ("image", "window")])
def test_mirror_images_and_softmax_in_any_order(kind, softmax):
    size, network = (24, 40), Strided(False)
    image = rec_image(6, *size)
    protocol = Protocol("image", "image", pad_to="none", softmax=softmax, mirrored=kind)
    plain = whole_logits(network, input_of(image, size))
    mirror = whole_logits(network, input_of(image, size, mirrored=True)).flip(3)
    expected = {
        "never": (plain + mirror) / 2,
        "view": F.softmax((plain + mirror) / 2, dim=1),
        "window": (F.softmax(plain, dim=1) + F.softmax(mirror, dim=1)) / 2,
    }[softmax]
    close(predict(network, image, protocol), expected, size)


@torch.no_grad()
@pytest.mark.parametrize("resize", ["opencv", "pillow", "aligned"])
def test_nearest_on_the_way_back_is_that_of_the_classes(resize):
    """And every kind of resize in front of the network."""
    size, network = (40, 60), Strided(False)
    image = rec_image(7, *size)
    protocol = Protocol(
        "image", (30, 20), flip=False, pad_to="none", softmax="never", resize=resize, resize_back="nearest"
    )
    if resize == "aligned":
        planes = torch.from_numpy(image.transpose(2, 0, 1).copy()).float()[None]
        scaled = F.interpolate(planes, (20, 30), mode="bilinear", align_corners=True)[0].numpy().transpose(1, 2, 0)
    elif resize == "opencv":
        scaled = cv2.resize(image.astype(np.float32), (30, 20))
    else:
        scaled = np.asarray(Image.fromarray(image).resize((30, 20), Image.Resampling.BILINEAR))
    logits = whole_logits(network, input_of(scaled, (20, 30)))[0].numpy()
    classes = cv2.resize(logits.argmax(axis=0).astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(predict(network, image, protocol).argmax(axis=2), classes)


def test_padding_colour():
    network = Strided(False)
    image = rec_image(8, 20, 30)
    black = cv2.copyMakeBorder(image, 0, 13, 0, 3, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    kept = Protocol((33, 33), "image", pad_at="end", pad_value=(0, 0, 0))
    padded = predict(network, black, Protocol((33, 33), "image"))[:20, :30]
    np.testing.assert_array_equal(predict(network, image, kept), padded)


# -- with the rest -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "protocol",
    [
        named("mmseg-whole", base_size=(80, 40)),
        named("mmseg-slide", crop=(33, 41), base_size=(80, 40)),
        named("mmseg-tta", scales=(0.5, 1.25), crop=(33, 33)),
    ],
    ids=lambda protocol: protocol.name,
)
def test_folders_in_batches_of_windows_of_several_sizes(protocol, tmp_path):
    """`fast` puts windows of different images into one batch; here images and windows differ in size."""
    network = ContextNet()
    sizes = [(45, 90), (45, 90), (30, 20), (46, 91)]
    pairs = write_city(tmp_path, network, Protocol((33, 33), 90), sizes)
    found = {}
    for mode, batch in (("exact", None), ("fast", 3)):
        run_test(network, pairs, protocol, tmp_path / mode, COLORS, mode=mode, batch=batch)
        found[mode] = [cv2.imread(str(tmp_path / mode / "gray" / f"i{k}.png"), 0) for k in range(len(sizes))]
    for seed, (exact, fast) in enumerate(zip(found["exact"], found["fast"], strict=True)):
        image = cv2.imread(str(tmp_path / f"i{seed}.png"))[:, :, ::-1]
        np.testing.assert_array_equal(exact, predict(network, image, protocol).argmax(axis=2))
        assert (exact != fast).mean() < 0.01


def test_memory_comes_back_and_validation_agrees():
    network, image = ContextNet(), rec_image(9, 31, 47)
    for name in ("mmseg-whole", "mmseg-slide", "mmseg-tta"):
        protocol = named(name, base_size=(60, 40), crop="image" if name != "mmseg-slide" else (33, 33))
        predictor = Predictor(network, protocol)
        found = predictor.predict(image)
        scores = found.probabilities()
        found.release()
        assert not predictor.pool._lent
        assert not predictor.pixel_pool._lent
        classes, logits = predict_batch(network, torch.from_numpy(image.astype(np.float32))[None], protocol)
        np.testing.assert_array_equal(classes[0].numpy(), scores.argmax(axis=2))
        expected = scores if protocol.softmax == "never" else np.log(scores)
        np.testing.assert_allclose(logits[0].permute(1, 2, 0).numpy(), expected, atol=1e-4)


def test_a_network_says_how_its_logits_come_to_the_window():
    protocol, image = Protocol((33, 33), 60), rec_image(10, 40, 60)
    maps = {}
    for aligned in (True, False):
        network = Strided(aligned)
        maps[aligned] = predict(network, image, protocol)
        assert maps[aligned].tobytes() == tester.predict(network, image, protocol).tobytes()
    assert np.abs(maps[True] - maps[False]).max() > 1e-3


@torch.no_grad()
def test_timm_backbone_is_resized_without_aligned_corners():
    network = TimmFCN("resnet18", classes=6, pretrained=False).eval()
    image = rec_image(11, 64, 96)
    x = input_of(image, (64, 96))
    logits = network(x)
    logits = logits[0] if isinstance(logits, tuple) else logits
    expected = F.interpolate(logits, (64, 96), mode="bilinear", align_corners=False)
    assert logits.shape[2:] != (64, 96)
    close(predict(network, image, LOGITS), expected, (64, 96))


def test_sides_that_a_network_does_not_take_are_refused_by_image(tmp_path):
    network, image = Strided(False, size_rule=32), rec_image(12, 45, 71)
    with pytest.raises(OptionError, match=r"image 1: a window of 45 x 71: 45 is not possible: .*nearest: 32, 64"):
        predict(network, image, named("mmseg-tta", scales=(1.0,)))
    assert predict(network, image, named("mmseg-tta", scales=(1.0,), pad_to=32)).shape == (45, 71, 6)


def test_the_references_tester_refuses_by_name():
    with pytest.raises(
        OptionError, match=r"^protocol: pad_to none, softmax never, crop image, base_size image: the ref"
    ):
        tester.predict(Strided(True), rec_image(0, 9, 9), LOGITS)
    with pytest.raises(OptionError, match=r"^protocol mmseg-tta: the reference's tester does not do that \(.*softmax"):
        tester.predict(Strided(True), rec_image(0, 9, 9), named("mmseg-tta"))
