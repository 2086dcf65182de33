"""The whole road by the commands a user types: toy city, preparation, training, test, official score, report."""

import json
import os
import subprocess

import pytest

from support.places import PROJECT

SMALL = ("experiment.epochs=1", "data.crop=[33,33]", "sampling.batch_size=2")


@pytest.mark.slow
@pytest.mark.skipif(not (PROJECT / ".venv" / "bin" / "catalyst-dl").exists(), reason="needs tool/setup.sh's .venv")
def test_city_road_from_an_empty_folder(tmp_path):
    city = {"CITY": "--train 4 --val 2 --test 1 --height 64 --width 128", "OMP_NUM_THREADS": "1"}
    command = ["bash", str(PROJECT / "tool" / "city_road.sh"), str(tmp_path / "road"), *SMALL]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | city, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    run = tmp_path / "road" / "run"
    score = json.loads(next(run.glob("result/*/val/*/score.json")).read_text())
    official = json.loads(next(run.glob("result/*/val/*/official/official.json")).read_text())
    assert score["images"] == 2
    assert "max" in done.stdout
    assert official
    page = (run / "report.html").read_text()
    assert f"{score['mIoU']:.4f}" in page
    assert (tmp_path / "road" / "sheet.png").stat().st_size > 10_000
