"""benchmarks/gpu_all.py: every part at toy size on the CPU, in an environment like that of a machine made for torch."""

import json
import os
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from support.places import PROJECT

BENCHMARKS = PROJECT / "benchmarks"
MACHINE = [
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "pillow",
    "accelerate",
    "setuptools",
    "six",
    "PyYAML",
    "click",
    "rich",
    "tqdm",
    "matplotlib",
    "jinja2",
    "markupsafe",
    "safetensors",
    "timm",
    "psutil",
    "packaging",
    "huggingface-hub",
    "filelock",
    "fsspec",
    "sympy",
    "mpmath",
    "networkx",
    "triton",
    "typing-extensions",
    "contourpy",
    "cycler",
    "fonttools",
    "kiwisolver",
    "pyparsing",
    "python-dateutil",
    "markdown-it-py",
    "mdurl",
    "pygments",
    "protobuf",
    "hf-xet",
    "httpx",
    "httpcore",
    "h11",
    "anyio",
    "idna",
    "certifi",
    "requests",
    "urllib3",
    "charset-normalizer",
    "tensorboard",
    "regex",
    "cuda-bindings",
    "cuda-pathfinder",
    "cuda-toolkit",
]
"""What such a machine has of the packages that torch, Catalyst and this project import."""
PARTS = ["ops", "correct", "step", "tester", "syncbn", "data", "end_to_end", "camvid"]

sys.path.insert(0, str(BENCHMARKS))
from gpu import bars, wheels  # noqa: E402


def top_level(name):
    """Files and folders of an installed package, right below site-packages, that are not shared with others."""
    distribution = metadata.distribution(name)
    names = {file.parts[0] for file in distribution.files if file.parts[0] not in ("..", "__pycache__")}
    return Path(distribution.locate_file("")), names


@pytest.fixture
def machine(tmp_path):
    """Folder of the machine's packages, folder of the wheels that are brought, and a Python that has neither."""
    site, brought = tmp_path / "machine", tmp_path / "wheels"
    site.mkdir()
    brought.mkdir()
    for name in MACHINE:
        try:
            source, names = top_level(name)
        except metadata.PackageNotFoundError:
            continue
        for top in names:
            if not (site / top).exists():
                (site / top).symlink_to(source / top)
    for shared in ("nvidia", "nvidia_cudnn_cu13", "yaml", "google"):
        if (source / shared).exists() and not (site / shared).exists():
            (site / shared).symlink_to(source / shared)
    for name in wheels.BROUGHT:
        distribution = metadata.distribution(name)
        with zipfile.ZipFile(brought / f"{name}.whl", "w") as archive:
            for file in distribution.files:
                if file.parts[0] != ".." and file.suffix != ".pyc":
                    archive.write(distribution.locate_file(file), str(file))
    return site, brought, Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"


def run(machine, folder, *arguments):
    site, brought, python = machine
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [str(python), str(BENCHMARKS / "gpu_all.py"), *arguments, "--wheels", str(brought)]
    command += ["--out", str(folder / "out"), "--work", str(folder / "work")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)


def rows_of(folder):
    return [json.loads(line) for line in (folder / "out" / "gpu.jsonl").read_text().splitlines()]


def found(rows, part, what, field):
    return [row[field] for row in rows if (row["part"], row["what"]) == (part, what) and field in row]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_parts_run_from_a_plain_checkout(machine, tmp_path):
    done = run(machine, tmp_path, "--tiny")
    log = (tmp_path / "out" / "gpu.log").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log[-6000:]
    rows = rows_of(tmp_path)
    assert [row["part"] for row in rows if row["what"] == "end"] == PARTS
    assert not [row for row in rows if "error" in row]
    for row in rows:
        if row["what"] != "end":
            assert row["card"] == "cpu"
            assert row["tiny"]
            assert {"torch", "cv2", "code", "command", "time_utc"} <= row.keys()
    for what in ("catalyst = control, deterministic", "resumed = uninterrupted, deterministic"):
        assert found(rows, "correct", what, "unequal_tensors") == [0]
    assert found(rows, "syncbn", "catalyst = control, SyncBatchNorm, 2 processes", "unequal_tensors") == [0]
    assert found(rows, "syncbn", "two processes on one device", "codes") == [[0, 0]]
    assert min(found(rows, "tester", "tester", "agreement")) > 0.999
    assert all(found(rows, "data", "loader", "fast_decoder"))
    assert len(found(rows, "camvid", "trained and scored", "mIoU")) == 3
    assert len(found(rows, "end_to_end", "training from files", "loss")) == 2
    assert "NO ROW  correct: the same run twice" in done.stdout
    assert re.search(
        r"^held    correct: catalyst = control, deterministic: unequal_tensors <= 0: 0$", done.stdout, re.M
    )
    assert (tmp_path / "work" / "site" / "catalyst").is_dir()


def test_a_part_that_is_not_there(machine, tmp_path):
    done = run(machine, tmp_path, "opps")
    assert done.returncode == 2
    assert "no part 'opps'; there are ops, correct, step" in done.stderr


def test_a_part_that_fails_or_has_no_time_is_told(tmp_path):
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    done = run((tmp_path, tmp_path, python), tmp_path, "ops", "tester", "--limit", "26", "--tiny")
    assert done.returncode == 1  # nothing is there to import
    first, second = rows_of(tmp_path)
    assert (first["part"], first["code"], second["part"]) == ("ops", 1, "tester")
    assert "ModuleNotFoundError" in (tmp_path / "out" / "gpu.log").read_text()
    assert done.stdout.count("NO ROW  tester: ") == 3


def test_bars():
    rows = [
        {"part": "step", "what": "step", "arm": "swap/fast_step", "ratio": 2.4, "share_of_bf16_rate": 0.46},
        {"part": "step", "what": "step", "arm": "fp32 deterministic", "ratio": 9.0},
        {"part": "tester", "what": "tester", "arm": "exact", "ratio": 1.0},
        {"part": "tester", "what": "tester", "arm": "fast bf16", "ratio": 41.0, "share_of_bound": None},
        {"part": "tester", "what": "end", "code": 0},
    ]
    assert list(bars.verdicts(rows, ["step", "tester"])) == [
        "MISSED  step: step swap/fast_step: ratio >= 2.5: 2.4",
        "held    step: step swap/fast_step: share_of_bf16_rate >= 0.42 (goal 0.45): 0.46",
        "held    tester: tester: ratio >= 15 (goal 40 in bf16, channels_last): 41",
        "NO ROW  tester: tester: share_of_bound >= 0.6",
        "NO ROW  tester: tester fast fp32 contiguous: agreement >= 0.9999",
    ]
    assert list(bars.verdicts(rows, [])) == []


def test_the_page_names_every_part_and_its_limit():
    page, script = (BENCHMARKS / "gpu.md").read_text(), (BENCHMARKS / "gpu_all.py").read_text()
    limits = dict(re.findall(r'"(\w+)": (\d+)', script.split("SHORTEST")[0]))
    assert list(limits) == PARTS
    for part, limit in limits.items():
        assert f"- **{part}** (at most {limit} s)" in page
        assert (BENCHMARKS / "gpu" / f"{part}.py").is_file()
