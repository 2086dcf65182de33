"""A program that answers before it has loaded what the answer does not need: what is imported, not how long it takes.

Seconds are in `benchmarks/answers.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from catalyst_cityscapes import __version__
from catalyst_cityscapes.cli import COMMANDS, COMPLETION, main
from catalyst_cityscapes.recipe.places import CONFIGS
from support.command_line import console_command, dl
from support.places import PROJECT

PROBE = """
import json, os, sys
before = set(sys.modules)
from catalyst_cityscapes.cli import main
results = []
for words in json.loads(sys.argv[1]):
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    results.append(code)
print(json.dumps([results, sorted(set(sys.modules) - before)]), file=sys.stderr, flush=True)
os._exit(0)  # tearing torch down takes as long again on a busy machine
"""
OWN = {"catalyst_cityscapes", "semseg_ref"}
TORCH = {"torch", "catalyst", "cv2", "numpy", "matplotlib", "scipy"}
NOT_NAMED = {"torchvision", "timm", "segmentation_models_pytorch", "albumentations", "scipy", "rich", "tensorboard"}
"""What no shipped recipe needs for being checked, unless it names it."""


def commands() -> dict[tuple[str, ...], click.Command]:
    """Every command with its words; `()` is the program itself."""
    found: dict[tuple[str, ...], click.Command] = {(): main}
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        found[(name,)] = command
        found |= {(name, inner): each for inner, each in getattr(command, "commands", {}).items()}
    return found


def imported_by(*command_lines: list[str], folder: Path) -> tuple[list[int], set[str]]:
    """Exit codes of command lines, run one after the other in one fresh process, and the modules imported for them."""
    command = [sys.executable, "-c", PROBE, json.dumps(command_lines)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    codes, modules = json.loads(done.stderr.splitlines()[-1])
    return codes, set(modules)


def packages_of(modules: set[str]) -> set[str]:
    """Their top-level packages, without the standard library."""
    return {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names)


def test_the_list_of_commands_says_what_their_help_begins_with():
    for name, said in COMMANDS.items():
        command = main.get_command(click.Context(main), name)
        assert command.name == name
        assert command.help.startswith(said)
    shown = dl("--help").output
    assert all(f"  {name} " in shown and said in shown for name, said in COMMANDS.items())


def test_help_and_version_import_nothing_but_click(tmp_path):
    lines = [[*words, option] for words in commands() for option in ("--help", "-h")]
    assert ["weights", "inspect", "--help"] in lines
    assert ["bench", "tester", "--help"] in lines
    codes, modules = imported_by(*lines, ["--version"], [], folder=tmp_path)
    assert set(codes) == {0, 2}  # without a command click shows the help and gives 2
    assert packages_of(modules) <= OWN | {"click", "typing_extensions", "colorama"}


def test_a_wrong_word_imports_nothing_but_click(tmp_path):
    lines = [[*words, "--nonsense"] for words in commands()]
    lines += [["rnu"], ["run"], ["run", "--config"], ["test", "--limit", "0"], ["lint"], ["browse"], ["ab"], ["demo"]]
    lines += [["bench", "step", "--arm", "x"], ["prepare"], ["scores", "x"], ["weights", "x"]]
    codes, modules = imported_by(*lines, folder=tmp_path)
    assert set(codes) == {2}
    assert packages_of(modules) <= OWN | {"click", "typing_extensions", "colorama"}


def test_a_misspelt_key_and_a_missing_recipe_do_not_wait_for_torch(tmp_path):
    (tmp_path / "typo.yml").write_text(f"base: {CONFIGS}/cityscapes/pspnet50.yml\nsamplign:\n  batch_size: 8\n")
    lines = [
        ["run", "--config", "toy/pspnet5"],
        ["run", "--config", "toy/pspnet50", "enigne.device=cpu"],
        ["run", "--config", "toy/pspnet50", "--set", "data.classes=many"],
        ["run", "--config", "toy/pspnet50", "--set", "protocol.scale=[1.0]", "--control"],
        ["run", "--config", "typo.yml", "--show"],
        ["lint", "toy/pspnet50", "enigne.device=cpu"],
        ["browse", "-C", "nowhere.yml"],
        ["demo", "nowhere.png"],
    ]
    codes, modules = imported_by(*lines, folder=tmp_path)
    assert set(codes) == {2}
    assert not packages_of(modules) & (TORCH - {"cv2", "numpy"})


def test_a_misspelt_argument_waits_for_what_the_recipe_names_and_no_more(tmp_path):
    misspelt = ["optimizer.momentumm=0.9", "model.layerz=50", "criterion.wieght=2", "augmentation.steps.blur.radios=5"]
    codes, modules = imported_by(*(["run", "-C", "toy/pspnet50", word] for word in misspelt), folder=tmp_path)
    assert set(codes) == {2}
    assert "torch" in modules
    assert not packages_of(modules) & ({"catalyst", "accelerate", "matplotlib", "PIL"} | NOT_NAMED)


def test_a_misspelt_argument_of_a_callback_waits_for_the_core_of_catalyst_only(tmp_path):
    lines = [
        ["run", "-C", "toy/pspnet50", "callbacks.poly_lr.pwoer=1"],
        ["run", "-C", "toy/pspnet50", "callbacks.mean_iou.clases=19"],
        ["ab", "toy/pspnet50", "--arm", "a=callbacks.poly_lr.pwoer=1"],
        ["diff", "toy/pspnet50", "+callbacks.poly_lr.pwoer=1"],
        ["ladder", "toy/pspnet50", "toy/pspnet50,callbacks.poly_lr.pwoer=1"],
        ["test", "-C", "toy/pspnet50", "callbacks.poly_lr.pwoer=1", "--checkpoint", "x.pth"],
        ["weights", "verify", "x.pth", "-C", "toy/pspnet50", "callbacks.poly_lr.pwoer=1"],
    ]
    codes, modules = imported_by(*lines, folder=tmp_path)
    assert set(codes) == {2}
    assert "catalyst.core.callback" in modules
    assert not packages_of(modules) & NOT_NAMED
    # Catalyst's settings import matplotlib, but nothing needs its drawing, nor the half of Catalyst that dl is.
    assert not modules & {"catalyst.dl", "catalyst.runners", "matplotlib.pyplot"}


def test_the_version_is_known_where_nothing_is_installed(tmp_path):
    command = [sys.executable, "-S", "-c", "import catalyst_cityscapes; print(catalyst_cityscapes.__version__)"]
    root = str(PROJECT)
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": root}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == __version__
    assert dl("--version").output == f"catalyst-dl, version {__version__}\n"


# -- completion in the shell ---------------------------------------------------------------------------------------
def proposed(line: str, folder: Path, shell: str = "bash") -> list[str]:
    """What the program proposes for the last word of `catalyst-dl LINE`; `file` stands for the shell's own files."""
    words = f"catalyst-dl {line}"
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(f"{words}|".split()) - 1), COMPLETION: f"{shell}_complete"}
    command = [console_command()]
    done = subprocess.run(command, cwd=folder, env=os.environ | asked, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    if shell == "zsh":  # three lines a proposal: type, value, help
        lines = done.stdout.splitlines()
        return [value if kind == "plain" else kind for kind, value in zip(lines[::3], lines[1::3], strict=False)]
    proposals = [line.split(",", 1) for line in done.stdout.splitlines()]
    return [value if kind == "plain" else kind for kind, value in proposals]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", list(COMMANDS)),
        ("re", ["report"]),
        ("weights ", ["convert", "inspect", "verify"]),
        ("weights ins", ["inspect"]),
        ("run --res", ["--resume"]),
        ("test --tester f", ["fast"]),
        ("prepare --to da", ["file"]),
        ("run --config toy/pspnet5", ["toy/pspnet50"]),
        ("run --config toy/pspnet50 swap/head", ["swap/head_lr"]),
        ("run --config my", ["my_recipe.yaml"]),
        ("run --config ../other", ["file"]),
        ("test --checkpoint ", ["file"]),
        ("diff toy/pspnet50 cityscapes/psp", ["cityscapes/pspnet101", "cityscapes/pspnet50"]),
        ("ladder --plan ladders/semseg-catalyst-t", ["ladders/semseg-catalyst-toy"]),
        ("rnu --con", ["file"]),
    ],
)
def test_the_shell_completes(line, expected, tmp_path):
    (tmp_path / "my_recipe.yaml").touch()
    assert proposed(line, tmp_path) == expected


