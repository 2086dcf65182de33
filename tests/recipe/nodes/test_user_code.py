"""A class in a file beside the recipe: importable where `--trust` names it, and nothing else of that folder."""

import sys
from pathlib import Path

import pytest

from catalyst_cityscapes.lab.measure.network import measure_network
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.nodes.targets import build, locate, resolve_target
from semseg_ref.base.errors import InputError
from support.command_line import catalyst_dl
from support.runs.toy import toy_settings

NETWORK = """
from torch import nn
class Net(nn.Module):
    head_names = ("c",)
    def __init__(self, classes):
        super().__init__()
        self.c = nn.Conv2d(3, classes, 3, padding=1)
    def forward(self, x):
        y = self.c(x)
        return y, (y if self.training else None)
class Loss(nn.CrossEntropyLoss):
    pass
class Flip:
    def __call__(self, image, label):
        return image, label
"""
RECIPE = (
    "model: {_target_: NAME.Net, classes: '${data.classes}'}\ncriterion: {_target_: NAME.Loss, ignore_index: 255}\n"
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with my.yml and a module beside it, and another one to work in; names of its own for each test."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    name = f"mine_{tmp_path.name.replace('-', '_')}"
    (tmp_path / "recipes" / f"{name}.py").write_text(NETWORK)
    (tmp_path / "recipes" / "my.yml").write_text(RECIPE.replace("NAME", name))
    return tmp_path / "recipes", name


def load(folder: Path, *trusted: str):
    return load_recipe(["toy/pspnet50", folder / "my.yml"], [], trusted)


def refused(folder: Path, *trusted: str) -> str:
    with pytest.raises(InputError) as error:
        load(folder, *trusted)
    return str(error.value)


def test_model_loss_and_step_of_ones_own(place):
    folder, name = place
    assert f"--trust {name} allows it for this run" in refused(folder)
    assert name not in sys.modules
    with (folder / "my.yml").open("a") as file:
        file.write(f"augmentation: {{steps: {{blur: {{_target_: {name}.Flip}}}}}}\n")
    recipe = load(folder, name)
    assert resolve_target(recipe.model["_target_"], (name,)).__module__ == name
    assert str(folder) not in sys.path


def test_a_run_keeps_the_file_and_its_test_finds_it_there(place, toy_city, capsys):
    folder, name = place
    given = toy_settings(toy_city, "experiment.epochs=1", "experiment.logdir=run")
    command = ("run", "--config", "toy/pspnet50", folder / "my.yml", "--trust", name, "--set", *given)
    assert catalyst_dl(*command) == 0
    assert Path(f"run/{name}.py").read_text() == NETWORK
    (folder / f"{name}.py").unlink()
    capsys.readouterr()
    assert catalyst_dl("test", "--run", "run", "--limit", "1") == 2
    assert f"--trust {name} allows it" in capsys.readouterr().err
    assert catalyst_dl("test", "--run", "run", "--limit", "1", "--trust", name) == 0
    Path(f"run/{name}.py").write_text(NETWORK + "\n# changed\n")
    assert catalyst_dl("run", "--config", "run/recipe.yml", "--trust", name, "--resume", "auto") == 0
    assert f"{name} (trusted) was" in capsys.readouterr().err


def test_a_package_and_a_file_in_the_current_folder(place):
    folder, name = place
    package = Path.cwd() / name
    package.mkdir()
    (folder / f"{name}.py").rename(package / "parts.py")
    (package / "__init__.py").write_text("from .parts import Loss, Net\n")
    assert load(folder, name).model["_target_"] == f"{name}.Net"
    assert locate(f"{name}.parts.Flip")[1].__name__ == "Flip"


def test_a_file_shadows_nothing(place):
    folder, name = place
    for other in ("random", "apex", "cv2"):
        (folder / f"{other}.py").write_text("raise SystemExit('run without being trusted')\n")
    assert load(folder, name)
    with pytest.raises(ModuleNotFoundError):
        __import__("apex")
    said = refused(folder, name, "random")
    assert said.startswith("--trust random: ")
    assert "have one name; rename the file beside the recipe" in said
    assert "have one name" in refused(folder, name, "cv2")


def test_a_copy_on_pythons_path_is_the_same_module(place, tmp_path, monkeypatch):
    """As of a run folder's own copy, where the command is given beside the file that was trained with."""
    folder, name = place
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / f"{name}.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    assert load(folder, name).model["_target_"] == f"{name}.Net"
    (tmp_path / "path" / f"{name}.py").write_text(NETWORK + "# other\n")
    assert "have one name" in refused(folder, name)


def test_two_files_of_one_name(place):
    folder, name = place
    (folder / "below").mkdir()
    (folder / "below" / "over.yml").write_text("experiment: {epochs: 1}\n")
    (folder / "below" / f"{name}.py").write_text(NETWORK)
    configs = ["toy/pspnet50", folder / "my.yml", folder / "below" / "over.yml"]
    assert load_recipe(configs, [], (name,))
    (folder / "below" / f"{name}.py").write_text("other = 1\n")
    with pytest.raises(InputError, match="differ; which is meant"):
        load_recipe(configs, [], (name,))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1 / 0\n", "cannot be imported (ZeroDivisionError: division by zero; "),
        ("def f(:\n", "cannot be imported (SyntaxError: "),
        ("import neighbour_of_mine\n", "--trust neighbour_of_mine allows it for this run"),
        ("import no_such_package\n", "needs the package 'no_such_package', not installed"),
        ("other = 1\n", "has no 'Net'"),
    ],
)
def test_a_file_that_does_not_work_is_told_in_one_line(place, text, said):
    folder, name = place
    (folder / f"{name}.py").write_text(text)
    (folder / "neighbour_of_mine.py").write_text("")
    assert said in refused(folder, name)


def test_a_name_that_is_nowhere_says_where_was_looked(place):
    folder, name = place
    (folder / f"{name}.py").unlink()
    said = refused(folder, name)
    assert f"there is no {name}.py either in the folders of the recipe and of the command ({folder}" in said


def test_a_file_that_ends_python_is_told(place):
    folder, name = place
    (folder / f"{name}.py").write_text("import sys\nsys.exit(0)\n")
    assert "cannot be imported (SystemExit: 0" in refused(folder, name)


def test_a_network_with_the_main_head_alone_trains_to_the_end_and_is_measured(place, toy_city, capsys):
    """After the last step it goes through the ledger once more, where a batch of two is no pair of heads."""
    folder, name = place
    (folder / f"{name}.py").write_text(NETWORK.replace("return y, (y if self.training else None)", "return y"))
    given = toy_settings(toy_city, "experiment.epochs=1", "experiment.logdir=run", "callbacks.aux_loss.weight=0")
    given = [*given, "sampling.batch_size=2"]
    common = ("--config", "toy/pspnet50", folder / "my.yml", "--trust", name, "--set", *given)
    assert catalyst_dl("run", *common) == 0, capsys.readouterr().err
    assert catalyst_dl("test", "--run", "run", "--limit", "1", "--trust", name) == 0, capsys.readouterr().err
    recipe = load_recipe(["toy/pspnet50", folder / "my.yml"], given, (name,))
    facts = measure_network(recipe, build(recipe.model, "model"))
    assert facts.step is not None
    assert facts.refused is None
