"""Bad input to every program: exit code 2, one line that names the culprit, and nothing that was there is changed."""

import os
from pathlib import Path

import pytest
import torch

from semseg_ref import tester, train
from support.command_line import catalyst_dl
from support.malformed.place import (
    DATA_FAULTS,
    PROGRAMS,
    Place,
    assert_refused,
    change_list,
    control,
    execute,
    furnish,
    official,
    tree,
)
from support.networks.small import SmallLogits, SmallNetwork
from support.runs.toy import toy_settings


@pytest.fixture(scope="module")
def template(toy_city, tmp_path_factory):
    """A toy city, an earlier run, an official config and checkpoints, to be copied by each test."""
    folder = tmp_path_factory.mktemp("template")
    before = Path.cwd()
    os.chdir(folder)
    try:
        furnish(toy_city)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(scope="module")
def copy(template, tmp_path_factory):
    """A copy of the template that each test gets as it was."""
    return Place(template, tmp_path_factory.mktemp("copy") / "place")


@pytest.fixture
def place(copy, monkeypatch):
    """A working directory like the template, where the control arm's network is the small one."""
    monkeypatch.chdir(copy.folder)
    # The real network takes seconds, and no fault below but those of its weights is the network's.
    for module in (train, tester):
        monkeypatch.setattr(module, "build_network", lambda cfg, *_, pretrained=False: SmallNetwork(cfg.classes))
    yield copy.folder
    copy.restore()


# -- the data ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("fault", sorted(DATA_FAULTS))
def test_bad_data(fault, program, place, capsys):
    split = "val" if program in ("test", "semseg_ref.tester") else "train"
    DATA_FAULTS[fault].make(split)
    before = tree(place)
    # Data is only read once the run folder is open; starting anew in an old one would have emptied it by then.
    early = DATA_FAULTS[fault].before_reading
    code = execute(program, logdir="exp/old" if early else "exp/new")
    parts = [part.format(split=split) for part in DATA_FAULTS[fault].parts]
    assert_refused(capsys, code, *parts)
    after = tree(place)
    assert {path: after.get(path) for path in before} == before
    if early:
        assert after == before


@pytest.mark.parametrize("program", ["run", "semseg_ref.train"])
def test_bad_data_in_a_worker_process(program, place, capsys):
    DATA_FAULTS["truncated image"].make("train")
    if program == "run":
        code = execute(program, "sampling.workers=1", logdir="exp/new")
    else:
        code = execute(program, "workers=1")
    assert_refused(capsys, code, "leftImg8bit.png: the file ends early (truncated after")


@pytest.mark.parametrize(("program", "switch"), [("run", "validation.every=1"), ("semseg_ref.train", "evaluate=True")])
def test_a_bad_validation_list_is_found_before_training(program, switch, place, capsys):
    DATA_FAULTS["missing image"].make("val")
    before = tree(place)
    assert_refused(capsys, execute(program, switch), "fine_val.txt, line 2: no such file")
    assert tree(place) == before


def test_two_images_of_one_name(place, capsys):
    change_list("val", lambda text: text + text.splitlines()[0] + "\n")
    for program in ("test", "semseg_ref.tester"):
        assert_refused(capsys, execute(program), "would both be predicted into")


