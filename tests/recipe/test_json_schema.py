"""The JSON schema of recipes: it takes what is shipped and what may be written, and refuses what is misspelt."""

import json
import re
from importlib.metadata import version
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from catalyst_cityscapes.recipe.json_schema import SCHEMA_FILE
from catalyst_cityscapes.recipe.loading import read_yaml
from catalyst_cityscapes.recipe.places import CONFIGS, shipped_configs, shipped_parts
from catalyst_cityscapes.recipe.schema import Recipe
from support.command_line import dl
from support.places import PROJECT

SHIPPED = [name for name in (*shipped_configs(), *shipped_parts()) if not name.startswith("ladders/")]
DESCRIBED = ("torch", "torchvision", "segmentation-models-pytorch", "pydantic")
"""Packages whose components, or whose way of writing a schema, the file holds."""


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json.loads(SCHEMA_FILE.read_text())


@pytest.fixture(scope="module")
def faults(schema):
    """Text of a recipe -> (key path, message) of each place that the schema refuses."""
    validator = Draft202012Validator(schema)

    def found(text: str) -> list[tuple[str, str]]:
        errors = validator.iter_errors(yaml.safe_load(text))
        return [(".".join(map(str, error.absolute_path)), error.message) for error in errors]

    return found


def test_the_committed_file_is_what_the_command_writes(tmp_path):
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)", (PROJECT / "requirements.txt").read_text(), re.M))
    if any(version(name).partition("+")[0] != pinned[name] for name in DESCRIBED):
        pytest.skip("the committed file describes the pinned versions")
    target = tmp_path / "new" / "recipe.schema.json"
    assert dl("schema", "--to", str(target)).output.startswith(f"{target}: ")
    message = "catalyst-dl schema --to catalyst_cityscapes/configs/recipe.schema.json writes the new one"
    assert target.read_text() == SCHEMA_FILE.read_text(), message
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_without_a_file_it_is_printed(schema):
    printed = json.loads(dl("schema").stdout)
    assert printed.keys() == schema.keys()
    assert set(printed["properties"]) == {"base", *Recipe.model_fields}


def test_it_is_a_schema(schema):
    Draft202012Validator.check_schema(schema)
    named = set(re.findall(r'"\$ref": "#/\$defs/([^"]+)"', SCHEMA_FILE.read_text()))
    assert named <= set(schema["$defs"])


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_name_it_and_are_valid(name, schema):
    path = CONFIGS / name
    first = path.read_text().splitlines()[0]
    start = "# yaml-language-server: $schema="
    assert first.startswith(start)
    assert (path.parent / first.removeprefix(start)).resolve() == SCHEMA_FILE
    errors = Draft202012Validator(schema).iter_errors(read_yaml(path))
    assert [(error.json_path, error.message) for error in errors] == []


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ("smapling: {batch_size: 4}", "", "smapling"),
        ("sampling: {batchsize: 4}", "sampling", "batchsize"),
        ("experiment: {epochs: many}", "experiment.epochs", "many"),
        ("engine: {precision: fp17}", "engine.precision", "fp17"),
        ("data: {crop: [97]}", "data.crop", "too short"),
        ("optimizer: {_target_: torch.optim.SGD, momentumm: 0.9}", "optimizer", "momentumm"),
        ("optimizer: {_target_: torch.optim.SDG}", "optimizer._target_", "torch.optim.SDG"),
        ("optimizer: {momentumm: 0.9}", "optimizer", "momentumm"),
        ("optimizer: {groups: {head_multiplyer: 10}}", "optimizer.groups", "head_multiplyer"),
        ("model: {layerz: 101}", "model", "layerz"),
        ("criterion: {_target_: torch.nn.CrossEntropyLoss, ignore_indx: 255}", "criterion", "ignore_indx"),
        ("callbacks: {poly_lr: {pwoer: 1}}", "callbacks.poly_lr", "pwoer"),
        ("callbacks: {poly_lr: {weight: 1}}", "callbacks.poly_lr", "weight"),  # of another callback
        ("callbacks: {poly_lr: {power: high}}", "callbacks.poly_lr.power", "high"),
        ("callbacks: {x: {_target_: catalyst_cityscapes.callbacks.PloyLR}}", "callbacks.x._target_", "PloyLR"),
        ("callbacks: {x: {_taget_: my.Callback}}", "callbacks.x", "_taget_"),
        ("augmentation: {steps: {blur: {radios: 3}}}", "augmentation.steps.blur", "radios"),
        ("augmentation: {odrer: [blur]}", "augmentation", "odrer"),
        ("model: {_target_: torch.optim.SGD}", "model._target_", "torch.optim.SGD"),
        ("base: []", "base", ""),
    ],
)
def test_misspelt_recipes_are_refused_at_their_key(text, place, word, faults):
    assert any(at == place and word in message for at, message in faults(text)), faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "base: toy/pspnet50",
        "base: [a.yml, b.yml]\nexpected: null",
        "sampling: {batch_size: '${x.y}', drop_last: '${x.z}'}\nengine: {precision: '${p}'}\ndata: '${d}'",
        "data: {crop: ['${h}', 97], root: '${r}/x'}\nexperiment: {name: 'a_${b}', seed: null}",
        "model: {_target_: my_net.MyNet, layerz: 5, inner: {_target_: torch.nn.ReLU}}",
        "model: {_target_: segmentation_models_pytorch.Unet, encoder_name: resnet34, classes: 19}",
        "model: {encoder_name: resnet18}",
        "model: {_target_: torchvision.models.segmentation.fcn_resnet50, num_classes: 19, anything: 1}",
        "optimizer: {_target_: timm.optim.Lamb, trust_clip: true, groups: null}",
        "optimizer: {_target_: catalyst_cityscapes.optimization.DecoupledSGD, lr: 1}",
        "optimizer: {_target_: torch.optim.sgd.SGD, lr: 1, groups: {head_multiplier: 3}}",
        "criterion: {_target_: torch.nn.CrossEntropyLoss, weight: {_target_: torch.ones, size: [19]}}",
        "callbacks: {watch: {_target_: catalyst_cityscapes.callbacks.watch.Watch}, poly_lr: null, mine: '${c}'}",
        "callbacks: {poly_lr: {_target_: my.Schedule, whatever: 1}}",
        "augmentation: {steps: {blur: null, mine: {_target_: my.Step, size: 3}, crop: {size: '${data.crop}'}}}",
        "augmentation: {_target_: albumentations.Compose, transforms: []}",
        "augmentation: {steps: {f: {_target_: my.function, _mode_: partial}}}",
    ],
)
def test_what_a_recipe_may_say_is_taken(text, faults):
    assert faults(text) == []


def test_components_have_their_first_line_and_defaults(schema):
    sgd, poly = (schema["$defs"][name] for name in ("torch.optim.SGD", "catalyst_cityscapes.callbacks.PolyLR"))
    assert sgd["properties"]["lr"]["default"] == 0.001
    assert sgd["properties"]["nesterov"]["default"] is False
    assert {"params"} & set(sgd["properties"]) == set()
    assert "groups" in sgd["properties"]
    assert poly["description"].startswith("After step k")
    assert {"model", "lr"} & set(schema["$defs"]["catalyst_cityscapes.optim.reference_groups"]["properties"]) == set()


def test_misspelt_values_of_a_component_are_not_lost_in_a_union(schema):
    # What an editor says is the message of the innermost place, so no section may be one of several alternatives.
    sections = {name: value for name, value in schema["properties"].items() if name not in ("base", "expected")}
    assert all("anyOf" not in value for value in sections.values())
