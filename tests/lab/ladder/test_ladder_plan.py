"""Ladders: files with components by hand, the arms that they need, and what is shared among them."""

import json
from pathlib import Path

import pytest
import yaml

from catalyst_cityscapes.lab.ladder.components import combinations, differences_of
from catalyst_cityscapes.lab.ladder.file import read_ladder
from catalyst_cityscapes.lab.ladder.ladder import DESIGNS, Roles, automatic_ladder, check_designs, ladder_arms
from catalyst_cityscapes.lab.ladder.normal_form import fingerprint, normal_form
from catalyst_cityscapes.lab.plan.arms import check_arms
from catalyst_cityscapes.recipe.loading import CONFIGS, load_recipe
from catalyst_cityscapes.recipe.nodes.targets import build
from semseg_ref.base.errors import InputError

SHIPPED = ("semseg-catalyst", "semseg-catalyst-camvid", "semseg-catalyst-toy")
REPLICATION = {
    "mmseg-replication": ("crop", "batch", "sync_bn", "model_selection"),
    "mmseg-replication-toy": ("crop", "batch"),
    "mmseg-replication-toy-segformer": ("crop", "batch"),
}
"""The ladders of the replication of mmsegmentation's recipes, and their components."""
COMPONENTS = (
    *("weight_decay", "head_lr", "schedule", "momentum", "batch", "drop_last", "replayed_draws", "base_resolution"),
    *("warp", "blur", "validation_metric", "model_selection"),
)


def written(folder: Path, **changes: object) -> str:
    """A ladder file with these keys; None drops one."""
    content = {
        "from": "toy/pspnet50",
        "components": {"head": "swap/head_lr", "last": "sampling.drop_last=false", "blur": "swap/augmentation_blur"},
    }
    content |= {key.rstrip("_"): value for key, value in changes.items()}
    path = folder / "ladder.yml"
    path.write_text(
        yaml.safe_dump({key: value for key, value in content.items() if value is not None}, sort_keys=False)
    )
    return str(path)


def test_every_shipped_ladder_is_listed() -> None:
    assert sorted(path.stem for path in (CONFIGS / "ladders").glob("*.yml")) == sorted([*SHIPPED, *REPLICATION])


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_ladder(name: str) -> None:
    ladder = read_ladder(f"ladders/{name}")
    assert ladder.names == COMPONENTS
    assert ladder.notes
    assert all(step.note for step in ladder.steps)
    arms, roles = ladder_arms(ladder)
    assert len(arms) == 2 + 11 + 11 + 8
    check_arms(arms)
    for arm in arms:
        build(arm.recipe.augmentation, "augmentation")
    shared = {rung.name: (rung.added, rung.removed, rung.path) for rung in roles.rungs}
    assert shared["weight_decay"][2] == "with-weight_decay"
    assert shared["validation_metric"] == ("from", "to", "without-model_selection")
    assert shared["blur"][2] == "without-model_selection"
    assert shared["model_selection"][2] == "to"


@pytest.mark.parametrize("name", REPLICATION)
def test_ladder_of_the_replication(name: str) -> None:
    ladder = read_ladder(f"ladders/{name}")
    assert ladder.names == REPLICATION[name]
    assert ladder.notes
    assert all(step.note for step in ladder.steps)
    arms, roles = ladder_arms(ladder)
    check_arms(arms)
    if len(ladder.names) == 2:
        assert [arm.name for arm in arms] == ["from", "to", "with-crop", "with-batch"]
        assert [rung.path for rung in roles.rungs] == ["with-crop", "to"]
    start = ladder.compose(())
    for component in ladder.names:
        found = differences_of(start, ladder.compose((component,)))
        assert [part.name for part in found.components] == [component]


