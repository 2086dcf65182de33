"""The Pythons that are promised: the same in every place, and every pinned package takes them."""

import os
import re
import subprocess
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from support.places import PROJECT

METADATA = tomllib.loads((PROJECT / "pyproject.toml").read_text())
PROMISED = [minor for minor in range(40) if f"3.{minor}" in SpecifierSet(METADATA["project"]["requires-python"])]
RANGE = f"3.{PROMISED[0]} to 3.{PROMISED[-1]}"
PINNED = [Requirement(line) for line in (PROJECT / "requirements.txt").read_text().splitlines() if line[:1].strip(" #")]


def test_every_place_names_the_same():
    assert PROMISED == [11, 12, 13]
    assert f"Python {RANGE}" in (PROJECT / "README.md").read_text()
    assert METADATA["tool"]["ruff"]["target-version"] == f"py3{PROMISED[0]}"
    for path in (PROJECT / "README.md", PROJECT / "tool/setup.sh", *(PROJECT / "docs").rglob("*.md")):
        named = re.findall(r"\bPython[s]? (3\.\d+ to 3\.\d+)\b", path.read_text(), re.IGNORECASE)
        assert set(named) <= {RANGE}, path


@pytest.mark.parametrize("requirement", PINNED, ids=lambda requirement: requirement.name)
def test_a_pinned_package_takes_all_of_them(requirement):
    if requirement.marker is not None and not requirement.marker.evaluate():
        pytest.skip(f"not for this Python: {requirement.marker}")
    needed = SpecifierSet(distribution(requirement.name).metadata["Requires-Python"] or "")
    assert [minor for minor in PROMISED if f"3.{minor}.1" not in needed] == []


def set_up(folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Runs a copy of tool/setup.sh in an empty folder."""
    (folder / "tool").mkdir(exist_ok=True)
    for name in ("tool/setup.sh", "requirements.txt", "pyproject.toml"):
        (folder / name).write_bytes((PROJECT / name).read_bytes())
    command = ["bash", str(folder / "tool" / "setup.sh")]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def interpreter(path: Path, version: str) -> Path:
    """Stands for a Python of a version; asked for anything else, it ends with code 9."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/usr/bin/env bash\ncase "$*" in *version_info*) echo {version} ;; *) exit 9 ;; esac\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("minor", range(9, 16))
def test_set_up_takes_these_and_refuses_others_in_one_line(tmp_path, minor):
    python = interpreter(tmp_path / "python", f"3.{minor}")
    done = set_up(tmp_path, PYTHON=str(python))
    if minor in PROMISED:
        assert done.returncode == 9, done.stderr
        assert done.stdout.startswith("setting up .venv")
    else:
        assert done.returncode == 2
        assert done.stderr.splitlines() == [
            f"tool/setup.sh: needs Python {RANGE}, {python} is 3.{minor}; set PYTHON=/path/to/python3.12, say"
        ]
    assert not (tmp_path / ".venv").exists()


def test_set_up_looks_for_one_that_fits(tmp_path):
    """Where python3 is too old, as on Ubuntu 22.04, another one on the path is taken."""
    interpreter(tmp_path / "bin" / "python3", "3.10")
    interpreter(tmp_path / "bin" / "python3.12", "3.12")
    done = set_up(tmp_path, PYTHON="", PATH=f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert done.returncode == 9, done.stderr


@pytest.mark.parametrize(
    ("present", "python", "told"),
    [
        ("3.10", "", f".venv holds Python 3.10, needed is {RANGE}; remove .venv first"),
        ("", "", f".venv holds Python that does not start, needed is {RANGE}; remove .venv first"),
        ("3.11", "none", ".venv holds Python 3.11 and PYTHON=none is another; remove .venv first"),
    ],
)
def test_set_up_does_not_mix_two(tmp_path, present, python, told):
    interpreter(tmp_path / ".venv" / "bin" / "python", present)
    done = set_up(tmp_path, PYTHON=python)
    assert (done.returncode, done.stderr) == (2, f"tool/setup.sh: {told}\n")
