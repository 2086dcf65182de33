"""Checkpoints of mmsegmentation: recognised, held against recipes, written; strict where the framework only warns."""

import os
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from catalyst_cityscapes.evaluation.score_run import build_for_test
from catalyst_cityscapes.export.weights import convert, read_weight_file
from catalyst_cityscapes.export.weights.class_names import differing_classes
from catalyst_cityscapes.lab.measure.weights import measure_initial_weights
from catalyst_cityscapes.models.from_recipe import recipe_network
from catalyst_cityscapes.models.known import ClassTable, origin, recognise
from catalyst_cityscapes.recipe.loading import load_layers, load_recipe, resolve_recipe
from catalyst_cityscapes.runs.checkpoints import trained_for
from semseg_ref.base.checkpoints.state_dict import read_checkpoint
from semseg_ref.base.errors import CheckpointError
from semseg_ref.catalog import load_colors, load_names
from support.golden.mmseg_networks import on_meta
from support.weight_files import hollow, prefixed, refusal, rows, run, same

CITYSCAPES = load_names("cityscapes_names.txt")
COLOURS = load_colors("cityscapes_colors.txt").tolist()
RECIPE = ("--config", "cityscapes/pspnet50", "_base_/models/mmseg/segformer_b3", "--set", "model.name=segformer_b0")
SMALL = ("pspnet_r18", "deeplabv3plus_r18", "hrnet_w18s", "ocrnet_w18s", "segformer_b0", "segnext_t")


def state_of(name: str, classes: int = 19, **overrides: object) -> dict[str, Tensor]:
    return hollow(on_meta(name, classes=classes, **overrides))


class MessageHub:
    """As mmengine keeps its log in a checkpoint."""

    def __init__(self) -> None:
        self.log = {"loss": [0.5]}


