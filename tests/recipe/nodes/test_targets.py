"""The allow-list of `_target_`: what a recipe that came by mail may reach, and what typos suggest."""

import sys
from pathlib import Path

import pytest
import yaml

from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.nodes.targets import ALLOWED, build, is_allowed, resolve_target
from semseg_ref.base.errors import InputError
from support.command_line import catalyst_dl

# Names that exist and are callable: each is reached through what stands before it.
REACHABLE = [
    "catalyst.utils.misc.os.system",
    "catalyst.utils.misc.os.popen",
    "catalyst.registry.hydra_slayer.functional.pydoc.locate",
    "torch.nn.modules.module.functools.partial",
    "torch.nn.functional.importlib.import_module",
    "torch.nn.functional.torch.load",
    "torch.nn.functional.torch.hub.load",
    "torch.utils.data.dataloader.os.remove",
    "torch.utils.data.dataloader.threading.Thread",
    "torchvision.datasets.utils.urllib.request.urlopen",
    "catalyst_cityscapes.data.augmentation.albumentations_pipeline.importlib.import_module",
    "semseg_ref.dataset.os.unlink",
    "semseg_ref.dataset.Path.unlink",
    "timm.models._helpers.os.system",
]
OUTSIDE = [
    "os.system",
    "posix.system",
    "subprocess.run",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.exec",
    "functools.partial",
    "importlib.import_module",
    "pickle.loads",
    "shutil.rmtree",
    "torch.load",
    "torch.hub.load",
    "torch.utils.cpp_extension.load_inline",
    "hydra_slayer.Registry",
    "eval",
    "catalyst_cityscapesx.y",
    "torchx.nn.Linear",
]
# Each of these reads a config of its own and builds what it names, without this list.
PROGRAMS = [
    "catalyst.contrib.scripts.run.run_from_config",
    "catalyst.contrib.scripts.run.main",
    "catalyst_cityscapes.cli.main",
    "catalyst_cityscapes.compat.stock.run_stock",
    "catalyst_cityscapes.recipe.loading.load_recipe",
    "catalyst_cityscapes.recipe.nodes.targets.build",
    "catalyst_cityscapes.train.runner.SegmentationRunner",
    "semseg_ref.tester.main",
]


