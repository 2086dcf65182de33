"""What callbacks use of a run is declared, whoever runs them provides it, and the loop's page shows their order."""

import ast
import re
from pathlib import Path

import pytest
from catalyst.core.callback import ICriterionCallback

import catalyst_cityscapes
from catalyst_cityscapes.lab.measure.one_batch import OneBatch
from catalyst_cityscapes.lab.measure.optimisation import StepsAlone
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.train import context
from catalyst_cityscapes.train.context import LossRun, MetricRun, Place, ScheduleRun, TrainingRun
from semseg_ref.base.iteration_log import read_iteration_log
from support.runs.toy import SMALL, toy_recipe, train_catalyst

PACKAGE = Path(catalyst_cityscapes.__file__).parent
CONTRACTS = {contract.__name__: contract for contract in (ScheduleRun, LossRun, MetricRun, TrainingRun)}
MODULES = sorted(path for folder in ("callbacks", "train") for path in (PACKAGE / folder).glob("*.py"))
WRITTEN = {"losses", "need_early_stop", "optimizer_stepped", "optimizer_steps", "skip_batch"}


def declared(contract: type) -> set[str]:
    """Attributes and methods that a contract names, with those of the contracts that it is made of."""
    names = set()
    for part in contract.__mro__:
        if part.__module__ == context.__name__:
            names |= {*part.__annotations__, *(name for name in vars(part) if not name.startswith("_"))}
    return names


def uses(path: Path) -> list[tuple[str, str, bool]]:
    """(contract, attribute, whether it is written) of each use of an argument that a contract annotates."""
    found = []
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef):
            continue
        contracts = {a.arg: a.annotation.id for a in function.args.args if isinstance(a.annotation, ast.Name)}
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                contract = contracts.get(node.value.id)
                if contract in CONTRACTS:
                    found.append((contract, node.attr, isinstance(node.ctx, ast.Store)))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_callbacks_use_what_is_declared(path):
    for contract, name, is_written in uses(path):
        assert name in declared(CONTRACTS[contract]), (contract, name)
        assert not is_written or name in WRITTEN, name


def test_every_event_of_a_callback_has_a_contract():
    for path in (PACKAGE / "callbacks").glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and function.name.startswith(("on_", "prepare_", "check_before")):
                assert function.args.args[-1].annotation.id in CONTRACTS, (path.name, function.name)


@pytest.mark.parametrize(("kind", "contracts"), [(StepsAlone, (ScheduleRun,)), (OneBatch, (LossRun, MetricRun))])
def test_measured_callbacks_get_their_part_and_no_more(kind, contracts):
    provided = {name for name in (*kind.__dataclass_fields__, *vars(kind)) if not name.startswith("_")}
    assert provided == set().union(*map(declared, contracts))


def test_the_runner_provides_all_of_it(toy_city, workdir):
    runner = train_catalyst(toy_recipe(toy_city, *SMALL, "experiment.epochs=1"))
    assert [name for name in sorted(declared(TrainingRun)) if not hasattr(runner, name)] == []
    assert set(runner.losses) == {"main_loss", "aux_loss", "loss"}
    assert all(loss.ndim == 0 and not loss.requires_grad for loss in runner.losses.values())


def test_the_page_names_all_places_in_their_order():
    named = re.findall(r"^ {20}([A-Z_]+) ", context.__doc__, flags=re.MULTILINE)
    assert named == [place.name for place in sorted(Place) if place is not Place.NETWORK]
    assert len(set(map(int, Place))) == len(Place)


def test_the_official_recipe_runs_in_the_order_of_the_page():
    nodes = load_recipe(["cityscapes/pspnet50"]).callbacks
    built = [build(node, f"callbacks.{name}") for name, node in nodes.items() if node is not None]
    placed = [(callback.order, type(callback).place) for callback in built]
    assert all(order == place for order, place in placed)
    order = [type(callback).__name__ for callback in sorted(built, key=lambda callback: callback.order)]
    assert order.index("AuxLossWeighting") < order.index("TrainingMonitor") < order.index("GradientStep")
    assert order.index("GradientStep") < order.index("PolyLR") < order.index("IterationLogging")
    assert order.index("EpochLogging") < order.index("Checkpoint") < order.index("Progress")


class MainLossOnly(ICriterionCallback):
    """A loss of somebody's own: Catalyst's interface, and nothing of this project's."""

    def on_batch_end(self, runner) -> None:
        """Puts the main head's loss into the batch's metrics."""
        runner.batch_metrics["loss"] = runner.criterion(runner.batch["logits"], runner.batch["targets"])


def test_a_loss_of_somebodys_own_is_logged_and_watched(toy_city, workdir):
    own = f"callbacks.aux_loss={{_target_: {MainLossOnly.__module__}.MainLossOnly}}"
    recipe = toy_recipe(toy_city, *SMALL, own, "experiment.epochs=1", trusted=(MainLossOnly.__module__,))
    train_catalyst(recipe)
    rows = read_iteration_log(workdir / "run" / "iterations.csv")
    assert all(row.loss == row.main_loss and row.aux_loss == 0 for row in rows)
    assert len(rows) == 2
