"""A recipe from a stranger runs nothing: what is in the allowed packages and must not be reached, by every way in."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from catalyst_cityscapes.recipe.loading import load_recipe, read_yaml
from catalyst_cityscapes.recipe.nodes.allow_list import ALLOWED, REFUSED, REINSTATED, is_allowed
from catalyst_cityscapes.recipe.nodes.targets import build, resolve_target
from semseg_ref.base.errors import InputError
from support.command_line import catalyst_dl
from support.faults.hostile_files import doubling, laughs
from support.stock import STOCK

# What each would do with the sentinel's path, if it were built.
DANGEROUS = {
    "catalyst.contrib.utils.serialization.pickle_deserialize": "unpickles",
    "catalyst.contrib.utils.image.imwrite": "writes",
    "catalyst.contrib.datasets.misc.download_url": "downloads",
    "catalyst.contrib.optimizers.Lookahead": "builds further components",
    "catalyst.utils.config.load_config": "reads",
    "catalyst.utils.misc.maybe_recursive_call": "calls methods",
    "catalyst.utils.torch.save_checkpoint": "writes",
    "catalyst_cityscapes.callbacks.checkpoint.link_atomically": "writes",
    "torch.nn.attention._fa3._fa3_import_module": "imports",
    "torch.nn.utils._deprecation_utils.lazy_deprecated_import": "imports",
    "torch.nn.Module.apply": "a method",
    "torch.nn.modules.module.Module.load_state_dict": "a method",
    "torch.utils.data.datapipes.utils.decoder.basichandlers": "unpickles",
    "torch.utils.data.datapipes.iter.FileOpener": "reads",
    "torchvision.datasets.CIFAR10": "unpickles",
    "torchvision.datasets.LSUN": "unpickles",
    "torchvision.datasets.MNIST": "downloads",
    "torchvision.datasets.utils.download_url": "downloads",
    "torchvision.datasets.utils.extract_archive": "unpacks",
    "torchvision.io.write_file": "writes",
    "torchvision.io.write_png": "writes",
    "torchvision.utils.save_image": "writes",
    "torchvision.models._api.get_weight": "private",
    "timm.data.create_dataset": "downloads",
    "timm.models.load_checkpoint": "reads",
    "timm.models.push_to_hf_hub": "uploads",
    "timm.utils.CheckpointSaver": "writes",
    "albumentations.load": "builds further components",
    "segmentation_models_pytorch.from_pretrained": "downloads",
    "segmentation_models_pytorch.datasets.OxfordPetDataset": "downloads",
}
NODES = ("model", "criterion", "optimizer.groups", "augmentation", "callbacks.x", "callbacks.poly_lr.power")


@pytest.fixture
def sentinel(tmp_path):
    """A file that every attack of a test would make."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists()


