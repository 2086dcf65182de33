"""Plain Catalyst 22 configs: they run, what 22.4 breaks is mended, and typos have messages."""

import copy
import csv
from pathlib import Path

import pytest
import torch
import yaml

from support.command_line import catalyst_dl
from support.stock import STOCK

EPOCHS = 3
# A linear classifier of 12 random images of 3 x 4 x 4 pixels.


def changed(path: str, value: object = None) -> dict:
    """The stock config with one value set, or without the key when the value is None."""
    content = copy.deepcopy(STOCK)
    node, *keys = content, *path.split(".")
    for key in keys[:-1]:
        node = node[int(key) if isinstance(node, list) else key]
    if value is None:
        del node[keys[-1]]
    else:
        node[keys[-1]] = value
    return content


def run(content: dict, *more: str) -> int:
    """Writes the config into the working directory and runs it; returns the exit code."""
    Path("stock.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    return catalyst_dl("run", "--config", "stock.yml", *more)


def column(name: str, file: str = "logs/csv_logger/train.csv") -> list[float]:
    """A column of a Catalyst CSV log."""
    with open(file, newline="") as rows:
        return [float(row[name]) for row in csv.DictReader(rows)]


def assert_refused(capsys, code: int, expected: str) -> None:
    """Fails unless the config was refused in one line with this message, before anything was written."""
    found = capsys.readouterr().err
    assert code == 2, found
    assert found.splitlines()[0].startswith(f"catalyst-dl: error: stock.yml: {expected}")
    assert len(found.splitlines()) == 1
    assert not Path("logs").exists()


# -- it runs -------------------------------------------------------------------------------------------------------
def test_a_stock_config_trains_and_its_schedule_works(workdir):
    assert run(STOCK) == 0
    # 22.4 alone never steps a scheduler of torch 2: the rate would stay 0.5.
    assert column("lr") == pytest.approx([0.5, 0.05, 0.005])
    assert column("loss")[-1] < column("loss")[0]
    assert len(column("accuracy01", "logs/csv_logger/valid.csv")) == EPOCHS
    assert Path("logs/checkpoints/model.last.pth").is_file()


def test_a_seed_makes_two_runs_equal_and_another_does_not(workdir):
    losses = []
    for seed in (3, 3, 4):
        assert run(changed("args.seed", seed), "--set", f"run.0.logdir=logs{len(losses)}") == 0
        losses.append(column("loss", f"logs{len(losses)}/csv_logger/train.csv"))
    assert losses[0] == losses[1] != losses[2]
    weights = [torch.load(f"logs{i}/checkpoints/model.last.pth", weights_only=True) for i in range(3)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert any(not torch.equal(weights[0][key], weights[2][key]) for key in weights[0])


def test_settings_overlays_and_interpolation(workdir):
    Path("over.yml").write_text("shared: {rate: 0.25}\noptimizer: {lr: '${shared.rate}'}\nscheduler: {gamma: 0.5}\n")
    assert run(STOCK, "over.yml", "--set", "run.0.num_epochs=2") == 0
    assert column("lr") == pytest.approx([0.25, 0.125])


def test_several_stages_and_their_results(workdir, capsys):
    content = copy.deepcopy(STOCK)
    stage = {"_call_": "evaluate_loader", "model": {"_var_": "model"}}
    content["run"].append({**stage, "loader": STOCK["loaders"]["valid"], "callbacks": STOCK["run"][0]["callbacks"]})
    assert run(content) == 0
    assert "run.1 evaluate_loader: {" in capsys.readouterr().out


def test_our_own_engine_in_a_stock_config(workdir):
    engine = {"_var_": "engine", "_target_": "catalyst_cityscapes.train.engine.SegmentationEngine", "device": "cpu"}
    assert run(changed("engine", engine), "--set", "run.0.num_epochs=1") == 0


# -- messages ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("run.0._call_", "trian", "run.0._call_: no method 'trian'; did you mean 'train'?"),
        ("run.0._call_", "__init__", "run.0._call_: no method '__init__'"),
        ("run.0._call_", None, "run.0._call_: no method 'None'"),
        ("run.0.num_epoch", 3, "run.0.num_epoch: unknown argument; did you mean 'num_epochs'?"),
        ("run.0.loaders", None, "run.0: missing argument 'loaders'"),
        ("run", {"_call_": "train"}, "run: expected a list of stages"),
        ("runner._taget_", "x", "runner._taget_: unknown key; did you mean '_target_'?"),
        ("runner._target_", None, "runner: expected a node with a '_target_'"),
        ("runner", "train", "runner: expected a node with a '_target_'"),
        ("criterion._taget_", "x", "criterion._taget_: unknown key; did you mean '_target_'?"),
        ("optimizer.params", {"_vra_": "model"}, "optimizer.params._vra_: unknown key; did you mean '_var_'?"),
        (
            "optimizer.params",
            {"_var_": "modle.parameters"},
            "optimizer.params._var_: 'modle' is not defined above; did you mean",
        ),
        ("optimizer.params", {"_var_": "model.parameterz"}, "'Sequential' object has no attribute 'parameterz'"),
        ("optimizer.params", {"_var_": "model.__class__"}, "optimizer.params._var_: '__class__' is private"),
        ("optimizer.lrr", 0.1, "optimizer.lrr: unknown argument; did you mean 'lr'?"),
        ("optimizer.lr", -1, "torch.optim.SGD: Invalid learning rate: -1"),
        (
            "criterion._target_",
            "torch.nn.CrossEntropyLos",
            "criterion: target 'torch.nn.CrossEntropyLos' does not exist: ",
        ),
        ("criterion._target_", "os.system", "criterion: target 'os.system' is outside the allowed packages ("),
        (
            "criterion._target_",
            "catalyst.utils.misc.os.system",
            "criterion: target 'catalyst.utils.misc.os.system' is defined in",
        ),
        (
            "run.0.callbacks.accuracy._target_",
            "subprocess.run",
            "run.0.callbacks.accuracy: target 'subprocess.run' is outside",
        ),
        ("model.args", [{"_target_": "builtins.eval"}], "model.args.0: target 'builtins.eval' is outside"),
        ("optimisers", 3, "optimisers: unknown section"),
        ("args.seed", "three", "args.seed: 'three' is no whole number >= 0"),
        ("args.seed", -1, "args.seed: -1 is no whole number >= 0"),
        ("args.name", "${oc.env:HOME}", "args.name: '${oc.env:HOME}': only references to other keys are allowed"),
        ("args.name", "${args.nam}", "Interpolation key 'args.nam' not found"),
    ],
)
def test_typos_and_refusals(path, value, expected, workdir, capsys):
    assert_refused(capsys, run(changed(path, value)), expected)


def test_a_target_put_together_by_interpolation_is_refused(workdir, capsys):
    content = changed("criterion", {"_var_": "criterion", "_target_": "${args.which}", "command": "touch ran"})
    content["args"]["which"] = "os.system"
    assert_refused(capsys, run(content), "criterion: target 'os.system' is outside")
    assert not Path("ran").exists()


def test_settings_must_name_a_key_that_is_there(workdir, capsys):
    assert run(STOCK, "--set", "optimizer.lrr=0.1") == 2
    assert "--set optimizer.lrr=0.1: no such key in stock.yml" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--control", "--show", "--overwrite", "--resume=auto"])
def test_options_of_recipes_only(option, workdir, capsys):
    assert run(STOCK, option) == 2
    assert "works with recipes, not with a plain Catalyst config" in capsys.readouterr().err


def test_trust_lets_a_package_into_a_stock_config(workdir, capsys):
    content = changed("shared", {"_target_": "collections.OrderedDict"})
    assert_refused(
        capsys, run(content, "--set", "run.0.num_epochs=1"), "shared: target 'collections.OrderedDict' is outside"
    )
    assert run(content, "--set", "run.0.num_epochs=1", "--trust", "collections") == 0