@pytest.mark.parametrize("name", SHIPPED)
def test_each_component_of_a_shipped_ladder_changes_its_own_keys_only(name: str) -> None:
    # An overlay that writes a whole node also writes the base's values into it, which then must be the base's.
    own = {
        "weight_decay": {"weight_decay"},
        "head_lr": {"head_lr"},
        "schedule": {"schedule"},
        "momentum": {"momentum"},
        "batch": {"batch"},
        "drop_last": {"drop_last"},
        "replayed_draws": {"replayed_draws"},
        "base_resolution": {"augmentation.base_resolution"},
        "warp": {"augmentation.shift_scale_rotate"},
        "blur": {"augmentation.blur"},
        "validation_metric": set(),
        "model_selection": {"model_selection"},
    }
    ladder = read_ladder(f"ladders/{name}")
    start = ladder.compose(())
    for component in ladder.names:
        found = differences_of(start, ladder.compose((component,)))
        assert {part.name for part in found.components} == own[component]


def test_all_components_of_the_shipped_ladder_are_the_earlier_attempt() -> None:
    ladder = read_ladder("ladders/semseg-catalyst")
    attempt = load_recipe(["cityscapes/pspnet50", "swap/catalyst_2020"])
    assert normal_form(ladder.compose(ladder.names)) == normal_form(attempt)
    assert fingerprint(ladder.compose(())) == fingerprint(load_recipe(["cityscapes/pspnet50"]))


def test_order_of_the_warp_and_the_base_resolution() -> None:
    ladder = read_ladder("ladders/semseg-catalyst")
    tail = ["blur", "flip", "crop", "to_tensor", "normalize"]
    expected = {
        ("base_resolution",): ["base_resolution", "scale", "rotate", *tail],
        ("warp",): ["shift_scale_rotate", *tail],
        ("warp", "base_resolution"): ["shift_scale_rotate", "base_resolution", *tail],
    }
    for names, order in expected.items():
        assert ladder.compose(names).augmentation["order"] == order


def test_every_arm_is_a_combination_and_no_recipe_is_trained_twice(tmp_path: Path) -> None:
    ladder = read_ladder(written(tmp_path))
    arms, roles = ladder_arms(ladder)
    assert [arm.name for arm in arms][:2] == ["from", "to"]
    assert set(roles.arms()) == {arm.name for arm in arms}
    assert len({fingerprint(arm.recipe) for arm in arms}) == len(arms) == 2 + 3 + 3
    assert {fingerprint(ladder.compose(names)) for names in combinations(ladder.names)} == {
        fingerprint(arm.recipe) for arm in arms
    }
    assert [rung.path for rung in roles.rungs] == ["with-head", "without-blur", "to"]


def test_two_and_one_component(tmp_path: Path) -> None:
    arms, roles = ladder_arms(read_ladder(written(tmp_path, components={"head": "swap/head_lr", "b": "swap/batch"})))
    assert [arm.name for arm in arms] == ["from", "to", "with-head", "with-b"]
    assert [(rung.added, rung.removed, rung.path) for rung in roles.rungs] == [
        ("with-head", "with-b", "with-head"),
        ("with-b", "with-head", "to"),
    ]
    arms, roles = ladder_arms(read_ladder(written(tmp_path, components={"head": "swap/head_lr"})))
    assert [arm.name for arm in arms] == ["from", "to"]
    assert roles.rungs[0].added == roles.rungs[0].path == "to"
    assert roles.rungs[0].removed == "from"


@pytest.mark.parametrize("designs", [["added"], ["removed"], ["path"], ["path", "added"]])
def test_a_design_leaves_arms_out_and_keeps_their_names(tmp_path: Path, designs: list[str]) -> None:
    ladder = read_ladder(written(tmp_path))
    all_arms, all_roles = ladder_arms(ladder)
    arms, roles = ladder_arms(ladder, designs)
    assert {arm.name for arm in arms} < {arm.name for arm in all_arms}
    for rung, full in zip(roles.rungs, all_roles.rungs, strict=True):
        for design in DESIGNS:
            assert getattr(rung, design) == (getattr(full, design) if design in designs else None)


def test_roles_survive_the_plan(tmp_path: Path) -> None:
    _, roles = ladder_arms(read_ladder(written(tmp_path, notes="of what\nit is")), ["added"])
    assert Roles.from_json(json.loads(json.dumps(roles.to_json()))) == roles
    assert roles.notes == "of what it is"
    with pytest.raises(InputError, match="not the plan of a ladder"):
        Roles.from_json({})


