"""`lint` against another published recipe than the official one: what a replication changed, and what it did not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from catalyst_cityscapes.lab.lint.facts import Facts
from catalyst_cityscapes.lab.lint.finding import Diagnostic
from catalyst_cityscapes.lab.lint.reference import Reference, measure_reference, official, processes_of
from catalyst_cityscapes.lab.lint.report import lint
from catalyst_cityscapes.lab.lint.table import RULES
from catalyst_cityscapes.lab.measure.loss import measure_loss
from catalyst_cityscapes.lab.measure.network import NetworkFacts
from catalyst_cityscapes.lab.measure.optimisation import measure_optimisation
from catalyst_cityscapes.lab.measure.profile import measure_exposure
from catalyst_cityscapes.lab.measure.weights import measure_initial_weights
from catalyst_cityscapes.models.from_recipe import recipe_network
from catalyst_cityscapes.recipe.loading import CONFIGS, load_recipe
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.checkpoints.architecture import identify
from support.command_line import dl

SHORT = ("experiment.iterations=40",)
TOY = "mmseg/toy/pspnet_r18"
SIZE = (128, 256)
PUBLISHED = sorted(f"mmseg/{path.stem}" for path in (CONFIGS / "mmseg").glob("*.yml"))
FOUND = {
    "batch_2": {"batch-unlike-official", "rate-per-image", "small-batch-norm-group"},
    "crop_512": {"crop-unlike-published", "augmentation-unlike-published", "protocol-unlike-published",
                 "network-unlike-published"},
    "crop_512_slide": {"crop-unlike-published", "protocol-unlike-published"},
    "fixed_resize": {"augmentation-unlike-published", "crop-unlike-published"},
    "model_selection": {"selection-of-best"},
    "no_sync_bn": {"small-batch-norm-group"},
    "rate_by_batch": {"base-rate", "rate-per-image", "optimizer-unlike-published"},
    "replication": {"batch-unlike-official", "rate-per-image", "small-batch-norm-group", "crop-unlike-published",
                    "protocol-unlike-published", "network-unlike-published", "selection-of-best"},
    "schedule_0x": {"schedule-unlike-published"},
}  # fmt: skip
OF_OTHERS = {"schedule_0x_adamw", "segnext_head_256"}
"""Overlays for other networks than PSPNet."""


@pytest.fixture(scope="module")
def small() -> Recipe:
    """A published recipe in small: its length does not matter to what is compared."""
    return load_recipe([TOY], SHORT)


@pytest.fixture(scope="module")
def network(small) -> nn.Module:
    return recipe_network(small)


@pytest.fixture(scope="module")
def reference(small, network) -> Reference:
    exposure = measure_exposure(small, processes_of(small), 2975, SIZE)
    known = measure_optimisation(small, network, exposure.batches_per_epoch)
    return measure_reference(TOY, small, (small, known))


def facts_of(recipe: Recipe, reference: Reference, network: nn.Module) -> Facts:
    """What lint measures of a recipe for this network without looking at images."""
    processes = processes_of(recipe)
    exposure = measure_exposure(recipe, processes, 2975, SIZE)
    facts = Facts(recipe, processes, reference, exposure=exposure, loss=measure_loss(recipe), skipped=["no data"])
    facts.optimisation = measure_optimisation(recipe, network, exposure.batches_per_epoch)
    facts.network = NetworkFacts("PSPNet", False, identify({}), None, None, (), {(0.1, 1e-5): 1}, ())
    facts.callbacks = {"checkpoint": build(recipe.callbacks["checkpoint"], "callbacks.checkpoint")}
    return facts


def found(facts: Facts) -> set[str]:
    """Rules that say something of facts, but for the official recipe's own."""
    return {rule.id for rule in RULES.values() if not rule.official_only and list(rule.check(facts))}


def hits(rule: str, facts: Facts) -> list[Diagnostic]:
    return list(RULES[rule].check(facts))


# -- the replication -----------------------------------------------------------------------------------------------
def test_every_overlay_has_an_expectation():
    shipped = {path.stem for path in (CONFIGS / "swap" / "mmseg").glob("*.yml")}
    assert shipped == {*FOUND, *OF_OTHERS}