# -- recipes and options -------------------------------------------------------------------------------------------
RUN_FAULTS = {
    "wrong type": ("experiment.epochs=many", "--set: experiment.epochs: Input should be a valid integer"),
    "negative epochs": ("experiment.epochs=-1", "--set: experiment.epochs: Input should be greater than 0 (got -1)"),
    "negative seed": ("experiment.seed=-1", "--set: experiment.seed: Input should be greater than or equal to 0"),
    "batch of nothing": ("sampling.batch_size=0", "--set: sampling.batch_size: Input should be greater than 0"),
    "batch larger than the data": (
        "sampling.batch_size=6",
        "sampling.batch_size: 6 leaves no full batch of 5 images in ",
    ),
    "precision": ("engine.precision=fp15", "--set: engine.precision: Input should be 'fp32', 'tf32', 'bf16' or 'fp16'"),
    "fp16 on a CPU": ("engine.precision=fp16", "engine.precision: fp16 needs a GPU"),
    "names": ("callbacks.mean_iou.names=three.txt", "three.txt: 3 class names, expected 19"),
    "no names": ("callbacks.mean_iou.names=cityscape_names.txt", "no such file; did you mean 'cityscapes_names.txt'?"),
    "no loss": ("callbacks.aux_loss=null", "callbacks.aux_loss: "),
    "no step": ("callbacks.gradient_step=null", "callbacks.gradient_step: "),
    "best of nothing": ("callbacks.checkpoint.select=best", "callbacks.checkpoint: "),
    "rate": ("optimizer.lr=fast", "--set: optimizer.lr: Input should be a valid number (got 'fast')"),
    "momentum": ("optimizer.momentum=fast", "optimizer: torch.optim.SGD: "),
    "step without a name": ("augmentation.order=[crop, croq]", "augmentation.order: no step 'croq'"),
    "folder below a file": ("experiment.logdir=good.pth/run", "good.pth/run: this folder cannot be created"),
    "missing checkpoint": ("--resume=nothing.pth", "--resume nothing.pth: no such checkpoint"),
    "garbage checkpoint": ("--resume=garbage.pth", "garbage.pth: not a checkpoint of tensors and plain values"),
    "cut checkpoint": ("--resume=cut.pth", "cut.pth: damaged (its end is missing or changed)"),
    "checkpoint with code": ("--resume=code.pth", "code.pth: not a checkpoint of tensors and plain values only"),
    "checkpoint of another network": ("--resume=other.pth", "other.pth: "),
    "checkpoint of weights only": ("--resume=good.pth", "good.pth: has weights but no training state"),
    "checkpoint of another optimizer": (
        "--resume=other_optimizer.pth",
        "other_optimizer.pth: its optimiser state does not fit",
    ),
}


@pytest.mark.parametrize("fault", sorted(RUN_FAULTS))
def test_bad_recipes(fault, place, capsys):
    word, message = RUN_FAULTS[fault]
    before = tree(place)
    assert_refused(capsys, execute("run", word), message)
    assert tree(place) == before


def test_a_crop_that_the_network_cannot_take(place, capsys):
    code = execute("run", "data.crop=[35, 33]", "model.pretrained=false", network=())
    assert_refused(capsys, code, "data.crop: 35 is not possible: it has to be a multiple of 8 plus 1; nearest: 33, 41")


def test_missing_imagenet_weights(place, capsys):
    before = tree(place)
    assert_refused(capsys, execute("run", "model.pretrained=true", network=()), "model: ", "initmodel/resnet50_v2.pth")
    assert_refused(capsys, execute("run", "model.pretrained=no.pth", network=()), "model: ", "no.pth")
    assert tree(place) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is visible")
def test_a_gpu_that_is_not_there(place, capsys):
    assert_refused(capsys, execute("run", "engine.device=cuda"), "engine.device: cuda asked for, but no GPU is visible")
    assert_refused(capsys, execute("test", "--device", "cuda"), "--device cuda: no GPU is visible")


def test_a_folder_that_cannot_be_written_to(place, capsys, monkeypatch):
    """Also for a user who may write everywhere, as in containers: the system's answer is made up."""
    Path("locked").mkdir()
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "locked" not in str(path) and may(path, mode))
    before = tree(place)
    assert_refused(capsys, execute("run", "experiment.logdir=locked"), "locked: this folder cannot be written to")
    assert_refused(capsys, execute("semseg_ref.train", "save_path=locked"), "locked: this folder cannot be written to")
    assert tree(place) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "my.yml: no such config"),
        ("", "expected a YAML mapping"),
        ("a: [1\n", "my.yml: not readable as YAML"),
        ("sampling:\n  drop_last: 3\n", "my.yml: sampling.drop_last: Input should be a valid boolean"),
        (
            "callbacks:\n  poly_lr:\n    pwer: 1\n",
            "my.yml: callbacks.poly_lr.pwer: unknown argument; did you mean 'power'?",
        ),
    ],
)
def test_bad_files(text, message, place, capsys):
    if text is not None:
        Path("my.yml").write_text(text)
    before = tree(place)
    code = catalyst_dl("run", "--config", "toy/pspnet50", "my.yml", "--set", *toy_settings(Path("city")))
    assert_refused(capsys, code, message)
    code = catalyst_dl("test", "--config", "toy/pspnet50", "my.yml", "--checkpoint", "good.pth")
    assert_refused(capsys, code, message)
    assert tree(place) == before


