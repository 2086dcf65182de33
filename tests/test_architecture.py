"""Imports point one way: cli -> lab, bench -> report, scoring, weights -> runner, callbacks, ... -> semseg_ref."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = (("cli",), ("lab", "bench"), ("report", "scoring", "weights"))
"""Upper floors of `catalyst_cityscapes`, highest first; everything else lies below them."""


def imported(path: Path) -> set[str]:
    """Dotted names that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def modules(folder: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("module", modules("semseg_ref"))
def test_the_control_arm_knows_nothing_of_catalyst_and_the_floor_above(module):
    roots = {name.split(".")[0] for name in imported(ROOT / module)}
    assert not roots & {"catalyst", "catalyst_cityscapes", "accelerate", "hydra_slayer", "omegaconf", "pydantic"}


@pytest.mark.parametrize("module", modules("catalyst_cityscapes"))
def test_imports_point_down(module):
    layer = Path(module).parts[1].removesuffix(".py")
    floor = next((index for index, floor in enumerate(FLOORS) if layer in floor), len(FLOORS))
    forbidden = tuple(f"catalyst_cityscapes.{name}" for above in FLOORS[:floor] for name in above)
    assert not [name for name in imported(ROOT / module) if name.startswith(forbidden)]