def test_zsh_completes_too_and_both_shells_get_their_script(tmp_path):
    assert proposed("we", tmp_path, "zsh") == ["weights"]
    assert proposed("run --config swap/catalyst", tmp_path, "zsh") == ["swap/catalyst_2020"]
    assert proposed("report exp/", tmp_path, "zsh") == ["file"]
    for shell, line in (("bash", "complete -o nosort -F _catalyst_dl_completion catalyst-dl"), ("zsh", "compdef")):
        asked = os.environ | {COMPLETION: f"{shell}_source"}
        assert line in subprocess.run([console_command()], env=asked, capture_output=True, text=True, check=True).stdout


def test_completion_imports_nothing_but_click(tmp_path):
    asked = {"COMP_WORDS": "catalyst-dl run --config ", "COMP_CWORD": "3", COMPLETION: "bash_complete"}
    code = "import sys\nfrom catalyst_cityscapes.cli import main\ntry:\n    main(prog_name='catalyst-dl')\n"
    code += "except SystemExit:\n    print('imported', *sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | asked, capture_output=True, text=True, check=True)
    *proposals, imported = done.stdout.splitlines()
    shipped = [str(path.relative_to(CONFIGS).with_suffix("")) for path in sorted(CONFIGS.glob("[!_]*/**/*.yml"))]
    assert proposals == [f"plain,{name}" for name in shipped if not name.startswith("ladders/")]
    assert not TORCH & set(imported.split())