@pytest.fixture
def canary(tmp_path):
    """A file that the attacks below try to create."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists()


def refusal(target: str, *, settings=(), over=None, tmp_path=None) -> str:
    """The error of a toy recipe with the target in a callback, or with an overlay."""
    configs = ["toy/pspnet50"]
    if over is not None:
        (tmp_path / "over.yml").write_text(yaml.safe_dump(over))
        configs.append(str(tmp_path / "over.yml"))
    with pytest.raises(InputError) as error:
        load_recipe(configs, settings or [f"callbacks.x._target_={target}"])
    return str(error.value)


def followed(name: str) -> object:
    """What a dotted name leads to, by the import and attribute rules that the checks use."""
    found = __import__(name.split(".")[0])
    parts = name.split(".")
    for index, part in enumerate(parts[1:], start=2):
        if not hasattr(found, part):
            __import__(".".join(parts[:index]))
        found = getattr(found, part)
    return found


# -- what is refused -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("target", OUTSIDE)
def test_packages_outside_the_list_are_refused(target):
    found = refusal(target)
    assert found.startswith(f"--set: callbacks.x._target_: target '{target}' is outside the allowed packages (")
    assert f"--trust {target.split('.')[0]} allows it" in found


@pytest.mark.parametrize("target", REACHABLE)
def test_attribute_chains_out_of_allowed_modules_are_refused(target):
    assert callable(followed(target)), "the chain must exist, or this test proves nothing"
    assert "which is outside the allowed packages" in refusal(target)


@pytest.mark.parametrize("target", PROGRAMS)
def test_programs_that_run_other_configs_are_refused(target):
    assert callable(followed(target))
    assert "is outside the allowed packages" in refusal(target)


@pytest.mark.parametrize(
    "path",
    [
        "model",
        "criterion",
        "optimizer",
        "optimizer.groups",
        "augmentation.steps.scale",
        "callbacks.poly_lr",
        "callbacks.poly_lr.power",
    ],
)
def test_every_node_is_checked_and_nothing_runs(path, canary):
    settings = [f"{path}._target_=catalyst.utils.misc.os.system", f"{path}.command=touch {canary}"]
    settings.append("callbacks.poly_lr.base_lr=1")
    found = refusal("", settings=settings)
    assert found.startswith(f"--set: {path}._target_: target 'catalyst.utils.misc.os.system' is defined in 'posix'")


def test_targets_inside_lists_and_plain_mappings_are_checked(canary, tmp_path):
    attack = {"_target_": "os.system", "command": f"touch {canary}"}
    for extra in ([attack], [[{"a": attack}]], {"deep": {"deeper": attack}}):
        over = {
            "augmentation": {
                "_target_": "catalyst_cityscapes.data.augmentation.AlbumentationsPipeline",
                "crop": [33, 33],
                "extra": extra,
            }
        }
        assert "_target_: target 'os.system' is outside" in refusal(
            "", settings=["data.classes=3"], over=over, tmp_path=tmp_path
        )


def test_a_target_put_together_by_interpolation_is_checked(canary, tmp_path):
    over = {
        "experiment": {"name": "os.system"},
        "callbacks": {"x": {"_target_": "${experiment.name}", "command": f"touch {canary}"}},
    }
    found = refusal("", settings=["data.classes=3"], over=over, tmp_path=tmp_path)
    assert "callbacks.x._target_: target 'os.system' is outside" in found
    over = {"callbacks": {"x": "${callbacks.y}", "y": {"_target_": "os.system", "command": f"touch {canary}"}}}
    assert "target 'os.system' is outside" in refusal("", settings=["data.classes=3"], over=over, tmp_path=tmp_path)


def test_an_overlay_cannot_change_a_target_unseen(canary, tmp_path):
    over = {"callbacks": {"poly_lr": {"_target_": "subprocess.getoutput", "cmd": f"touch {canary}"}}}
    found = refusal("", settings=["data.classes=3"], over=over, tmp_path=tmp_path)
    assert found.startswith(
        f"{tmp_path / 'over.yml'}: callbacks.poly_lr._target_: target 'subprocess.getoutput' is outside"
    )


def test_the_base_of_a_recipe_is_checked_too(canary, tmp_path):
    (tmp_path / "evil.yml").write_text(f"callbacks:\n  x: {{_target_: os.system, command: 'touch {canary}'}}\n")
    (tmp_path / "top.yml").write_text("base: evil.yml\ndata: {classes: 3}\n")
    with pytest.raises(InputError, match=r"evil\.yml: callbacks\.x\._target_: target 'os\.system'"):
        load_recipe(["toy/pspnet50", tmp_path / "top.yml"])


def test_a_recipe_hidden_in_strings_cannot_run(canary, tmp_path):
    inner = {
        "_target_": "catalyst_cityscapes.recipe.loading.load_recipe",
        "configs": ["toy/pspnet50"],
        "settings": ["callbacks.x._target_=os.system", f"callbacks.x.command=touch {canary}"],
        "trusted": ["os", "posix"],
    }
    over = {"callbacks": {"x": {"_target_": "catalyst_cityscapes.train.runner.SegmentationRunner", "recipe": inner}}}
    assert "is outside the allowed packages" in refusal("", settings=["data.classes=3"], over=over, tmp_path=tmp_path)


def test_the_command_line_refuses_and_writes_nothing(canary, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("over.yml").write_text(f"callbacks:\n  x: {{_target_: os.system, command: 'touch {canary}'}}\n")
    assert catalyst_dl("run", "--config", "toy/pspnet50", "over.yml") == 2
    found = capsys.readouterr()
    assert found.err.startswith("catalyst-dl: error: over.yml: callbacks.x._target_: target 'os.system' is outside")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["over.yml"]


# -- what is allowed -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "target",
    [
        "torch.nn.CrossEntropyLoss",
        "torch.optim.SGD",
        "torch.optim.lr_scheduler.StepLR",
        "torch.utils.data.TensorDataset",
        "torchvision.datasets.FakeData",
        "catalyst.dl.SupervisedRunner",
        "catalyst.callbacks.PeriodicLoaderCallback",
        "semseg_ref.transform.Crop",
        "semseg_ref.model.PSPNet",
        "segmentation_models_pytorch.PSPNet",
        "timm.create_model",
        "albumentations.Blur",
        "catalyst_cityscapes.callbacks.PolyLR",
        "catalyst_cityscapes.models.smp.SmpPSPNet",
        "catalyst_cityscapes.train.engine.SegmentationEngine",
    ],
)
def test_components_resolve(target):
    assert callable(resolve_target(target))


def test_trust_lets_a_package_through():
    settings = ["callbacks.x._target_=collections.OrderedDict"]
    with pytest.raises(InputError, match="--trust collections allows it"):
        load_recipe(["toy/pspnet50"], settings)
    recipe = load_recipe(["toy/pspnet50"], settings, ["collections"])
    assert build(recipe.callbacks["x"], "callbacks.x") == {}
    # What it defines is trusted, and not what can be reached through it.
    with pytest.raises(InputError, match="is defined in"):
        load_recipe(["toy/pspnet50"], ["callbacks.x._target_=collections._sys.exit"], ["collections"])


def test_trust_is_a_package_and_no_prefix():
    assert is_allowed("torch.nn.Linear")
    for package in ("callbacks", "losses", "models", "optim", "schedules"):
        assert is_allowed(f"catalyst_cityscapes.{package}.new.New")
    assert not is_allowed("torch.nnx.Linear")
    assert not is_allowed("collectionsx.y", ["collections"])
    assert not is_allowed("catalyst.contrib.scripts.run")
    assert is_allowed("catalyst.contrib.scripts.run", ["catalyst.contrib.scripts"])
    assert not is_allowed("")


def test_trust_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = [
        "run",
        "--config",
        "toy/pspnet50",
        "--set",
        "model._target_=support.networks.small.SmallLogits",
        "model.classes=19",
    ]
    assert catalyst_dl(*arguments, "--show") == 2
    assert "--trust support allows it" in capsys.readouterr().err
    assert catalyst_dl(*arguments, "--trust", "support", "--show") == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"]["_target_"] == "support.networks.small.SmallLogits"


def test_no_allowed_name_is_the_whole_of_torch_or_of_this_project():
    assert not {"torch", "catalyst_cityscapes", "semseg_ref"} & set(ALLOWED)


# -- typos ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("torch.nn.CrosEntropyLoss", "'torch.nn' has no 'CrosEntropyLoss'; did you mean 'CrossEntropyLoss'?"),
        ("torch.optim.SDG", "'torch.optim' has no 'SDG'; did you mean 'SGD'?"),
        (
            "catalyst_cityscapes.callbacks.PolyLr",
            "'catalyst_cityscapes.callbacks' has no 'PolyLr'; did you mean 'PolyLR'?",
        ),
        ("catalyst_cityscapes.callbacks.polly_lr.PolyLR", "has no 'polly_lr'; did you mean 'poly_lr'?"),
        ("semseg_ref.transform.RandScale.__call_", "has no '__call_'"),
        ("torch.nn.zzzzqqqq", "'torch.nn' has no 'zzzzqqqq'"),
        ("torch.nn", "is not a class or function, but module"),
        ("torchvision", "is no dotted name"),
        ("torch.nn..Linear", "has no ''"),
    ],
)
def test_typos_name_the_nearest(target, expected):
    with pytest.raises(InputError) as error:
        resolve_target(target)
    assert str(error.value).endswith(expected)


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match="needs the package 'timm', not installed"):
        resolve_target("timm.create_model")
    with pytest.raises(InputError, match="needs the package 'no_such_package', not installed"):
        resolve_target("no_such_package.X", ["no_such_package"])


def test_a_module_that_cannot_be_imported_is_named(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("from torch import no_such_thing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"half_installed cannot be imported .*no_such_thing"):
        resolve_target("half_installed.X", ["half_installed"])


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"_target_": "catalyst_cityscapes.callbacks.Checkpoint", "keep": 0}, "save_every and keep must be >= 1"),
        ({"_target_": "catalyst_cityscapes.callbacks.SyncBNConversion", "backend": "torhc"}, "did you mean 'torch'"),
        (
            {"_target_": "torch.nn.CrossEntropyLoss", "reduction": "mean", "wieght": 1},
            "unexpected keyword argument 'wieght'",
        ),
        ({"_target_": "catalyst_cityscapes.callbacks.GradientStep", "_mode_": "cal"}, "cal"),
    ],
)
def test_constructors_that_refuse_name_the_node(node, expected):
    with pytest.raises(InputError) as error:
        build(node, "callbacks.x")
    assert str(error.value).startswith(f"callbacks.x: {node['_target_']}: ")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_functions_are_called_and_partials_are_kept():
    assert build(
        {"_target_": "semseg_ref.schedule.step_learning_rate", "base_lr": 1, "epoch": 2, "step_epoch": 1}, "x"
    ) == pytest.approx(0.01)
    rate = build(
        {"_target_": "semseg_ref.schedule.step_learning_rate", "_mode_": "partial", "base_lr": 1, "step_epoch": 1}, "x"
    )
    assert rate(epoch=1) == pytest.approx(0.1)
