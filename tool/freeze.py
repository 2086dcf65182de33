"""Holds a state of the project fast, before code moves, and compares a later state with it, to the byte.

    python tool/freeze.py make FOLDER       in the checkout before; takes about four minutes on 2 cores
    python tool/freeze.py compare FOLDER    in the checkout after; exit code 1 where anything differs

What is kept: every shipped recipe as `--show` prints it; logs, checkpoints and score of both arms on a toy city; the
hashes of the named protocols; the ids of the collected tests, without the folders that they lie in. What may differ is
left out: the digest of the code, times, and the names of moved targets, which `renamed_targets` brings up to date.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import yaml

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
TOY = (
    "experiment.epochs=2",
    "sampling.batch_size=2",
    "sampling.workers=0",
    "data.crop=[33,33]",
    "engine.device=cpu",
    "callbacks.checkpoint.save_every=1",
)
ARMS = {
    "toy_pspnet50": ("--config", "toy/pspnet50"),
    "toy_pspnet50_control": ("--config", "toy/pspnet50", "--control"),
    "toy_pspnet18": ("--config", "toy/pspnet18", "--set", "model.width=8", "--set", "data.crop=[41,41]"),
    "catalyst_2020": ("--config", "toy/pspnet18", "swap/earlier_attempt", "--set", "model.width=8"),
}
"""Trainings by name; the last with the swaps whose targets lie in other modules than the recipe's."""
UNSTABLE = {"versions", "time_utc", "seconds", "command", "git", "code", "logdir", "checkpoint", "run", "environment"}


def run(*command: str, cwd: Path = ROOT) -> str:
    """Runs a command with one thread; returns what it printed. Ends this program where it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def catalyst_dl(*arguments: str, cwd: Path = ROOT) -> str:
    """Runs the command line of this checkout."""
    return run(PYTHON, "-c", "from catalyst_cityscapes.cli import main; main()", *arguments, cwd=cwd)


def renamed_targets() -> dict[str, str]:
    """Old to new names of moved targets and shipped recipes; none where nothing has moved yet."""
    try:
        from catalyst_cityscapes.recipe.nodes.renamed import RENAMED
        from catalyst_cityscapes.recipe.places import RENAMED_CONFIGS
    except ImportError:
        return {}
    return {**RENAMED, **RENAMED_CONFIGS}


def with_new_names(value: Any) -> Any:
    """A JSON value with every moved target under its new name."""
    text = json.dumps(value)
    for old, new in renamed_targets().items():
        text = text.replace(f'"{old}', f'"{new}')
    return json.loads(text)


def shown_recipes() -> dict[str, Any]:
    """Each shipped recipe complete; a swap is shown on the recipe that it swaps a part of."""
    shown = {}
    configs = ROOT / "catalyst_cityscapes" / "configs"
    for path in sorted(configs.rglob("*.yml")):
        place = path.relative_to(configs).with_suffix("")
        folder, name = place.parts[0], place.as_posix()
        if folder in ("cityscapes", "camvid", "toy", "mmseg"):
            shown[name] = yaml.safe_load(catalyst_dl("run", "--show", "--config", name))
        elif place.parent.as_posix() == "swap":
            shown[name] = yaml.safe_load(catalyst_dl("run", "--show", "--config", "cityscapes/pspnet50", name))
    return shown


def digest_of(value: Any) -> Any:
    """Plain values as they are, tensors as type, shape and SHA-256 of their bytes, without what may differ."""
    if isinstance(value, torch.Tensor):
        data = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return [str(value.dtype), list(value.shape), hashlib.sha256(data).hexdigest()]
    if isinstance(value, dict):
        # A list keeps the order, which is part of a state dict.
        return [[str(key), digest_of(item)] for key, item in value.items() if str(key) not in UNSTABLE]
    if isinstance(value, (list, tuple)):
        return [digest_of(item) for item in value]
    return value


def trained(folder: Path) -> dict[str, Any]:
    """Trains and scores each arm on a toy city below `folder`; returns what came out."""
    run(
        PYTHON,
        "-m",
        "catalyst_cityscapes.data.toy_city",
        "city",
        "--train",
        "6",
        "--val",
        "3",
        "--test",
        "1",
        "--height",
        "64",
        "--width",
        "96",
        cwd=folder,
    )
    found = {
        "city": {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((folder / "city").rglob("*"))
            if path.is_file()
        }
    }
    for name, arguments in ARMS.items():
        options = [
            part for setting in ("data.root=city", *TOY, f"experiment.logdir={name}") for part in ("--set", setting)
        ]
        catalyst_dl("run", *arguments[:2], *options, *arguments[2:], cwd=folder)
        files = sorted((folder / name).rglob("*.pth"))
        last = max(files, key=lambda path: (path.stat().st_mtime_ns, path.name))
        if "--control" not in arguments:
            catalyst_dl("test", "--run", name, cwd=folder)
        found[name] = {
            "logs": {path.name: path.read_text() for path in sorted((folder / name).glob("*.csv"))},
            "checkpoints": {
                str(path.relative_to(folder)): digest_of(torch.load(path, map_location="cpu", weights_only=True))
                for path in files
                if path == last or path.name.startswith("best")
            },
            "scores": [
                without_unstable(json.loads(path.read_text())) for path in sorted((folder / name).rglob("score.json"))
            ],
        }
        for path in files:
            path.unlink()
    return found


def without_unstable(value: Any) -> Any:
    """A JSON value without what may differ."""
    if isinstance(value, dict):
        return {key: without_unstable(item) for key, item in value.items() if key not in UNSTABLE}
    return [without_unstable(item) for item in value] if isinstance(value, list) else value


def protocol_hashes() -> dict[str, str]:
    """Hash of each named protocol."""
    code = (
        "import json; from semseg_ref.protocol import PROTOCOLS;"
        "print(json.dumps({name: make().hash for name, make in PROTOCOLS.items()}))"
    )
    return json.loads(run(PYTHON, "-c", code))


def collected_tests() -> dict[str, int]:
    """Collected test ids without folders, with how often each comes."""
    lines = run(PYTHON, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider").splitlines()
    return dict(
        Counter(f"{Path(file).name}::{rest}" for line in lines for file, sep, rest in [line.partition("::")] if sep)
    )


def state() -> dict[str, Any]:
    """All that is kept."""
    with tempfile.TemporaryDirectory(prefix="freeze_") as folder:
        runs = trained(Path(folder))
    return {"recipes": shown_recipes(), "protocols": protocol_hashes(), "tests": collected_tests(), **runs}


def differences(before: Any, after: Any, path: str = "") -> list[str]:
    """Places at which two states differ; tests that came are none."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [key for key in before if path == "tests" or key in after]
        only = [] if path == "tests" else [f"{path}/{key}: only in one" for key in before.keys() ^ after.keys()]
        return only + [
            line for key in keys for line in differences(before[key], after.get(key), f"{path}/{key}".strip("/"))
        ]
    return [] if before == after else [f"{path}: {str(before)[:100]} -> {str(after)[:100]}"]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["make", "compare"])
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    file = arguments.folder / "state.json"
    found = json.loads(json.dumps(state()))
    if arguments.action == "make":
        arguments.folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=1))
        return
    lines = differences(with_new_names(json.loads(file.read_text())), found)
    print("\n".join(lines) or "equal")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
