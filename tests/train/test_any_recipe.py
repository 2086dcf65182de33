"""Networks, losses, augmentations, optimisers and schedules of anybody's train, resume to the bit, and are scored.

All from the command line alone, as a user would write the recipe.
"""

import json
from pathlib import Path

import pytest

from semseg_ref.base.checkpoints.state_dict import read_checkpoint
from support.command_line import dl
from support.runs.any_recipe import CASES, OF_MMSEGMENTATION, write_recipe
from support.runs.toy import LOGS, STATE, assert_same

ALWAYS = ("mmseg/toy/segformer_b0", "mmseg/toy/pspnet_r18")
NAMES = [
    *CASES,
    *(name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in OF_MMSEGMENTATION),
]


@pytest.mark.parametrize("name", NAMES)
def test_trains_resumes_and_is_scored_from_the_command_line(name, toy_city, workdir, one_thread):
    write_recipe(name, toy_city)

    def run(*arguments: str) -> str:
        result = dl(*arguments, "--trust", "mine")
        assert result.exit_code == 0, result.output
        return result.output

    run("run", "--config", "my.yml")
    first = min(Path("run/model").glob("train_*.pth"), key=lambda path: int(path.stem.rpartition("_")[2]))
    resumed = ("--set", "experiment.logdir=resumed", "--resume", str(first))
    run("run", "--config", "my.yml", *resumed)
    once, twice = (read_checkpoint(Path(folder, "model", "last.pth")) for folder in ("run", "resumed"))
    once["recipe"]["experiment"]["logdir"] = "resumed"
    assert_same({key: once[key] for key in STATE}, {key: twice[key] for key in STATE})
    rows = Path("resumed", LOGS[0]).read_text().splitlines()
    assert rows[1:] == Path("run", LOGS[0]).read_text().splitlines()[-len(rows) + 1 :]
    run("test", "--run", "run")
    score = json.loads(next(Path("run").rglob("score.json")).read_text())
    assert 0 <= score["mIoU"] <= 1
    if name in OF_MMSEGMENTATION:
        run("weights", "convert", "run/model/last.pth", "exported.pth", "--config", "my.yml")
        run("weights", "verify", "exported.pth", "--config", "my.yml")
        trained = {key.removeprefix("module."): value for key, value in once["state_dict"].items()}
        assert_same(trained, read_checkpoint("exported.pth")["state_dict"])
