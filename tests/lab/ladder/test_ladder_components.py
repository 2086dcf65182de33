"""Components between two recipes: complete, disjoint, and each swappable alone."""

import random
from typing import Any

import pytest

from catalyst_cityscapes.lab.ladder.components import Differences, combinations, differences_of
from catalyst_cityscapes.lab.ladder.normal_form import canonical, flatten, unflatten
from catalyst_cityscapes.recipe.loading import CONFIGS, load_recipe
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import InputError

BASE = "cityscapes/pspnet50"
SWAPS = {
    "augmentation_albumentations": {"augmentation"},
    "augmentation_base_resolution": {"augmentation.base_resolution"},
    "augmentation_blur": {"augmentation.blur"},
    "augmentation_crop_first": {"augmentation"},
    "augmentation_catalyst_2020": {"augmentation.shift_scale_rotate.base_resolution", "augmentation.blur"},
    "augmentation_order": {"augmentation_order"},
    "augmentation_rotate": {"augmentation.rotate"},
    "augmentation_scale": {"augmentation.scale"},
    "augmentation_shift": {"augmentation.shift"},
    "batch": {"batch"},
    "drop_last": {"drop_last"},
    "catalyst_2020": {
        "augmentation.shift_scale_rotate.base_resolution",
        "augmentation.blur",
        "batch",
        "drop_last",
        "replayed_draws",
        "weight_decay",
        "head_lr",
        "schedule",
        "momentum",
        "model_selection",
    },
    "fast_step": {
        "precision",
        "memory_format",
        "compile",
        "cudnn_benchmark",
        "resize",
        "fused",
    },
    "head_lr": {"head_lr"},
    "model_selection": {"model_selection"},
    "model_smp": {"model"},
    "momentum": {"momentum"},
    "precision": {"precision"},
    "replayed_draws": {"replayed_draws"},
    "schedule": {"schedule"},
    "stem_torchvision": {"model"},
    "sync_bn": {"sync_bn"},
    "validation_metric": set(),
    "weight_decay": {"weight_decay"},
}
"""Components of each shipped overlay."""


def groups_of_no_multiplier(model: Any, lr: float) -> list:
    """An optimizer.groups node without an argument for the heads."""
    return [{"params": list(model.parameters()), "lr": lr}]


def recipe(*files: str, settings: tuple[str, ...] = ()) -> Recipe:
    return load_recipe([BASE, *files], settings, ("test_ladder_components",))


def names(found: Differences) -> list[str]:
    return [component.name for component in found.components]


def assert_swappable(found: Differences) -> None:
    """Fails unless the components hold every differing key once, end where they should, and are valid alone."""
    keys = [key for component in found.components for key in component.changes]
    assert len(keys) == len(set(keys))
    differing = {p for p in {**found.start, **found.goal} if found.start.get(p, ...) != found.goal.get(p, ...)}
    implied = set() if found.step_order is None else {("augmentation", "order")}
    assert set(keys) == differing - implied
    assert found.composed(names(found)) == found.goal
    assert found.composed(()) == found.start
    for chosen in combinations(names(found)):
        assert canonical(found.recipe(chosen), found.trusted) == found.composed(chosen)


def test_every_swap_has_its_row() -> None:
    assert SWAPS.keys() == {path.stem for path in (CONFIGS / "swap").glob("*.yml")}


@pytest.mark.parametrize("swap", SWAPS)
def test_components_of_a_swap(swap: str) -> None:
    base, other = recipe(), recipe(f"swap/{swap}")
    there, back = differences_of(base, other), differences_of(other, base)
    assert set(names(there)) == SWAPS[swap]
    assert len(names(back)) == len(names(there))
    assert_swappable(there)
    assert_swappable(back)


def test_all_components_at_once() -> None:
    other = recipe(
        "swap/catalyst_2020",
        "swap/model_smp",
        "swap/precision",
        "swap/sync_bn",
        settings=(
            "experiment.epochs=10",
            "callbacks.aux_loss.weight=0",
            "callbacks.gradient_step.clip_norm=1.0",
            "criterion.label_smoothing=0.1",
            "data.train_list=other.txt",
            "sampling.shuffle=false",
            "protocol.scales=[0.5,1.0]",
        ),
    )
    found = differences_of(recipe(), other)
    more = {"model", "precision", "sync_bn", "epochs", "aux_loss", "gradient_step", "criterion", "data", "shuffle"}
    assert set(names(found)) == SWAPS["catalyst_2020"] | more | {"protocol"}
    assert_swappable(found)


def test_what_changes_no_number_is_no_component() -> None:
    settings = (
        "experiment.name=other",
        "experiment.seed=5",
        "sampling.workers=2",
        "callbacks.progress=null",
        "callbacks.iteration_log=null",
        "callbacks.checkpoint.save_every=7",
        "callbacks.checkpoint.metric=mIoU",
        "callbacks.checkpoint.minimize=false",
        "callbacks.gradient_step.clip_norm=null",
        "optimizer.nesterov=false",
        "validation.every=3",
        "engine.device=cpu",
        "expected=null",
    )
    assert names(differences_of(recipe(), recipe(settings=settings))) == []