def refused(*configs: Path | str, settings: tuple[str, ...] = ()) -> str:
    with pytest.raises(InputError) as error:
        load_recipe(["toy/pspnet50", *configs], settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def overlay(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "over.yml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


# -- targets --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("target", DANGEROUS)
def test_what_allowed_packages_have_and_no_recipe_may(target):
    with pytest.raises(InputError, match="target '"):
        resolve_target(target)


@pytest.mark.parametrize("place", NODES)
def test_by_every_way_into_a_recipe(place, tmp_path, sentinel):
    attack = {"_target_": "torchvision.io.write_file", "filename": str(sentinel), "data": 1}
    for node in (attack, {**attack, "_mode_": "partial"}, {**attack, "_mode_": "call"}):
        over: dict = node
        for key in reversed(place.split(".")):
            over = {key: over}
        assert f"{place}._target_: target 'torchvision.io.write_file'" in refused(overlay(tmp_path, over))
        pipeline = "catalyst_cityscapes.data.augmentation.AlbumentationsPipeline"
        inner = {"augmentation": {"_target_": pipeline, "crop": [33, 33], "extra": [{"deep": [node]}]}}
        assert "augmentation.extra.0.deep.0._target_: target" in refused(overlay(tmp_path, inner))
    words = [f"{place}._target_=torchvision.io.write_file", f"{place}.filename={sentinel}", f"{place}.data=1"]
    assert "target 'torchvision.io.write_file'" in refused(settings=tuple(words))
    (tmp_path / "base.yml").write_text(yaml.safe_dump({"callbacks": {"x": attack}}))
    assert "base.yml: callbacks.x._target_: target" in refused(overlay(tmp_path, "base: base.yml\n"))
    parts = {
        "experiment": {"name": "torchvision.io.write_file"},
        "callbacks": {"x": {"_target_": "${experiment.name}"}},
    }
    assert "target 'torchvision.io.write_file'" in refused(overlay(tmp_path, parts))


def test_text_that_catalyst_would_run_as_code(tmp_path, sentinel):
    node = {
        "_target_": "catalyst.callbacks.ControlFlowCallbackWrapper",
        "base_callback": {"_target_": "catalyst_cityscapes.callbacks.PolyLR"},
        "filter_fn": f"open({str(sentinel)!r}, 'w').close() or (lambda epoch, loader: True)",
    }
    message = "callbacks.x: filter_fn is run as python code, which no recipe may have"
    assert refused(overlay(tmp_path, {"callbacks": {"x": node}})).endswith(message)
    node["_target_"] = "catalyst.dl.ControlFlowCallbackWrapper"
    assert refused(overlay(tmp_path, {"callbacks": {"x": node}})).endswith(message)


def test_bytes_in_yaml_are_not_unpickled(tmp_path, sentinel):
    text = (
        "callbacks:\n  x:\n    _target_: catalyst.contrib.utils.serialization.pickle_deserialize\n"
        "    data: !!binary gASVFAAAAAAAAACMAm9zlIwGc3lzdGVtlJOULg==\n"
    )
    assert "callbacks.x._target_: target" in refused(overlay(tmp_path, text))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_var_": "model.apply"}, "_var_: unknown key"),
        ({"shared": {"_var_": "m"}}, "_var_: unknown key"),
        ({"kwargs": {"_meta_factory_": {"_target_": "torch.nn.Sequential"}}}, "_meta_factory_: unknown key"),
        ({"kwargs": {"_mode_": "partial"}}, "_mode_: goes with a '_target_'"),
        ({"__class__": 1}, "__class__: unknown key"),
    ],
)
def test_special_keys_of_hydra_slayer(node, message, tmp_path):
    for over in ({"callbacks": {"poly_lr": {"power": node}}}, {"model": {"layers": [node]}}):
        assert message in refused(overlay(tmp_path, over))


def test_shared_arguments_are_arguments_like_others():
    """hydra-slayer would add `shared_params` to every node below, among them a `_target_` to plain mappings."""
    node = {"_target_": "collections.OrderedDict", "shared_params": {"a": 1}, "b": {"c": 2}}
    assert build(node, "x") == {"shared_params": {"a": 1}, "b": {"c": 2}}


