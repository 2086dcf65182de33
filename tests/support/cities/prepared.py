"""A small city without its train ids, for the tests of the preparation."""

import hashlib
import shutil
import zipfile
from pathlib import Path

from catalyst_cityscapes.toy_city import build_toy_city

COUNTS = {"fine_train": 5, "fine_val": 2, "fine_test": 1}


def build_unprepared(root: Path) -> Path:
    """What the two official zip files unpack to: no labelTrainIds, no lists."""
    build_toy_city(root, train=5, val=2, test=1, height=64, width=96)
    for path in root.rglob("*_labelTrainIds.png"):
        path.unlink()
    shutil.rmtree(root / "list")
    (root / "toy_city.json").unlink()
    return root


def write_zips(city: Path, folder: Path) -> list[Path]:
    """The city as the two official zip files."""
    paths = []
    for name in ("gtFine", "leftImg8bit"):
        path = folder / f"{name}_trainvaltest.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("README", "terms")
            archive.writestr("license.txt", "terms")
            for file in sorted((city / name).rglob("*")):
                archive.write(file, file.relative_to(city))
        paths.append(path)
    return paths


def snapshot(root: Path) -> dict[str, tuple[str, int]]:
    """Checksum and time of each file below a folder."""
    return {
        str(path.relative_to(root)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def contents(root: Path) -> dict[str, str]:
    """Checksum of each file below a folder."""
    return {name: checksum for name, (checksum, _) in snapshot(root).items()}