TEST_FAULTS = {
    "missing checkpoint": (("--checkpoint", "nothing.pth"), "nothing.pth: no such checkpoint; in .: "),
    "garbage checkpoint": (
        ("--checkpoint", "garbage.pth"),
        "garbage.pth: not a checkpoint of tensors and plain values",
    ),
    "cut checkpoint": (("--checkpoint", "cut.pth"), "cut.pth: damaged, or no torch checkpoint"),
    "checkpoint with code": (
        ("--checkpoint", "code.pth"),
        "code.pth: not a checkpoint of tensors and plain values only",
    ),
    "checkpoint of another network": (("--checkpoint", "other.pth"), "other.pth: does not fit SmallLogits: 0 of "),
    "an image as checkpoint": (("--checkpoint", "three.txt"), "three.txt: "),
    "names": (("data.names=three.txt",), "three.txt: 3 class names, expected 19"),
    "colors": (("data.colors=three.txt",), "three.txt, line 1: 'road', expected R G B"),
    "classes": (("data.classes=21",), "21"),
    "crop": (
        ("protocol.crop=[34, 0]",),
        "--set: protocol.crop.1: Input should be greater than 0",
    ),
    "scales": (("protocol.scales=[]",), "--set: protocol.scales: (): expected one or more numbers > 0"),
    "rate": (("protocol.stride_rate=0",), "--set: protocol.stride_rate: Input should be greater than 0"),
    "folder below a file": (("--output", "good.pth/out"), "good.pth/out/gray: this folder cannot be created"),
}


@pytest.mark.parametrize("fault", sorted(TEST_FAULTS))
def test_bad_tests(fault, place, capsys):
    words, message = TEST_FAULTS[fault]
    before = tree(place)
    assert_refused(capsys, execute("test", *words), message)
    assert tree(place) == before


