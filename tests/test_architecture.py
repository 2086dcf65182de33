"""Imports point one way: cli -> report, scoring, weights -> runner, callbacks, models, data, recipe -> semseg_ref."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
UPPER = ("cli", "report", "scoring", "weights")


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
    layer = Path(module).parts[1]
    above = {"cli"} if layer in UPPER else set(UPPER)
    if layer != "cli":
        forbidden = tuple(f"catalyst_cityscapes.{name}" for name in above - {layer})
        assert not [name for name in imported(ROOT / module) if name.startswith(forbidden)]
