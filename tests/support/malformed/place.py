"""A working directory in which every program works, what can be wrong with its data, and how a refusal looks."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
import yaml

from catalyst_cityscapes.recipe.translation import recipe_to_official
from semseg_ref import tester, train
from semseg_ref.base.checkpoints.state_dict import official_state_dict, save_checkpoint
from semseg_ref.base.files import file_sha256
from support.command_line import catalyst_dl
from support.networks.small import SmallNetwork
from support.runs.toy import SMALL, SMALL_PACKAGE, toy_recipe, toy_settings

PROGRAMS = ("run", "test", "semseg_ref.train", "semseg_ref.tester")
ONE_WINDOW = ("protocol.crop=[65, 97]", "protocol.base_size=96")


def furnish(toy_city: Path) -> None:
    """Fills the working directory; see `template`."""
    shutil.copytree(toy_city, "city")
    for name in (
        "recipe.yml",
        "metrics.csv",
        "iterations.csv",
        "model/last.pth",
        "model/iterations.csv",
        "out/score.json",
    ):
        path = Path("exp/old") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name} of an earlier run\n")
    torch.manual_seed(0)
    network = SmallNetwork()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    save_checkpoint("good.pth", {"epoch": 1, "state_dict": official_state_dict(network)})
    save_checkpoint("other.pth", {"epoch": 1, "state_dict": official_state_dict(torch.nn.Linear(2, 2))})
    save_checkpoint(
        "other_optimizer.pth",
        {"epoch": 1, "state_dict": official_state_dict(network), "optimizer": optimizer.state_dict()},
    )
    torch.save({"state_dict": network}, "code.pth")
    Path("garbage.pth").write_bytes(b"no checkpoint at all")
    Path("cut.pth").write_bytes(Path("good.pth").read_bytes()[:5000])
    Path("three.txt").write_text("road\nsky\ncar\n")
    cfg = recipe_to_official(toy_recipe(Path("city"), *ONE_WINDOW, "experiment.logdir=exp/old"))
    cfg.update(
        index_start=0,
        index_step=0,
        has_prediction=False,
        test_gpu=[0],
        model_path="good.pth",
        save_folder="exp/old/out",
    )
    Path("official.yaml").write_text(yaml.safe_dump({"DATA": dict(cfg)}))


def tree(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder, by its path."""
    return {str(path.relative_to(folder)): file_sha256(path) for path in folder.rglob("*") if path.is_file()}


def execute(
    program: str, *more: str, network: Sequence[str] = SMALL, logdir: str = "exp/old", overwrite: bool = True
) -> int:
    """Runs a program with settings for the `place`; returns its exit code.

    `more` is `key=value` pairs or, with another form, further words.
    """
    if program in ("run", "test"):
        given = [*toy_settings(Path("city"), *network, *ONE_WINDOW, f"experiment.logdir={logdir}"), *more]
        words = [word for word in given if "=" not in word or word.startswith("--")]
        settings = [word for word in given if word not in words]
        if program == "test":
            words = [*(() if "--checkpoint" in words else ("--checkpoint", "good.pth")), *words]
            words = [*(() if "--output" in words else ("--output", "exp/old/out")), *words]
        elif overwrite:
            words.append("--overwrite")
        return catalyst_dl(program, "--config", "toy/pspnet50", "--trust", SMALL_PACKAGE, "--set", *settings, *words)
    arguments = ["--config", "official.yaml", *(part for pair in more for part in pair.split("=", 1))]
    return control(program, arguments)


def control(program: str, arguments: Sequence[str]) -> int:
    """Runs a program of the control arm in this process; returns its exit code."""
    before = sys.argv
    sys.argv = [program, *arguments]
    try:
        (train if program == "semseg_ref.train" else tester).main()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = before
    return 0


def official(**values: object) -> None:
    """Changes options in the place's official config file."""
    content = yaml.safe_load(Path("official.yaml").read_text())
    content["DATA"].update(values)
    Path("official.yaml").write_text(yaml.safe_dump(content))


def assert_refused(capsys, code: int, *parts: str) -> None:
    """Fails unless a program ended with code 2 and one line on stderr that holds all the parts."""
    found = capsys.readouterr().err
    assert code == 2, found
    assert len(found.splitlines()) == 1, found
    assert "error: " in found
    assert "Traceback" not in found
    assert "Original" not in found
    for part in parts:
        assert part in found, found