def test_a_name_means_the_same_to_the_check_and_to_the_builder(monkeypatch, tmp_path, sentinel):
    """`pydoc.locate` takes attributes of packages for modules; here an attribute hides a harmless module."""
    package = tmp_path / "two_faced"
    package.mkdir()
    (package / "__init__.py").write_text(
        f"from two_faced import part\nclass part:\n    @staticmethod\n    def make(): open({str(sentinel)!r}, 'w')\n"
    )
    (package / "part.py").write_text("def make():\n    return 'harmless'\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve_target("two_faced.part.make", ["two_faced"])() == "harmless"
    assert build({"_target_": "two_faced.part.make"}, "x") == "harmless"


@pytest.mark.parametrize("target", ["torchvision.io.write_file", "catalyst.utils.torch.save_checkpoint", "os.mkdir"])
def test_plain_catalyst_configs_are_held_to_the_same_list(target, workdir, sentinel, capsys):
    attack = {"_target_": target, "filename": str(sentinel), "path": str(sentinel), "data": 1, "checkpoint": {}}
    for key in ("model", "shared", "own"):
        Path("stock.yml").write_text(yaml.safe_dump({**STOCK, key: {"_var_": key, **attack}}, sort_keys=False))
        assert catalyst_dl("run", "--config", "stock.yml") == 2
        assert f"stock.yml: {key}: target '{target}'" in capsys.readouterr().err
    stage = {"_call_": "train", "callbacks": {"x": {"_target_": "catalyst.dl.ControlFlowCallbackWrapper"}}}
    stage["callbacks"]["x"] |= {"base_callback": {"_target_": "catalyst.dl.AccuracyCallback"}, "filter_fn": "1"}
    Path("stock.yml").write_text(yaml.safe_dump({**STOCK, "run": [stage]}, sort_keys=False))
    assert catalyst_dl("run", "--config", "stock.yml") == 2
    assert "run.0.callbacks.x: filter_fn is run as python code" in capsys.readouterr().err


# -- what the packages hold -----------------------------------------------------------------------------------------
RUNS_CODE = {
    "eval", "exec", "compile", "__import__", "importlib.import_module", "pickle.load", "pickle.loads", "dill.loads",
    "os.system", "os.popen", "subprocess.run", "subprocess.call", "subprocess.Popen", "subprocess.check_output",
    "urllib.request.urlopen", "urllib.request.urlretrieve", "tar.extractall", "z.extractall", "zip.extractall",
    "shutil.rmtree", "shutil.move", "yaml.load",
}  # fmt: skip
RUNS_CODE_SOMEWHERE = re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, sorted(RUNS_CODE)))})\s*\(")
REVIEWED = {
    "catalyst.callbacks.checkpoint.CheckpointCallback": "removes its own checkpoints; reads weights only",
    "catalyst.callbacks.control_flow._ArgsFilterFn": "private; its argument is refused where it is passed on",
    "torch.nn.functional.interpolate": "imports a module of torch, by a fixed name",
    "torch.nn.functional.pad": "imports a module of torch, by a fixed name",
    "torchvision.models._api.get_weight": "private",
    "timm.optim._optim_factory._import_class": "private",
}


def test_every_part_of_the_allowed_packages_that_runs_code_is_refused_or_was_reviewed():
    found = set()
    for package in (name for name in ALLOWED if not name.startswith(("semseg_ref", "catalyst_cityscapes"))):
        spec = importlib.util.find_spec(package)
        if spec is None:
            continue
        root = Path(spec.origin).parent
        for path in root.rglob("*.py"):
            module = ".".join([package, *path.relative_to(root).with_suffix("").parts]).removesuffix(".__init__")
            text = path.read_text(encoding="utf-8")
            if not RUNS_CODE_SOMEWHERE.search(text):
                continue  # thousands of files, which would take long to parse
            for node in ast.parse(text).body:
                if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                    continue
                called = {ast.unparse(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}
                if called & RUNS_CODE:
                    found.add(f"{module}.{node.name}")
    reachable = {name for name in found if is_allowed(name)}
    assert len(found) > len(reachable) + 10, "the search finds nothing, so this test proves nothing"
    assert reachable <= set(REVIEWED), reachable - set(REVIEWED)


def test_the_lists_name_what_exists():
    for name in (*REFUSED, *REINSTATED):
        assert is_allowed(name) == (name in REINSTATED)
        assert name.startswith(ALLOWED)
    for name in ("torchvision.datasets.FakeData", "torchvision.datasets.ImageFolder"):
        assert callable(resolve_target(name))


def test_trust_lifts_the_list_for_one_package():
    assert callable(resolve_target("torchvision.io.write_file", ["torchvision"]))
    with pytest.raises(InputError, match="is outside the allowed packages"):
        resolve_target("catalyst.utils.torch.save_checkpoint", ["torchvision"])


# -- files that grow ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (laughs(20, 10), "more than 100000 values once its aliases"),
        (laughs(20, 10).replace("[x]", "{k: v}").replace("a1: &a1 [", "a1: &a1 {<<: [").replace("\na2", "}\na2"), ": "),
        ("a: " + "[" * 100_000, "nested deeper than 50 levels"),
        ("a: " + "{b: " * 200 + "}" * 200, "nested deeper than 50 levels"),
        ("\n".join(f"{'  ' * n}a:" for n in range(300)), "nested deeper than 50 levels"),
        ("a: &a {b: *a}\n", "an alias inside of what it stands for"),
        ("x" * 300_000, "300000 characters"),
    ],
    ids=("aliases", "merges", "lists", "mappings", "lines", "ring", "long"),
)
def test_yaml_that_grows_is_refused(text, message, tmp_path):
    path = tmp_path / "x.yml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"x\.yml: ") as error:
        read_yaml(path)
    assert message in str(error.value)


@pytest.mark.parametrize("form", ["{r}{r}", "['{r}', '{r}']", "{{p: '{r}', q: '{r}'}}"])
def test_references_that_grow_are_refused(form, tmp_path):
    message = refused(overlay(tmp_path, doubling(40, form).replace("shared", "callbacks")))
    assert "more than 1000000 characters once its references are filled in" in message


def test_references_that_go_on_and_on(tmp_path):
    chain = "\n".join(f"  x{n}: ${{callbacks.x{n + 1}}}" for n in range(3000))
    assert "references that go on for more than 50 keys" in refused(
        overlay(tmp_path, f"callbacks:\n{chain}\n  x3000: 1\n")
    )
    assert "leads back to itself" in refused(overlay(tmp_path, "callbacks: {a: {b: '${callbacks.a}'}}\n"))


def test_references_as_people_write_them(tmp_path):
    over = "data: {names: '${.colors}', root: x, train_list: '${data.root}/a', crop: [65, '${data.crop[0]}']}\n"
    recipe = load_recipe(["toy/pspnet50", overlay(tmp_path, over)])
    assert (recipe.data.train_list, recipe.data.names, recipe.data.crop) == ("x/a", recipe.data.colors, (65, 65))
