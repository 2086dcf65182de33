"""What a run depended on: versions, the code, the machine."""

import functools
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import torch

import catalyst_cityscapes
import semseg_ref

RECORDED = (
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
"""Packages whose versions are written down with a run."""
NUMBERS = ("torch", "numpy", "opencv-python-headless", "catalyst", "accelerate")
"""Of them those that a training's numbers depend on; a checkpoint holds them."""
OWN_PACKAGES = tuple(Path(package.__file__).parent for package in (catalyst_cityscapes, semseg_ref))
"""Folders of this project's code, wherever this module lies in them."""


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
        "versions": {package: installed_version(package) for package in RECORDED},
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


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what the numbers depend on; `code` is a digest of this project's own files."""
    found = {"python": platform.python_version(), "code": code_digest()}
    return found | {package: installed_version(package) or "absent" for package in NUMBERS}


def code_digest(packages: Iterable[Path] = OWN_PACKAGES) -> str:
    """12 hexadecimal digits over names and bytes of all Python files of some packages.

    Args:
        packages: their folders.

    Raises:
        ValueError: a folder without a Python file, whose digest would be that of nothing.
    """
    digest = hashlib.sha256()
    for package in packages:
        files = sorted(package.rglob("*.py"))
        if not files:
            raise ValueError(f"{package}: no Python file in it")
        for path in files:
            digest.update(path.relative_to(package.parent).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
