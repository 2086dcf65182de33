"""What a network of anybody's returns is looked at before the first image, in one line where it does not fit."""

import random
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import SemanticSegmenterOutput

from catalyst_cityscapes.models.contract import check_network
from catalyst_cityscapes.models.resizing import Resizing
from semseg_ref.base.errors import InputError
from support.networks.small import SmallLogits


class Returns(nn.Module):
    """A network that returns what a function makes of its two heads' logits."""

    def __init__(self, make, classes: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.make = make
        self.c = nn.Sequential(nn.Conv2d(3, classes, 3, stride, padding=1), nn.BatchNorm2d(classes), nn.Dropout(0.5))

    def forward(self, x):
        logits = self.c(x)
        return self.make(logits, logits if self.training else None)


def pair(main, aux):
    return main, aux


def check(network, aux_weight=0.4, crop=(33, 33), training=True, resized="logits"):
    weights = aux_weight if isinstance(aux_weight, tuple) else (aux_weight,)
    check_network(network, 3, crop, weights, Resizing(resized) if training else None)


@pytest.mark.parametrize(
    ("network", "aux_weight"),
    [
        (Returns(pair), 0.4),
        (Returns(pair, stride=2), 0.4),
        (Returns(lambda main, aux: [main, aux]), 0.4),
        (Returns(lambda main, aux: main), 0.0),
        (Returns(lambda main, aux: {"out": main, "aux": main}), 0.4),
        (Returns(lambda main, aux: SemanticSegmenterOutput(logits=main)), 0.0),
        (Returns(lambda main, aux: (main, main[:, :, ::2, ::2], main[:, :, ::3, ::3])), (0.4, 0.2)),
        (Returns(lambda main, aux: (main[:, :, :8, :8], aux)), 0.4),
        (SmallLogits(classes=3), 0.4),
    ],
)
def test_what_fits(network, aux_weight):
    check(network, aux_weight)
    check(network, aux_weight, crop=(713, 33))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda main, aux: main,
            "no auxiliary logits in training, and callbacks.aux_loss.weight is 0.4: set that to 0",
        ),
        (lambda main, aux: (main, None), "no auxiliary logits in training"),
        (
            lambda main, aux: {"masks": main, "aux": aux},
            "returns dict with the keys masks, aux in training mode; expected logits",
        ),
        (lambda main, aux: (main, "aux"), "returns tuple of 2 (Tensor, str) in training mode"),
        (lambda main, aux: (None, main), "returns tuple of 2 (NoneType, Tensor) in training mode"),
        (
            lambda main, aux: (main, aux, aux),
            "2 auxiliary head(s) in training, and callbacks.aux_loss.weight has 1 (0.4): expected a list of 2",
        ),
        (lambda main, aux: SimpleNamespace(logits=main), "returns SimpleNamespace in training mode"),
        (
            lambda main, aux: (main, aux if aux is None else aux[:, :2]),
            "auxiliary logits of 2 classes, and data.classes is 3",
        ),
        (lambda main, aux: (main.argmax(1), aux), "main logits torch.int64 [2, 33, 33] for two images"),
        (lambda main, aux: (main, aux) if aux is not None else {"x": main}, "dict with the keys x in eval mode"),
    ],
)
def test_what_does_not_fit_is_told_with_what_is_expected(make, said):
    with pytest.raises(InputError) as error:
        check(Returns(make))
    assert str(error.value).startswith("model: Returns returns ")
    assert said in str(error.value)


@pytest.mark.parametrize("cut", [slice(8), slice(None, None, 3)], ids=["8 of 33", "11 of 33"])
def test_labels_are_taken_on_a_grid_of_their_pixels(cut):
    check(Returns(pair, stride=2), resized="labels")
    with pytest.raises(InputError, match=r"for an input of 33 x 33: no grid of its pixels .*set that to logits"):
        check(Returns(lambda main, aux: (main[:, :, cut, cut], aux)), resized="labels")


def test_a_size_that_the_network_refuses():
    class Halves(Returns):
        def forward(self, x):
            if x.shape[-1] % 32:
                raise RuntimeError("Wrong input shape")
            return super().forward(x)

    check(Halves(pair), crop=(512, 256))
    with pytest.raises(
        InputError, match=r"does not take images of data\.crop, 713 x 713, .*Wrong input shape; what it ret"
    ):
        check(Halves(pair), crop=(713, 713))


def test_a_function_that_makes_no_network():
    with pytest.raises(InputError, match=r"expected a torch\.nn\.Module, the _target_ returned function"):
        check(pair)


def test_a_test_only_asks_for_the_main_logits_in_eval_mode():
    check(Returns(lambda main, aux: main), training=False)
    with pytest.raises(InputError, match=r"2 classes, and data\.classes is 3"):
        check(Returns(pair, classes=2), training=False)


def test_parameters_without_a_gradient_are_named():
    network = Returns(pair)
    network.spare = nn.Linear(2, 2)
    assert check_network(network, 3, (33, 33), (0.4,), Resizing()) == ["spare.weight", "spare.bias"]
    assert check_network(network, 3, (33, 33), (0.4,)) == []
    assert check_network(Returns(pair), 3, (33, 33), (0.4,), Resizing()) == []
    assert all(parameter.grad is None for parameter in network.parameters())


def test_nothing_is_changed_by_looking():
    network = Returns(pair).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(5)
    random.seed(5)
    expected = torch.rand(1), random.random()
    torch.manual_seed(5)
    random.seed(5)
    check(network)
    assert (torch.rand(1), random.random()) == expected
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize("last", [lambda x: x.softmax(1), lambda x: x.sigmoid()], ids=["softmax", "sigmoid"])
def test_probabilities_are_no_logits(last):
    with pytest.raises(InputError, match=r"between 0 and 1, so probabilities: .*activation: null"):
        check(Returns(lambda main, aux: last(main)), 0.0)


def test_logits_without_negative_values_are_taken():
    check(Returns(lambda main, aux: main.relu()), 0.0)