@pytest.mark.parametrize("name", sorted(FOUND))
def test_each_deviation_of_the_replication_is_found(name, reference, network):
    facts = facts_of(load_recipe([TOY, f"swap/mmseg/{name}"], SHORT), reference, network)
    assert FOUND[name] <= found(facts)


def test_the_published_recipe_itself_is_not_found(small, reference, network):
    left_out = {"no-data", "no-metric", "nothing-trains"}  # of data and callbacks, which these facts leave out
    assert found(facts_of(small, reference, network)) - left_out == set()


def test_evidence_names_the_published_recipe_and_its_numbers(reference, network):
    facts = facts_of(load_recipe([TOY, "swap/mmseg/replication"], SHORT), reference, network)
    (batch,), (rate,), (group,) = (
        hits(rule, facts) for rule in ("batch-unlike-official", "rate-per-image", "small-batch-norm-group")
    )
    assert batch.evidence == f"2 images a step over 1 processes, {TOY} 8"
    assert batch.fix == "sampling.batch_size: 8"
    assert rate.measured["factor"] == pytest.approx(4)
    assert f"4.00 times {TOY}'s rate an image (0.01 at 8)" in rate.evidence
    assert group.severity == "error"
    assert "from 2 images" in group.evidence
    (protocol,) = hits("protocol-unlike-published", facts)
    assert "protocol.name mmseg-whole for mmseg-slide" in protocol.evidence


def test_rates_in_proportion_to_the_batch_are_no_finding(reference, network):
    facts = facts_of(load_recipe([TOY, "swap/mmseg/batch_2", "swap/mmseg/rate_by_batch"], SHORT), reference, network)
    assert hits("rate-per-image", facts) == []
    assert [hit.severity for hit in hits("schedule-unlike-published", facts)] == []


def test_a_shorter_training_is_found_by_its_steps(reference, network):
    recipe = load_recipe([TOY], ["experiment.iterations=20"])
    facts = facts_of(recipe, reference, network)
    assert {"fewer-steps", "images-seen"} <= found(facts)
    assert "schedule-unlike-published" not in found(facts)


@pytest.mark.parametrize(("average", "count"), [("all", 0), ("valid", 1)])
def test_the_denominator_of_the_loss_is_found(average, count, small, reference):
    recipe = load_recipe([TOY], [*SHORT, f"criterion.average={average}"])
    facts = Facts(recipe, 4, reference, loss=measure_loss(recipe))
    told = hits("loss-denominator", facts)
    assert len(told) == count
    assert all("1 times that of a mean over the valid pixels" in hit.evidence for hit in told)
    assert reference.loss.scale == pytest.approx(2 / 3, abs=1e-6)


