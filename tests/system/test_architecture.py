"""The whole order of layers: each imports only what stands below it. No circles, no crowded folders, nothing loose."""

import ast
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from support.places import PROJECT

LAYERS = (
    ("cli",),
    ("api",),
    ("lab", "bench"),
    ("launch", "report", "compat"),
    ("callbacks",),
    ("train",),
    ("evaluation", "export"),
    ("inference",),
    ("runs",),
    ("data", "losses", "optim", "schedules"),
    ("models",),
    ("recipe",),
    ("prepare", "toy_city"),
    ("semseg_ref",),
    ("semseg_ref.base",),
)
"""Packages, highest first; those in one row do not know each other. Without a dot they lie in `catalyst_cityscapes`."""

PLACES = {
    name if name.startswith("semseg_ref") else f"catalyst_cityscapes.{name}": height
    for height, row in enumerate(LAYERS)
    for name in row
}
MAX_FILES = 15
FRAMEWORKS = {"catalyst", "accelerate", "hydra_slayer", "omegaconf", "pydantic"}


def modules(folder: str) -> list[str]:
    return sorted(str(path.relative_to(PROJECT)) for path in (PROJECT / folder).rglob("*.py"))


OWN = {
    module.removesuffix(".py").removesuffix("/__init__").replace("/", "."): module
    for package in ("semseg_ref", "catalyst_cityscapes")
    for module in modules(package)
}


def imported(path: Path) -> set[str]:
    """Dotted names that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def own_imports(name: str) -> set[str]:
    """This project's modules that one of them imports."""
    return {other for other in imported(PROJECT / OWN[name]) if other in OWN}


def package_of(name: str) -> str:
    """The package in `LAYERS` that a module lies in; the longest, since `semseg_ref.base` lies in `semseg_ref`."""
    found = [package for package in PLACES if name == package or name.startswith(f"{package}.")]
    return max(found, key=len)


def is_below(lower: str, upper: str) -> bool:
    """Whether one module may be imported by the other: of the same package, or of a lower row."""
    mine, other = package_of(upper), package_of(lower)
    return mine == other or PLACES[other] > PLACES[mine]


@pytest.mark.parametrize("name", [name for name in OWN if name != "catalyst_cityscapes"])
def test_imports_point_down(name):
    assert [other for other in own_imports(name) if other != "catalyst_cityscapes" and not is_below(other, name)] == []


def test_an_import_that_points_up_is_seen():
    assert not is_below("catalyst_cityscapes.callbacks.poly_lr", "catalyst_cityscapes.train.runner")
    assert not is_below("semseg_ref.dataset", "semseg_ref.base.errors")
    assert not is_below("catalyst_cityscapes.optim", "catalyst_cityscapes.data.image_set")
    assert is_below("semseg_ref.base.errors", "semseg_ref.dataset")


@pytest.mark.parametrize("module", modules("semseg_ref"))
def test_the_control_arm_knows_nothing_of_catalyst_and_the_layers_above(module):
    roots = {name.split(".")[0] for name in imported(PROJECT / module)}
    assert not roots & {"catalyst_cityscapes", *FRAMEWORKS}


def test_no_module_imports_itself_through_others():
    # A package's own `__init__` is left out: it gathers what its modules define, and they may name the package.
    graph = {name: own_imports(name) - {name.rpartition(".")[0]} for name in OWN}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_nothing_lies_loose_at_the_top():
    assert [path.name for path in (PROJECT / "catalyst_cityscapes").glob("*.py")] == ["__init__.py"]


def test_every_package_has_its_place():
    folders = {path.parent.name for path in (PROJECT / "catalyst_cityscapes").glob("*/__init__.py")}
    assert folders == {name for row in LAYERS for name in row if not name.startswith("semseg_ref")}


def test_no_folder_is_crowded():
    roots = ("semseg_ref", "catalyst_cityscapes", "benchmarks", "tests", "tool")
    counts = Counter(str(Path(module).parent) for root in roots for module in modules(root))
    assert {folder: count for folder, count in counts.items() if count > MAX_FILES} == {}
