"""Starting from a whole network: everything but the classifiers of other classes comes from the file."""

import pytest
import torch

from semseg_ref.base.checkpoints.fine_tuning import start_from
from semseg_ref.base.checkpoints.state_dict import read_checkpoint
from semseg_ref.base.errors import CheckpointError
from semseg_ref.model.resnet import load_pretrained, resnet50
from support.networks.small import SmallLogits
from support.runs.toy import SMALL, toy_recipe, train_catalyst

CLASSIFIERS = ("cls.1.weight", "cls.1.bias", "aux.1.weight", "aux.1.bias")


def network(classes: int, seed: int = 0) -> SmallLogits:
    torch.manual_seed(seed)
    return SmallLogits(classes=classes)


def started(tmp_path, model, content, classes: int) -> str:
    torch.save(content, tmp_path / "city.pth")
    told = []
    start_from(model, tmp_path / "city.pth", classes, told.append)
    assert len(told) == 1
    return told[0].removeprefix(f"{tmp_path / 'city.pth'}: ")


@pytest.mark.parametrize("prefix", ["module.", "", "model."])
def test_only_the_classifiers_stay_random(tmp_path, prefix):
    source, model = network(19), network(3, seed=1)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    content = {"epoch": 200, "state_dict": {prefix + name: value for name, value in source.state_dict().items()}}
    said = started(tmp_path, model, content, 3)
    assert f"random, for 3 classes instead of 19: {', '.join(CLASSIFIERS)}" in said
    for name, value in model.state_dict().items():
        assert torch.equal(value, fresh[name] if name in CLASSIFIERS else source.state_dict()[name]), name


def test_the_same_classes_take_everything(tmp_path):
    source, model = network(3), network(3, seed=1)
    assert started(tmp_path, model, source.state_dict(), 3).endswith("which are the whole network")
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("layer4.0.weight"), "1 missing: layer4.0.weight"),
        (lambda state: state.update(extra=torch.ones(1)), "1 unexpected: extra"),
        (lambda state: state.update({"layer4.1.bias": torch.ones(9)}), "layer4.1.bias [9] instead of [8]"),
        (lambda state: state.update({"aux.1.bias": torch.ones(7)}), "only classifiers of another number of classes"),
        (
            lambda state: state.update({"cls.1.weight": torch.ones(19, 4, 1, 1)}),
            "[19, 4, 1, 1] instead of [3, 8, 1, 1]",
        ),
    ],
)
def test_anything_else_is_refused(tmp_path, change, said):
    state, model = network(19).state_dict(), network(3, seed=1)
    change(state)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        started(tmp_path, model, state, 3)
    assert said in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_run_starts_from_the_file_and_a_resumed_one_does_not(toy_city, workdir, capsys):
    source = network(7)
    torch.save({"state_dict": source.state_dict()}, "city.pth")
    settings = ("experiment.weights=city.pth", "experiment.epochs=1", "optimizer.lr=1e-9", "optimizer.weight_decay=0")
    recipe = toy_recipe(toy_city, *SMALL, *settings)
    train_catalyst(recipe)
    assert "city.pth: starting from" in capsys.readouterr().err
    trained = read_checkpoint("run/model/last.pth")["state_dict"]
    assert torch.allclose(trained["module.layer0.0.weight"], source.layer0[0].weight, atol=1e-6)
    assert trained["module.cls.1.bias"].shape == (19,)
    (workdir / "city.pth").unlink()
    train_catalyst(toy_recipe(toy_city, *SMALL, *settings), resume=workdir / "run/model/last.pth")


def test_a_whole_network_as_imagenet_weights_names_the_key(tmp_path):
    state = {f"layer{n}.0.conv1.weight": torch.ones(1, 1, 1, 1) for n in (1, 2, 3, 4)}
    torch.save({**state, "layer0.0.weight": torch.ones(64, 3, 3, 3)}, tmp_path / "city.pth")
    with pytest.raises(CheckpointError, match=r"\(fine-tuning, other classes too\) set experiment\.weights to it"):
        load_pretrained(resnet50(), tmp_path / "city.pth")
