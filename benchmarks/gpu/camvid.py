"""Part `camvid`: real frames, trained by both arms and by the fast one, and their strict scores; one seed.

CamVid is looked for in the folder CAMVID (default .camvid in the checkout: images/, labels/, train.txt, val.txt).
"""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np

from gpu.command_line import catalyst_dl
from gpu.place import CUDA, TINY, WORK, say, told

FOLDER = Path(os.environ.get("CAMVID", ".camvid"))
EPOCHS = 1 if TINY else int(os.environ.get("EPOCHS", "5"))
FAST = ("swap/augmentation_crop_first", *(("swap/fast_step",) if CUDA else ()))
ARMS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "catalyst": ((), (), ()),
    "control": ((), ("--control",), ()),
    "fast": (FAST, (), ("--tester", "fast")),
}
"""One line an arm: overlays, options of `run`, options of `test`."""
TINY_SIZE, TINY_IMAGES, CLASSES = (33, 45), 2, 11


def made_up() -> Path:
    """Two noisy frames in CamVid's layout, for trying the part out."""
    folder, rng, lines = WORK / "camvid", np.random.default_rng(0), []
    for index in range(TINY_IMAGES):
        for kind, shape, high in (("images", (*TINY_SIZE, 3), 256), ("labels", TINY_SIZE, CLASSES)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / kind / f"{index}.png"), rng.integers(0, high, shape, np.uint8))
        lines.append(f"images/{index}.png labels/{index}.png\n")
    for name in ("train.txt", "val.txt"):
        (folder / name).write_text("".join(lines))
    return folder


def train_and_score(arm: str, root: Path) -> None:
    """A row of an arm: seconds of the training and of the test, and the score."""
    overlays, of_run, of_test = ARMS[arm]
    logdir = WORK / f"camvid_{arm}"
    shutil.rmtree(logdir, ignore_errors=True)
    small = ("data.crop=[33,33]", "sampling.batch_size=2", "sampling.workers=0", "protocol.base_size=45")
    settings = (
        f"data.root={root.resolve()}", f"experiment.epochs={EPOCHS}", "experiment.seed=0", "model.pretrained=false",
        f"experiment.logdir={logdir}", *(small if TINY else ()),
    )  # fmt: skip
    trained_s = catalyst_dl("run", "--config", "camvid/pspnet50", *overlays, *of_run, "--set", *settings)
    checkpoint = logdir / "model" / f"train_epoch_{EPOCHS}.pth"
    tested_s = catalyst_dl("test", "--run", logdir, "--checkpoint", checkpoint, *of_test)
    (path,) = logdir.rglob("score.json")
    score = json.loads(path.read_text())
    say(
        "trained and scored",
        arm,
        train_s=trained_s,
        test_s=tested_s,
        epochs=EPOCHS,
        **{name: score[name] for name in ("mIoU", "mAcc", "allAcc")},
    )


def main() -> None:
    """All arms; nothing where CamVid is not at hand."""
    root = made_up() if TINY else FOLDER
    if not (root / "train.txt").exists():
        say("trained and scored", error=f"no CamVid in {root}; bring it along, or set CAMVID")
        return
    for arm in ARMS:
        with told("trained and scored", arm):
            train_and_score(arm, root)


if __name__ == "__main__":
    main()
