"""Errors that the golden files' tolerances must find, planted one at a time, on any processor.

Each is small as errors of this kind go: the code runs, the probabilities look right, the score hardly moves. `FACTOR`
times the tolerance is what the least of them must exceed, so that no slack in a tolerance hides one.
"""

import numpy as np
import pytest
import torch
from torch import nn

from semseg_ref import tester
from support.golden.inputs import MEAN, STD, load_golden
from support.golden.runs import forward, network_of_the_tester, probabilities, training_step
from support.golden.tolerances import planted, tolerances

pytestmark = [pytest.mark.golden, pytest.mark.usefixtures("golden_threads")]
FACTOR = 3


@pytest.fixture
def found(request):
    """Says that the largest difference from a golden array exceeds its tolerance by `FACTOR`."""

    def assert_found(file, quantity, values, key):
        times = planted(request.node.name, values, load_golden(file)[key], tolerances(file).each(quantity))
        print(f"{request.node.name}: {times:.0f} times the tolerance")
        assert times > FACTOR

    return assert_found


def batch_norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def eps_of_all(model):
    for module in batch_norms(model):
        module.eps = 1e-3


def eps_of_the_last(model):
    batch_norms(model.cls)[-1].eps = 1e-3


def weights_in_tf32(model):
    """What a kernel that multiplies with 10 bits, as TF32 does, would make of them."""
    with torch.no_grad():
        for parameter in model.parameters():
            bits = parameter.view(torch.int32)
            bits.add_(1 << 12).bitwise_and_(-1 << 13)


def features_a_pixel_off(model):
    """What pooling and classification read is shifted by one cell."""
    model.layer4.register_forward_hook(lambda _module, _inputs, output: output.roll(1, dims=3))


@pytest.mark.parametrize("spoil", [eps_of_all, eps_of_the_last, weights_in_tf32, features_a_pixel_off])
def test_in_the_network(spoil, found):
    found("forward_pspnet50_z8", "logits", forward("forward_pspnet50_z8", spoil)["logits"], "logits")


@pytest.fixture
def align_corners_flipped(monkeypatch):
    """Every bilinear resize of torch, in the network and in the tester, has the other alignment."""
    resize = nn.functional.interpolate

    def other(*arguments, align_corners=None, **options):
        return resize(*arguments, align_corners=not align_corners, **options)

    monkeypatch.setattr(nn.functional, "interpolate", other)


def test_align_corners_flipped_in_the_network(align_corners_flipped, found):
    found("forward_pspnet50_z8", "logits", forward("forward_pspnet50_z8")["logits"], "logits")


@pytest.mark.slow
def test_align_corners_flipped_in_the_tester(monkeypatch, found):
    """With zoom_factor 1 the tester enlarges the logits; the network's own resizes are left right."""
    resize = nn.functional.interpolate

    def other(values, size, align_corners, **options):
        return resize(values, size, align_corners=align_corners != (values.shape[1] == 19), **options)

    monkeypatch.setattr(nn.functional, "interpolate", other)
    prob = probabilities("tester_zoom1")["prob"][::2, ::2]
    found("tester_zoom1", "prob", prob, "prob_sub2")


def test_one_window_shifted_by_a_pixel(monkeypatch, found):
    """The second of four is read one column too far right."""
    calls, window = [], tester.predict_window

    def shifted(model, image, *arguments):
        calls.append(1)
        return window(model, np.roll(image, -1, axis=1) if len(calls) == 2 else image, *arguments)

    monkeypatch.setattr(tester, "predict_window", shifted)
    prob = probabilities("tester_scale_process_a")["prob"]
    assert len(calls) == 4
    found("tester_scale_process_a", "prob", prob, "prob")


NORMALISATIONS = {
    "mean and std swapped": (STD, MEAN),
    "std of the channels in reverse": (MEAN, STD[::-1]),
    "std of 0.225 for all": (MEAN, [0.225 * 255] * 3),
    "mean rounded to grey levels": ([float(round(value)) for value in MEAN], STD),
}


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_normalisation(name, monkeypatch, found):
    window = tester.predict_window
    mean, std = NORMALISATIONS[name]
    monkeypatch.setattr(tester, "predict_window", lambda model, image, *_: window(model, image, mean, std))
    prob = probabilities("tester_net_process_flip")["prob"]
    found("tester_net_process_flip", "prob", prob, "prob")


def test_std_divided_by_where_there_is_none(monkeypatch, found):
    window = tester.predict_window
    monkeypatch.setattr(tester, "predict_window", lambda model, image, mean, std, flip: window(model, image, mean, STD))
    prob = probabilities("tester_net_process_nostd")["prob"]
    found("tester_net_process_nostd", "prob", prob, "prob")


@pytest.mark.parametrize("file", ["tester_net_process_flip", "tester_net_process_nostd"])
def test_eps_in_the_tester(file, found):
    """Also where the tolerance is largest, because the logits are."""
    network = network_of_the_tester()
    eps_of_all(network)
    found(file, "prob", probabilities(file, network)["prob"], "prob")


@pytest.mark.slow
def test_eps_in_a_training_step(monkeypatch, found):
    monkeypatch.setattr(nn.BatchNorm2d.__init__, "__defaults__", (1e-3, *nn.BatchNorm2d.__init__.__defaults__[1:]))
    step = training_step("forward_train_pspnet50_z1")
    found("forward_train_pspnet50_z1", "main_loss", step["main_loss"], "main_loss")