def files_of(split: str) -> list[list[Path]]:
    """(image, label) paths of the place's list."""
    lines = Path(f"city/list/fine_{split}.txt").read_text().splitlines()
    return [[Path("city") / part for part in line.split(" ")] for line in lines]


def change_list(split: str, change: Callable[[str], str]) -> None:
    path = Path(f"city/list/fine_{split}.txt")
    path.write_text(change(path.read_text()))


def change_all(split: str, column: int, change: Callable[[Path], object]) -> None:
    for pair in files_of(split):
        change(pair[column])


def shrink(path: Path) -> None:
    label = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(path), label[:-3])


def use_label_ids(path: Path) -> None:
    shutil.copyfile(str(path).replace("labelTrainIds", "labelIds"), path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


@dataclass(frozen=True)
class DataFault:
    """Something wrong with the data.

    Attributes:
        make: makes it, in the list of a split.
        parts: what the message holds; `{split}` is filled in.
        before_reading: found before any image is read, so that not even a new folder may be left behind.
    """

    make: Callable[[str], object]
    parts: tuple[str, ...]
    before_reading: bool = False


DATA_FAULTS = {
    "missing image": DataFault(
        lambda split: files_of(split)[1][0].unlink(),
        ("fine_{split}.txt, line 2: no such file ", "leftImg8bit.png; 1 of "),
        True,
    ),
    "missing list": DataFault(
        lambda split: Path(f"city/list/fine_{split}.txt").unlink(), ("fine_{split}.txt: no such list file",), True
    ),
    "two spaces": DataFault(
        lambda split: change_list(split, lambda text: text.replace(" ", "  ", 1)),
        ("fine_{split}.txt, line 1: ", "has 3 fields separated by one space, expected 2"),
        True,
    ),
    "empty list": DataFault(
        lambda split: change_list(split, lambda text: ""), ("fine_{split}.txt: the list is empty",), True
    ),
    "sizes differ": DataFault(
        lambda split: change_all(split, 1, shrink), ("labelTrainIds.png: size 61 x 96 differs from",)
    ),
    "labelIds": DataFault(
        lambda split: change_all(split, 1, use_label_ids),
        ("labelTrainIds.png: values ", "labelIds instead of trainIds?"),
    ),
    "truncated image": DataFault(
        lambda split: change_all(split, 0, cut), ("leftImg8bit.png: the file ends early (truncated",)
    ),
    "truncated label": DataFault(lambda split: change_all(split, 1, cut), ("labelTrainIds.png: the file ends early",)),
    "text as image": DataFault(
        lambda split: change_all(split, 0, lambda path: path.write_text("no image")),
        ("leftImg8bit.png: damaged, or in no image",),
    ),
    "empty label": DataFault(
        lambda split: change_all(split, 1, lambda path: path.write_bytes(b"")),
        ("labelTrainIds.png: the file is empty",),
    ),
}


def _state(path: Path) -> tuple:
    """What changes when a file, folder or link is written to, replaced, or given other rights."""
    found = path.lstat()
    times = (found.st_mtime_ns, found.st_ctime_ns) if not path.is_dir() or path.is_symlink() else ()
    return (found.st_mode, found.st_ino, found.st_size if times else 0, *times)


class Place:
    """A working directory that each test finds as it was furnished.

    What a test changed is copied again, which is less than a whole copy for each.

    Args:
        template: a furnished folder.
        folder: where the copy goes; does not exist.
    """

    def __init__(self, template: Path, folder: Path) -> None:
        self.template, self.folder = template, folder
        shutil.copytree(template, folder)
        self._kept = self._states()

    def _states(self) -> dict[Path, tuple]:
        return {path.relative_to(self.folder): _state(path) for path in self.folder.rglob("*")}

    def restore(self) -> None:
        """Removes what came, and copies what was changed or removed."""
        present = self._states()
        for path in sorted(present, reverse=True):  # what lies in a folder before the folder
            if present[path] != self._kept.get(path):
                place = self.folder / path
                if place.is_dir() and not place.is_symlink():
                    shutil.rmtree(place)
                else:
                    place.unlink(missing_ok=True)
        for path in sorted(self._kept):
            source, place = self.template / path, self.folder / path
            if source.is_dir():
                place.mkdir(exist_ok=True)
            elif not os.path.lexists(place):
                shutil.copy2(source, place)
        self._kept = self._states()