def test_files_build_on_files(tmp_path: Path) -> None:
    written(tmp_path, seeds=4)
    path = tmp_path / "more.yml"
    path.write_text("base: ladder.yml\ncomponents: {blur: null, batch: swap/batch}\nset: experiment.epochs=3\n")
    ladder = read_ladder(str(path), ["experiment.epochs=5"])
    assert ladder.names == ("head", "last", "batch")
    assert ladder.seeds == 4
    assert ladder.compose(()).experiment.epochs == 5


def test_automatic_ladder() -> None:
    base, other = load_recipe(["toy/pspnet50"]), load_recipe(["toy/pspnet50", "swap/catalyst_2020"])
    arms, roles = ladder_arms(automatic_ladder(differences_of(base, other), ["toy/pspnet50"]))
    by_name = {arm.name: arm.recipe for arm in arms}
    assert fingerprint(by_name["from"]) == fingerprint(base)
    assert fingerprint(by_name["to"]) == fingerprint(other)
    assert len(roles.rungs) == 10
    assert all(len(name) <= 60 for name in by_name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"componentz": {}}, "componentz: no key of a ladder file; did you mean 'components'?"),
        ({"components": None}, "components: missing"),
        ({"components": {}}, "components: expected at least one"),
        ({"from_": None}, "from: missing"),
        ({"from_": "toy/pspnet5"}, "from: toy/pspnet5: no such config"),
        ({"components": {"a": "swap/hed_lr"}}, "components.a: swap/hed_lr: no such config"),
        ({"components": {"a": []}}, "components.a: changes nothing"),
        ({"components": {"a": {"aply": "swap/batch"}}}, "components.a.aply: Extra inputs are not permitted"),
        ({"components": {"a": 3}}, "components.a:"),
        ({"seeds": 0}, "seeds: Input should be greater than 0"),
        ({"to": "swap/batch"}, "all components together are not `to`: augmentation.steps.blur._target_"),
        ({"set": "optimizer.lrr=1"}, "set: optimizer.lrr: unknown argument"),
        ({"base": "none.yml"}, "base: no such file"),
    ],
)
def test_bad_ladder_files(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        ladder_arms(read_ladder(written(tmp_path, **changes)))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("components", "message"),
    [
        ({"a b": "swap/batch"}, "components.a b: expected a letter or digit"),
        ({"x" * 53: "swap/batch"}, "52 at most"),
        ({"A": "swap/batch", "a": "swap/head_lr"}, "components.a: there is a component of that name"),
        ({"a": "optimizer.lrr=1"}, "FROM with a: "),
        ({"a": "swap/validation_metric"}, "all components together change no number"),
    ],
)
def test_bad_components(tmp_path: Path, components: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        ladder_arms(read_ladder(written(tmp_path, components=components)))
    assert message in str(caught.value)


def test_bad_designs() -> None:
    assert check_designs(["path", "added"]) == ("added", "path")
    with pytest.raises(InputError, match=r"--design aded: expected some of .*did you mean 'added'"):
        check_designs(["aded"])
    with pytest.raises(InputError, match="--design: expected"):
        check_designs([])


def test_recipes_of_the_same_numbers_make_no_ladder() -> None:
    base = load_recipe(["toy/pspnet50"])
    other = load_recipe(["toy/pspnet50", "swap/validation_metric"], ["experiment.name=other"])
    with pytest.raises(InputError, match="no component differs"):
        automatic_ladder(differences_of(base, other), ["toy/pspnet50"])


def test_another_test_is_refused() -> None:
    base, other = load_recipe(["toy/pspnet50"]), load_recipe(["toy/pspnet50"], ["protocol.name=semseg-ms"])
    arms, _ = ladder_arms(automatic_ladder(differences_of(base, other), ["toy/pspnet50"]))
    with pytest.raises(InputError, match=r"protocol\.scales: .*all arms are tested alike"):
        check_arms(arms)