def test_the_first_recipes_logs_and_names_stay() -> None:
    first = recipe(settings=("experiment.name=mine", "callbacks.progress=null", "callbacks.checkpoint.keep=7"))
    made = differences_of(first, recipe("swap/catalyst_2020")).recipe(["head_lr", "model_selection"])
    assert made.experiment.name == "mine"
    assert made.callbacks.get("progress") is None
    assert made.callbacks["checkpoint"]["keep"] == 7
    assert made.callbacks["checkpoint"]["select"] == "best"
    assert "iteration_log" in made.callbacks
    assert made.expected is None


def test_a_watched_metric_comes_with_the_selection() -> None:
    other = recipe(
        settings=("callbacks.checkpoint.select=best", "callbacks.checkpoint.metric=mIoU", "validation.every=1")
    )
    found = differences_of(recipe(settings=("callbacks.mean_iou=null",)), other)
    assert names(found) == ["model_selection"]
    assert found.recipe(["model_selection"]).callbacks["mean_iou"] is not None
    assert_swappable(found)


def test_crop_moves_with_the_step_that_crops() -> None:
    found = differences_of(recipe(), recipe(settings=("data.crop=[473,473]",)))
    assert names(found) == ["crop", "protocol"]
    assert found.components[0].keys == ("data.crop", "augmentation.steps.crop.size")
    assert_swappable(found)


def test_another_optimiser_is_one_component_with_its_rates() -> None:
    adam = ("optimizer._target_=torch.optim.AdamW", "optimizer.lr=0.0001", "callbacks.poly_lr.power=1.0")
    found = differences_of(recipe(), recipe(settings=adam))
    assert set(names(found)) == {"optimizer", "head_lr"}
    assert found.recipe(["optimizer"]).optimizer["groups"]["head_multiplier"] == 10
    assert found.recipe(["head_lr"]).optimizer["groups"]["head_multiplier"] == 1
    assert_swappable(found)


def test_groups_without_a_multiplier_are_one_component() -> None:
    plain = "optimizer.groups._target_=test_ladder_components.groups_of_no_multiplier"
    other = recipe(settings=(plain, "optimizer.weight_decay=0.001", "sampling.drop_last=false"))
    found = differences_of(recipe(), other, ("test_ladder_components",))
    assert set(names(found)) == {"weight_decay", "drop_last"}
    assert_swappable(found)


def test_initial_weights_are_a_component_where_the_network_is_the_same() -> None:
    weights = recipe(settings=("model.pretrained=other.pth",))
    assert names(differences_of(recipe(), weights)) == ["initial_weights"]
    both = recipe("swap/stem_torchvision", settings=("model.pretrained=other.pth",))
    assert names(differences_of(recipe(), both)) == ["model"]


def test_orders_that_contradict_make_one_augmentation() -> None:
    settings = ("augmentation.order=[rotate,scale,blur,flip,crop,to_tensor,normalize]",)
    found = differences_of(recipe(), recipe("swap/augmentation_blur", settings=settings))
    assert set(names(found)) == {"augmentation_order", "augmentation.blur"}
    assert_swappable(found)
    shifted = ("augmentation.order=[rotate,scale,shift,blur,flip,crop,to_tensor,normalize]",)
    found = differences_of(recipe(), recipe("swap/augmentation_shift", settings=shifted))
    assert names(found) == ["augmentation"]
    assert_swappable(found)


@pytest.mark.parametrize("seed", range(8))
def test_any_two_pipelines_can_be_taken_apart(seed: int) -> None:
    draw = random.Random(seed)
    steps = recipe().augmentation["steps"]

    def drawn() -> Recipe:
        content = recipe().model_dump(mode="json", by_alias=True)
        chosen = [name for name in (*steps, "extra", "more") if draw.random() < 0.6] or ["flip"]
        pool = {**steps, "extra": steps["flip"], "more": steps["flip"]}
        if draw.random() < 0.5:
            draw.shuffle(chosen)
        content["augmentation"]["steps"] = {name: pool[name] for name in chosen}
        content["augmentation"]["order"] = chosen
        return Recipe.model_validate(content)

    for _ in range(5):
        assert_swappable(differences_of(drawn(), drawn()))


def test_flatten_and_back() -> None:
    content = recipe("swap/catalyst_2020").model_dump(mode="json", by_alias=True)
    assert unflatten(flatten(content)) == content


def test_combinations_are_those_of_a_ladder() -> None:
    assert combinations(["a", "b"]) == [(), ("a", "b"), ("a",), ("b",)]
    assert len(combinations(list("abcd"))) == 2 + 4 + 4 + 1
    assert combinations([]) == [()]


def test_a_combination_that_is_no_recipe_is_named() -> None:
    found = differences_of(recipe(), recipe("swap/head_lr"))
    broken = Differences(
        {**found.start, ("optimizer", "lrr"): 1}, found.goal, found.components, found.step_order, found.neutral
    )
    with pytest.raises(InputError, match=r"with head_lr: optimizer\.lrr: unknown argument"):
        broken.recipe(["head_lr"])