# -- groups of the optimiser ---------------------------------------------------------------------------------------
class Norms(nn.Module):
    """A norm that says so in its name, and one that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.last, self.head = nn.LayerNorm(2), nn.LayerNorm(2), nn.Linear(2, 2)


ADAMW = (
    "optimizer={_target_: torch.optim.AdamW, lr: 0.1, weight_decay: 0.01, groups: {_target_: "
    "catalyst_cityscapes.optim.groups_by_rule, merge: false, "
    "rules: {pos_block: {decay_mult: 0}, norm: {decay_mult: 0}}}}"
)


def test_rules_by_names_that_miss_are_found(reference):
    recipe = load_recipe([TOY], [*SHORT, ADAMW])
    facts = Facts(recipe, 4, reference, optimisation=measure_optimisation(recipe, Norms(), 10))
    assert facts.optimisation.decayed_norms == ("last.weight", "last.bias")
    assert [hit.evidence.split(" is ")[0] for hit in hits("rule-without-parameters", facts)] == ["'pos_block'"]
    assert [hit.severity for hit in hits("norms-decayed-in-part", facts)] == ["warning"]
    # The published rule misses them too, so that training as published is no deviation.
    facts.reference = replace(reference, decayed_norms=2)
    assert [hit.severity for hit in hits("norms-decayed-in-part", facts)] == ["note"]


def test_a_group_for_each_parameter_is_measured_as_one_of_each_kind(small):
    layers = nn.Sequential(*(nn.Linear(2, 2) for _ in range(40)))
    apart, together = (
        measure_optimisation(load_recipe([TOY], [*SHORT, ADAMW.replace("false", merge)]), layers, 10)
        for merge in ("false", "true")
    )
    assert len(apart.groups) == len(together.groups) == 1
    assert apart.groups[0].parameters == together.groups[0].parameters == 240
    assert np.array_equal(apart.lr("backbone"), together.lr("backbone"))


# -- other networks ------------------------------------------------------------------------------------------------
def test_a_head_that_draws_at_test_is_told(small, reference):
    facts = Facts(small, 4, reference)
    facts.network = NetworkFacts("N", False, identify({}), None, None, (), {}, (), random_at_test=True)
    assert [hit.severity for hit in hits("random-at-test", facts)] == ["note"]


@pytest.mark.parametrize(
    ("overlays", "setting", "rule"),
    [
        (["swap/mmseg/segnext_head_256"], "criterion.average=all", "network-unlike-published"),
        ([], "model.drop_path=0.2", "network-unlike-published"),
        ([], "optimizer.weight_decay=0.05", "optimizer-unlike-published"),
    ],
)
def test_settings_of_segnext_are_compared(overlays, setting, rule, reference):
    name = "mmseg/toy/segnext_t"
    published = replace(reference, name=name, recipe=load_recipe([name]))
    recipe = load_recipe([name, *overlays], [setting])
    assert [hit.severity for hit in hits(rule, Facts(recipe, 1, published))] == ["warning"]
    assert hits(rule, Facts(published.recipe, 1, published)) == []


@pytest.mark.parametrize(("left_out", "count"), [((), 0), (("layer3.1.conv2.weight", "layer4.0.bn1.weight"), 1)])
def test_weights_that_would_be_loaded_in_part_are_an_error(left_out, count, reference, network, tmp_path):
    """Where mmsegmentation warns and trains on with random weights in their place."""
    path, prefix = tmp_path / "r18.pth", "backbone."
    whole = {key.removeprefix(prefix): value for key, value in network.state_dict().items() if key.startswith(prefix)}
    torch.save({key: value for key, value in whole.items() if key not in left_out}, path)
    recipe = load_recipe([TOY], [f"model.pretrained={path}"])
    facts = Facts(recipe, 4, reference, weights=measure_initial_weights(recipe, network))
    told = hits("initial-weights-do-not-fit", facts)
    assert [hit.severity for hit in told] == ["error"] * count
    assert facts.weights.exists
    assert all("layer3.1.conv2.weight" in hit.evidence or "missing" in hit.evidence for hit in told)


def test_one_process_where_the_published_recipe_synchronises_nothing():
    recipe = load_recipe(["mmseg/segnext_b_512x1024"])
    assert recipe.callbacks["sync_bn"] is None
    assert processes_of(recipe, recipe) == 1
    assert processes_of(recipe, load_recipe([TOY])) == 8


# -- which reference -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_is_held_against_itself(name):
    assert f"\nexpected:\n  recipe: {name}\n" in (CONFIGS / f"{name}.yml").read_text()


def test_the_official_recipe_is_the_reference_of_all_others(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "catalyst_cityscapes.lab.lint.report.reference_recipe", lambda name: asked.append(name) or 1 / 0
    )
    for names, against in ((["toy/pspnet50"], None), ([TOY], None), ([TOY], "cityscapes/pspnet50.yml")):
        with pytest.raises(ZeroDivisionError):
            lint(load_recipe(names), against=against)
    assert asked == ["cityscapes/pspnet50", "mmseg/pspnet_r50_769", "cityscapes/pspnet50"]
    assert official().is_official


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["toy/pspnet50", "--against", "mmseg/pspnet_r50_796"], "--against: mmseg/pspnet_r50_796: no such config"),
        (["toy/pspnet50", "expected={recipe: nowhere}"], "expected.recipe: nowhere: no such config"),
        (
            ["toy/pspnet50", "expected={mIoU: 0.5}"],
            "mIoU goes with a tolerance and a source; missing: tolerance, source",
        ),
        (["toy/pspnet50", "expected={protocol: semseg-ss}"], "neither mIoU nor recipe; give one, or expected: null"),
    ],
)
def test_a_reference_that_is_none_is_one_line(words, message):
    result = dl("lint", *words)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes_have_no_error(name, workdir, one_thread):
    report = lint(load_recipe([name]), draws=4, use_data=False)
    assert {finding.rule for finding in report.findings if finding.severity == "error"} == set()
    told = {finding.rule for finding in report.findings if finding.severity == "warning"}
    assert told <= {"initial-weights-missing"}