class HostileHub(MessageHub):
    """Unpickling it runs a command of the shell."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


def old(state: dict[str, Tensor], **changes: object) -> dict:
    meta = {"mmseg_version": "0.5.0", "mmcv_version": "0.5.4", "CLASSES": tuple(CITYSCAPES), "PALETTE": COLOURS}
    return {"meta": {**meta, "iter": 80000, "config": "model = dict()", **changes}, "state_dict": OrderedDict(state)}


def new(state: dict[str, Tensor], **changes: object) -> dict:
    dataset = {"classes": tuple(CITYSCAPES), "palette": COLOURS, **changes}
    return {
        "meta": {"mmengine_version": "0.10.7", "epoch": 0, "iter": 160000, "cfg": "a = 1", "dataset_meta": dataset},
        "state_dict": OrderedDict(state),
        "message_hub": {"log_scalars": {"train/loss": MessageHub()}},
        "optimizer": {"state": {}, "param_groups": []},
        "param_schedulers": [{"last_step": 3}],
    }


@pytest.fixture(scope="module")
def b0() -> dict[str, Tensor]:
    return state_of("segformer_b0")


@pytest.mark.parametrize("name", ["pspnet_r50", "segnext_s"])
def test_a_network_is_told_by_its_names(name):
    state = on_meta(name, classes=11).state_dict()
    found = recognise(state)
    assert (found.name, found.classes) == (name, 11)
    del (
        state["decode_head.conv_seg.weight"],
        state["backbone.layer1.0.bn1.bias" if name[0] == "p" else "backbone.norm1.bias"],
    )
    assert recognise(state).name == name


def test_a_width_of_the_head_is_seen_and_other_networks_are_not_known():
    assert recognise(on_meta("segnext_t", head_channels=64).state_dict()).settings == {"head_channels": 64}
    state = on_meta("segformer_b0").state_dict()
    backbone = {key: value for key, value in state.items() if key.startswith("backbone.")}
    assert recognise(backbone) is None
    assert recognise({"decode_head.fusion_conv.conv.weight": torch.ones(1)}) is None


@pytest.mark.parametrize("name", SMALL)
def test_a_checkpoint_of_this_project_becomes_the_frameworks(tmp_path, name):
    state = state_of(name)
    ours, theirs = tmp_path / "train_epoch_9.pth", tmp_path / "theirs.pth"
    data = {"names": "cityscapes_names.txt", "colors": "cityscapes_colors.txt", "classes": 19}
    content = {"epoch": 9, "iteration": 400, "state_dict": prefixed(state), "optimizer": {}, "callbacks": {}}
    torch.save({**content, "recipe": {"data": data}}, ours)

    done = convert(ours, theirs)
    assert done.form == "official"
    assert done.left_out == ["optimizer", "callbacks", "recipe"]
    written = torch.load(theirs, weights_only=True)  # what the framework does with it
    assert list(written) == ["meta", "state_dict"]
    assert written["meta"]["CLASSES"] == written["meta"]["dataset_meta"]["classes"] == CITYSCAPES
    assert written["meta"]["PALETTE"] == written["meta"]["dataset_meta"]["palette"] == COLOURS
    assert (written["meta"]["epoch"], written["meta"]["iter"]) == (9, 400)
    assert same(written["state_dict"], state)

    assert read_weight_file(theirs).known.name == name


def test_safetensors_keeps_the_classes(tmp_path, b0):
    torch.save(old(b0), tmp_path / "x.pth")
    convert(tmp_path / "x.pth", tmp_path / "x.safetensors")
    again = read_weight_file(tmp_path / "x.safetensors")
    assert again.classes == ClassTable(tuple(CITYSCAPES), tuple(map(tuple, COLOURS)))
    convert(tmp_path / "x.safetensors", tmp_path / "again.pth")
    written = read_checkpoint(tmp_path / "again.pth")
    assert same(written["state_dict"], b0)
    assert written["meta"]["iter"] == 80000


@pytest.mark.parametrize("make", [old, new])
def test_how_long_the_weights_were_trained_goes_there_and_back(tmp_path, b0, make):
    iterations = make(b0)["meta"]["iter"]
    torch.save(make(b0), tmp_path / "x.pth")
    done = convert(tmp_path / "x.pth", tmp_path / "x.safetensors")
    assert not {"epoch", "iteration"} & set(done.left_out)
    content = read_checkpoint(tmp_path / "x.safetensors")
    assert trained_for(content) == {"epoch": make(b0)["meta"].get("epoch"), "iteration": iterations}
    assert origin({"meta": {"mmengine_version": "0", "iter": "7"}}).trained == {}


def test_a_frameworks_file_is_tested_as_of_its_iteration(tmp_path):
    recipe = load_recipe(["mmseg/toy/segformer_b0"])
    state = recipe_network(recipe).state_dict()
    torch.save(old(state, iter=20), tmp_path / "x.pth")
    assert build_for_test(recipe, tmp_path / "x.pth", "cpu")[1] == {"epoch": None, "iteration": 20}
    convert(tmp_path / "x.pth", tmp_path / "x.safetensors")
    assert build_for_test(recipe, tmp_path / "x.safetensors", "cpu")[1] == {"epoch": None, "iteration": 20}


@pytest.mark.parametrize(("make", "what"), [(old, "0.x"), (new, "1.x")])
@pytest.mark.parametrize("zipped", [True, False])
def test_published_and_own_files_are_read(tmp_path, b0, make, what, zipped):
    path = tmp_path / "x.pth"
    torch.save(make(prefixed(b0)), path, _use_new_zipfile_serialization=zipped)
    code, out, _ = run("inspect", path)
    assert code == 0
    found = rows(out)
    assert found["what"] == f"mmsegmentation {what} checkpoint, names with 'module.'"
    assert found["network"] == "segformer_b0 of mmsegmentation, 19 classes"
    assert found["complete"] == "yes, 192 of 192 tensors match"
    assert found["classes"] == "19: road, sidewalk, building, wall, fence, ...; with their colours"
    assert ("1 object beside tensors and plain values" in found.get("not read", "")) == (make is new)
    assert read_weight_file(path).classes.palette[1] == tuple(COLOURS[1])

    code, out, _ = run("convert", path, tmp_path / "y.pth", "--to", "official")
    assert code == 0
    found = rows(out)
    assert found.get("left out") == ("message_hub, optimizer, param_schedulers" if make is new else None)
    meta = read_checkpoint(tmp_path / "y.pth")["meta"]
    assert meta["CLASSES"] == meta["dataset_meta"]["classes"] == CITYSCAPES
    assert meta.get("cfg", meta.get("config")) in ("a = 1", "model = dict()")


def test_a_hub_that_would_run_a_command_is_left_out_and_one_among_the_weights_refuses_the_file(tmp_path, b0):
    marker, path = tmp_path / "marker", tmp_path / "x.pth"
    torch.save({**new(b0), "message_hub": HostileHub(marker)}, path)
    out = rows(run("convert", path, tmp_path / "y.pth")[1])
    assert "message_hub" in out["left out"]
    assert f"message_hub ({os.system.__module__}.system)" in out["note"]
    torch.save(new({**b0, "decode_head.conv_seg.bias": HostileHub(marker)}), path)
    for command in (("inspect", path), ("convert", path, tmp_path / "z.pth"), ("verify", path, *RECIPE)):
        assert "system); pickled code is never run" in refusal(*command)
    assert not marker.exists()
    assert not (tmp_path / "z.pth").exists()


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "backbone.layers.1.2.bias"), "1 missing: backbone.layers.1.2.bias"),
        (
            lambda s: {**s, "decode_head.convs.0.bn.weight": torch.ones(3)},
            "1 of the wrong shape: decode_head.convs.0.bn.weight [3] instead of [256]",
        ),
        (lambda s: {**s, "decode_head.extra.weight": torch.ones(1)}, "1 unexpected: decode_head.extra.weight"),
        (lambda s: without(s, "decode_head.conv_seg.weight"), "1 missing: decode_head.conv_seg.weight"),
    ],
    ids=["missing", "misshapen", "extra", "no classifier"],
)
def test_what_does_not_fit_is_an_error_that_names_it(tmp_path, b0, change, message):
    path = tmp_path / "x.pth"
    torch.save(new(change(b0)), path)
    assert f"NO, 19{'1' if 'missing' in message or 'wrong' in message else '2'} of 192" in run("inspect", path)[1]
    assert message in refusal("convert", path, tmp_path / "y.pth")
    said = refusal("verify", path, *RECIPE)
    assert message in said
    assert "unknown network" not in said
    assert not (tmp_path / "y.pth").exists()


def test_verify_takes_half_precision_and_refuses_other_networks_and_classes(tmp_path, b0):
    path = tmp_path / "x.pth"
    half = {key: value.half() if value.is_floating_point() else value for key, value in b0.items()}
    torch.save(old(half), path)
    code, out, _ = run("verify", path, *RECIPE)
    assert code == 0
    assert "192 of 192 tensors into EncoderDecoder, strictly" in out
    convert(path, tmp_path / "y.pth")
    assert read_checkpoint(tmp_path / "y.pth")["state_dict"]["decode_head.conv_seg.bias"].dtype == torch.float16

    torch.save(old(state_of("pspnet_r18")), path)
    assert "pspnet_r18 instead of segformer_b0" in refusal("verify", path, *RECIPE)
    torch.save(old(state_of("segformer_b0", classes=150)), path)
    assert "150 classes instead of 19" in refusal("verify", path, *RECIPE)
    torch.save(old(b0, CLASSES=CITYSCAPES[::-1]), path)
    assert "the recipe's classes in another order: 0: 'bicycle' instead of 'road'" in refusal("verify", path, *RECIPE)
    assert "in another order" in rows(run("inspect", path, *RECIPE)[1])["classes"]
    torch.save(old(b0, CLASSES=CITYSCAPES[:11], PALETTE=COLOURS[:11]), path)
    assert "11 class names (road, " in refusal("convert", path, tmp_path / "z.pth")
    assert run("convert", path, tmp_path / "z.pth", "--config", "cityscapes/pspnet50")[0] == 0
    assert len(read_checkpoint(tmp_path / "z.pth")["meta"]["CLASSES"]) == 19


def test_other_names_and_colours_are_told():
    one = ClassTable(("road", "traffic_light"), ((0, 0, 0), (1, 1, 1)))
    assert differing_classes(one, ClassTable(("Road", "traffic light"), one.palette)) == []
    notes = differing_classes(one, ClassTable(("road", "sky"), ((0, 0, 0), (9, 1, 1))))
    assert notes == [
        "classes by another name than in the recipe: 1: 'traffic_light' instead of 'sky'",
        "other colours than the recipe's: traffic_light [1, 1, 1] instead of [9, 1, 1]",
    ]
    with pytest.raises(CheckpointError, match="names 2 classes"):
        differing_classes(one, ClassTable(("road",)))


@pytest.mark.parametrize(
    ("given", "note"),
    [
        ({"PALETTE": [[1, 2]] * 19}, "its palette is no list"),
        ({"PALETTE": [[1, 2, 300]] * 19}, "its palette is no list"),
        ({"CLASSES": [1, 2]}, "its class names are no list"),
        ({"PALETTE": COLOURS[:3]}, "19 class names and 3 colours"),
    ],
)
def test_meta_data_of_another_kind_is_not_believed(tmp_path, b0, given, note):
    torch.save(old(b0, **given), tmp_path / "x.pth")
    found = read_weight_file(tmp_path / "x.pth")
    assert found.origin.notes[0].startswith(note)
    assert None in (found.classes.names, found.classes.palette)


def test_of_two_sets_of_weights_the_averaged_ones_are_read(tmp_path, b0):
    raw = {f"module.{key}": value + 1 for key, value in b0.items()}
    torch.save({**new(b0), "ema_state_dict": raw}, tmp_path / "x.pth")
    found = read_weight_file(tmp_path / "x.pth")
    assert same(found.weights, dict(b0))
    assert "averaged weights" in found.origin.notes[1]


def test_a_backbone_is_taken_out_and_starts_another_network(tmp_path, b0):
    torch.save(old(b0), tmp_path / "x.pth")
    done = convert(tmp_path / "x.pth", tmp_path / "mit_b0.pth", "imagenet-init")
    assert done.left_out == ["meta", "decode_head.*"]
    code, out, err = run("verify", tmp_path / "mit_b0.pth", *RECIPE)
    assert (code, err) == (0, "")
    assert "160 of 160 tensors into the backbone of EncoderDecoder" in out
    assert "[1, 256, 4, 4]" in rows(out)["features"]
    # Lint measures the same, and that a whole network is no backbone's file.
    for name, fits in (("mit_b0.pth", True), ("x.pth", False)):
        recipe = resolve_recipe(load_layers(RECIPE[1:3], [RECIPE[-1], f"model.pretrained={tmp_path / name}"]), ())
        found = measure_initial_weights(recipe, recipe_network(recipe))
        assert (found.problem is None, found.is_imagenet) == (fits, True)
        assert found.matched == (160 if fits else 0)


def test_the_name_takes_the_start_of_the_digest(tmp_path, b0):
    torch.save(old(b0), tmp_path / "x.pth")
    code, out, _ = run("convert", tmp_path / "x.pth", tmp_path / "b0.pth", "--sha256-name")
    assert code == 0
    (written,) = tmp_path.glob("b0-*.pth")
    digits = written.stem.removeprefix("b0-")
    assert run("verify", written, "--sha256", digits)[0] == 0
    assert str(written) in rows(out)["to"]
    assert "exists already" in refusal("convert", tmp_path / "x.pth", tmp_path / "b0.pth", "--sha256-name")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([written.name, "x.pth"])
