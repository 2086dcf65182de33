"""The run folder: what was run, with which versions, where, and what is already there."""

import json
from pathlib import Path

import yaml

from catalyst_cityscapes.recipe.nodes import user_code
from catalyst_cityscapes.recipe.nodes.targets import target_names
from catalyst_cityscapes.recipe.places import RECIPE_FILE
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.runs import backup
from catalyst_cityscapes.runs.checkpoints import remove_leftovers, resumable
from catalyst_cityscapes.runs.environment import environment
from semseg_ref.base.errors import InputError
from semseg_ref.base.files import create_folder, replace_atomically


def to_yaml(recipe: Recipe) -> str:
    """A recipe as YAML text, complete: `catalyst-dl run --config` of it is the same recipe."""
    return yaml.safe_dump(recipe.plain(), sort_keys=False, width=120)


def refuse_existing_run(recipe: Recipe, resume: Path | None, overwrite: bool) -> None:
    """Reads only, so every process may ask before anything is built.

    Raises:
        InputError: the folder holds another run's checkpoints and neither `resume` nor `overwrite` is given.
    """
    existing = resumable(Path(recipe.experiment.logdir) / "model")
    if existing and resume is None and not overwrite:
        raise InputError(
            f"{existing[0]}: this folder already holds a run; go on with --resume auto, start anew with --overwrite, "
            "or choose another --set experiment.name=NAME"
        )


def open_run_folder(recipe: Recipe, resume: Path | None) -> None:
    """Creates the run folder and writes `recipe.yml`, `environment.json`, and the user's modules that the recipe names.

    The main process calls it after everything was built and checked, and before the first step. A run that does not
    resume sets the checkpoints and logs of an earlier one aside, see `backup`; both remove what a killed process
    left half written.
    """
    logdir = create_folder(recipe.experiment.logdir)
    remove_leftovers(logdir)
    if resume is None:
        backup.set_aside(logdir)
    content = {**environment(), "seed": recipe.experiment.seed, "resumed_from": None if resume is None else str(resume)}
    replace_atomically(logdir / RECIPE_FILE, lambda file: file.write(to_yaml(recipe).encode()))
    _keep_user_code(recipe, logdir)
    text = json.dumps(content, indent=1) + "\n"
    replace_atomically(logdir / "environment.json", lambda file: file.write(text.encode()))


def _keep_user_code(recipe: Recipe, logdir: Path) -> None:
    # Beside the run's recipe.yml, so that `test --run FOLDER --trust NAME` finds the code that trained.
    for file in user_code.used(target_names(recipe)).values():
        for name, text in user_code.sources(file).items():
            path = logdir / name
            if not (path.is_file() and path.read_bytes() == text):
                create_folder(path.parent)
                replace_atomically(path, lambda opened, text=text: opened.write(text))
