"""The digest of the code in checkpoints changes with any of this project's files."""

import shutil
from pathlib import Path

import pytest

from catalyst_cityscapes.runs.environment import OWN_PACKAGES, code_digest, versions

FOLDERS = sorted({path.parent for package in OWN_PACKAGES for path in package.rglob("*.py")})


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> list[Path]:
    root = tmp_path_factory.mktemp("code")
    ignored = shutil.ignore_patterns("__pycache__", "*.yml", "*.txt", "*.html")
    return [Path(shutil.copytree(package, root / package.name, ignore=ignored)) for package in OWN_PACKAGES]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(OWN_PACKAGES[0].parent)))
def test_it_changes_with_a_file_in_each_folder(folder, copies):
    assert code_digest(copies) == code_digest()
    copied = copies[0].parent / folder.relative_to(OWN_PACKAGES[0].parent)
    file = sorted(copied.glob("*.py"))[-1]
    before = file.read_bytes()
    file.write_bytes(before + b"\n")
    try:
        assert code_digest(copies) != code_digest()
    finally:
        file.write_bytes(before)


def test_it_changes_with_a_name(copies):
    file = copies[1] / "schedule.py"
    file.rename(copies[1] / "other.py")
    try:
        assert code_digest(copies) != code_digest()
    finally:
        (copies[1] / "other.py").rename(file)


def test_a_package_without_files_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no Python file"):
        code_digest([tmp_path])


def test_it_is_the_one_in_checkpoints():
    assert versions()["code"] == code_digest()