CONTROL_FAULTS = {
    "semseg_ref.train": {
        "epochs": ({"epochs": -1}, "option 'epochs': -1, expected at least 1"),
        "type": ({"epochs": "many"}, "option 'epochs': 'many' is str, expected a whole number"),
        "rate": ({"base_lr": [1]}, "option 'base_lr': [1] is list, expected a finite number"),
        "seed": ({"manual_seed": -1}, "seed -1: expected a whole number >= 0"),
        "crop": ({"train_h": "33"}, "option 'train_h': '33' is str, expected a whole number"),
        "batch": ({"batch_size": 6}, "batch_size 6: no full batch for each of 1 process(es) from 5 images in "),
        "missing weights": ({"weight": "nothing.pth"}, "nothing.pth: no such checkpoint"),
        "weights of another network": ({"weight": "other.pth"}, "other.pth: does not fit SmallNetwork: 0 of "),
        "missing resume": ({"resume": "nothing.pth"}, "nothing.pth: no such checkpoint"),
        "garbage": ({"resume": "garbage.pth"}, "garbage.pth: not a checkpoint"),
        "nothing to resume": ({"resume": "good.pth"}, "good.pth: has weights but no training state"),
        "other optimizer": ({"resume": "other_optimizer.pth"}, "optimiser state does not fit"),
        "folder": ({"save_path": "good.pth/model"}, "good.pth/model: this folder cannot be created"),
        "missing option": ({"base_lr": None, "classes": None}, "option 'classes': None is NoneType"),
    },
    "semseg_ref.tester": {
        "no checkpoint": ({"model_path": None}, "model_path is empty: set the checkpoint to test"),
        "missing checkpoint": ({"model_path": "nothing.pth"}, "nothing.pth: no such checkpoint"),
        "garbage": ({"model_path": "garbage.pth"}, "garbage.pth: not a checkpoint"),
        "other network": ({"model_path": "other.pth"}, "other.pth: does not fit SmallNetwork"),
        "names": ({"names_path": "three.txt"}, "three.txt: 3 class names, expected 19"),
        "colors": ({"colors_path": "three.txt"}, "three.txt, line 1: 'road', expected R G B"),
        "crop": ({"test_h": 34}, "crop 34: crop - 1 must be a multiple of 8"),
        "base size": ({"base_size": 0}, "protocol: base_size 0: expected a positive whole number"),
        "scales": ({"scales": []}, "protocol: scales []: expected one or more numbers > 0"),
        "start": ({"index_start": 99}, "index_start 99, index_step 0: the list has 3 images"),
        "type": ({"index_start": "first"}, "option 'index_start': 'first' is str, expected a whole number"),
        "split": ({"split": "vall"}, "split 'vall'; did you mean 'val'?"),
        "nothing predicted": ({"has_prediction": True, "save_folder": "exp/none"}, "exp/none/gray/"),
        "folder": ({"save_folder": "good.pth/out"}, "good.pth/out/gray: this folder cannot be created"),
    },
}


@pytest.mark.parametrize(("program", "fault"), [(p, f) for p, faults in CONTROL_FAULTS.items() for f in faults])
def test_bad_official_configs(program, fault, place, capsys):
    values, message = CONTROL_FAULTS[program][fault]
    official(**values)
    before = tree(place)
    assert_refused(capsys, execute(program), f"{program}: error: ", message)
    assert tree(place) == before


@pytest.mark.parametrize("program", ["semseg_ref.train", "semseg_ref.tester"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: --config"),
        (["--config", "nothing.yaml"], "nothing.yaml: no such configuration file"),
        (["--config", "three.txt"], "three.txt: a configuration file's name must end in .yaml"),
        (["--config", "empty.yaml"], "empty.yaml: expected sections"),
        (["--config", "broken.yaml"], "broken.yaml, line 2: invalid YAML"),
        (["--config", "official.yaml", "powr", "0.9"], "unknown option 'powr'; did you mean 'power'?"),
        (["--config", "official.yaml", "base_lr", "1"], "option 'base_lr': 1 is int, expected float"),
        (["--config", "official.yaml", "base_lr"], "option 'base_lr' has no value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_command_lines_of_the_control_arm(program, arguments, message, place, capsys):
    Path("empty.yaml").write_text("")
    Path("broken.yaml").write_text("DATA:\n  x: ]\n")
    before = tree(place)
    assert_refused(capsys, control(program, arguments), message)
    assert tree(place) == before


def test_a_crop_that_the_control_arms_network_cannot_take(place, capsys, monkeypatch):
    official(train_h=35)
    monkeypatch.undo()
    monkeypatch.chdir(place)
    before = tree(place)
    assert_refused(
        capsys, execute("semseg_ref.train"), "train_h 35 is not possible: it has to be a multiple of 8 plus 1"
    )
    official(train_h=33, pretrained=True)
    before = tree(place)
    assert_refused(capsys, execute("semseg_ref.train"), "initmodel/resnet50_v2.pth")
    assert tree(place) == before


# -- and the place itself is good ----------------------------------------------------------------------------------
@pytest.mark.parametrize("program", PROGRAMS)
def test_without_a_fault_every_program_works(program, place):
    assert execute(program, logdir="exp/new") == 0


def test_the_small_networks_of_both_arms_share_checkpoints():
    assert list(SmallLogits().state_dict()) == list(SmallNetwork().state_dict())
