"""The run folder: what was run, with which versions, where, and what is already there."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import torch
import yaml

from catalyst_cityscapes.checkpoint_folder import remove_leftovers, resumable
from catalyst_cityscapes.recipe import replaced_run, user_code
from catalyst_cityscapes.recipe.places import RECIPE_FILE
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.recipe.targets import target_names
from semseg_ref.base.errors import InputError
from semseg_ref.base.files import create_folder, replace_atomically

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "catalyst",
    "accelerate",
    "kornia-rs",
    "hydra-slayer",
    "omegaconf",
    "pydantic",
    "albumentations",
    "segmentation-models-pytorch",
    "timm",
)


def to_yaml(recipe: Recipe) -> str:
    """A recipe as YAML text, complete: `catalyst-dl run --config` of it is the same recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json", by_alias=True), sort_keys=False, width=120)


def installed_version(package: str) -> str | None:
    """A distribution's version; None where it is not installed, as this project itself in a plain checkout."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_revision(folder: Path) -> str | None:
    """Commit of the checkout that holds `folder`, with `-dirty` when tracked files differ; None outside of git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def environment() -> dict[str, Any]:
    """Versions, hardware, git revision, command line, and the time in UTC."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "time_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "git": git_revision(Path(__file__).parent),
        "python": platform.python_version(),
        "versions": {package: installed_version(package) for package in PACKAGES},
        "opencv_build": cv2.__version__,
        "machine": {
            "system": platform.platform(),
            "cpus": os.cpu_count(),
            "gpus": gpus,
            "torch_threads": torch.get_num_threads(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        },
        "world_size": int(os.environ.get("WORLD_SIZE", "1")),
    }


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
    resume sets the checkpoints and logs of an earlier one aside, see `replaced_run`; both remove what a killed process
    left half written.
    """
    logdir = create_folder(recipe.experiment.logdir)
    remove_leftovers(logdir)
    if resume is None:
        replaced_run.set_aside(logdir)
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
