"""The plan of a lab: its arms, and what may be compared."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from catalyst_cityscapes.lab.plan import plan as plan_module
from catalyst_cityscapes.lab.plan.arms import build_arms, check_arms, identical_arms, parse_arm, split_layers
from catalyst_cityscapes.lab.plan.plan import (
    Plan,
    check_same_plan,
    differences,
    read_plan,
    recipe_of,
    run_folder,
    shown,
    write_plan,
)
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.runs.folder import to_yaml
from semseg_ref.base.errors import InputError
from support.places import PROJECT
from support.runs.labs import BASE, TRUSTED, lab_plan

OFFICIAL = PROJECT / "tool" / "official" / "cityscapes" / "cityscapes_pspnet50.yaml"


@pytest.fixture
def plan(toy_city, workdir):
    """A lab of three arms and two seeds in the working directory."""
    return lab_plan(Path("lab"), toy_city)


# -- arms -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a.yml,b.yml", ["a.yml", "b.yml"]),
        ("a.yml, data.crop=[65, 97],b.yml", ["a.yml", "data.crop=[65, 97]", "b.yml"]),
        ("model={a: [1,2], b: 3},x=1", ["model={a: [1,2], b: 3}", "x=1"]),
        ("experiment.name='a,b',x=\"[\",y=1", ["experiment.name='a,b'", 'x="["', "y=1"]),
        ("", []),
        (",,a.yml,", ["a.yml"]),
    ],
)
def test_layers_are_split_at_outer_commas(text, parts):
    assert split_layers(text) == parts


def test_arm_is_a_name_and_its_layers():
    assert parse_arm("slow=swap/schedule,optimizer.lr=0.005") == ("slow", ["swap/schedule", "optimizer.lr=0.005"])
    assert parse_arm("control=") == ("control", [])


def test_layers_of_an_arm_count_in_their_order(workdir):
    Path("fast.yml").write_text("optimizer: {lr: 0.5}\n")
    Path("odd=name.yml").write_text("optimizer: {lr: 0.25}\n")
    arms = build_arms(
        BASE,
        ["a=fast.yml,optimizer.lr=0.1", "b=optimizer.lr=0.1,fast.yml", "c=odd=name.yml", "d="],
        overlays=["swap/head_lr"],
        settings=["optimizer.lr=0.2"],
    )
    assert [arm.recipe.optimizer["lr"] for arm in arms] == [0.2, 0.1, 0.5, 0.25, 0.2]
    assert all(arm.recipe.optimizer["groups"]["head_multiplier"] == 1 for arm in arms)
    assert [arm.name for arm in arms] == ["base", "a", "b", "c", "d"]
    assert arms[1].source == (BASE, "swap/head_lr", "optimizer.lr=0.2", "fast.yml", "optimizer.lr=0.1")


@pytest.mark.parametrize(
    ("arms", "parts"),
    [
        (["head=swap/head_l"], ("--arm head: swap/head_l: no such config", "did you mean 'swap/head_lr.yml'?")),
        (["swap/head_lr"], ("--arm swap/head_lr: expected NAME=OVERLAY", "e.g. head_lr=swap/head_lr")),
        (["a=swap/head_lr", "a=swap/batch"], ("--arm a=swap/batch: there is an arm 'a' already",)),
        (["a=", "A="], ("there is an arm 'a' already",)),
        (["base=swap/head_lr"], ("there is an arm 'base' already",)),
        (["../a="], ("--arm ../a=: '../a' cannot name a folder",)),
        (["=swap/head_lr"], ("'' cannot name a folder",)),
        ([".a="], ("'.a' cannot name a folder",)),
        (["a b="], ("'a b' cannot name a folder",)),
        ([f"{'a' * 61}="], ("cannot name a folder", "60 at most")),
        (["a=optimizer.moment=0"], ("--arm a: optimizer.moment: unknown argument; did you mean 'momentum'?",)),
        (["a=optimizer.lr.=0.1"], ("--arm a: --set optimizer.lr.=0.1: expected key.path=value",)),
        ([], ("no arm: give --arm NAME=OVERLAY",)),
    ],
)
def test_bad_arms_are_told(arms, parts, workdir):
    with pytest.raises(InputError) as caught:
        build_arms(BASE, arms)
    for part in parts:
        assert part in str(caught.value)


def test_only_recipes_can_be_a_base(workdir):
    with pytest.raises(InputError, match=r"no recipe; catalyst-dl run --config .* --show prints"):
        build_arms(str(OFFICIAL), ["a="])
    Path("stock.yml").write_text("runner: {_target_: catalyst.dl.SupervisedRunner}\nrun: [{_call_: train}]\n")
    with pytest.raises(InputError, match=r"stock.yml: no recipe"):
        build_arms("stock.yml", ["a="])
    with pytest.raises(InputError, match=r"did you mean 'toy/pspnet50.yml'"):
        build_arms("toy/pspnet5", ["a="])


@pytest.mark.parametrize(
    ("arm", "parts"),
    [
        ("experiment.seed=null", ("arm x: experiment.seed: null", "--set experiment.seed=0")),
        ("experiment.seed=4", ("arm x: experiment.seed: 4; every arm runs with the same seeds, --first-seed",)),
        ("sampling.seed_stream=reference", ("arm x: sampling.seed_stream: reference", "seed_stream=named")),
        (
            "data.crop=[41,41]",
            ("arm x: protocol.crop: [41, 41], but [97, 97] in the base", "add protocol.crop=[97, 97] to the arm"),
        ),
        ("protocol.name=semseg-ms", ("arm x: protocol.scales: ",)),
        ("protocol.scorer=cityscapesscripts", ("arm x: protocol.scorer: cityscapesscripts, but semseg in the base",)),
        ("data.val_list=other.txt", ("arm x: data.val_list: other.txt, but dataset/toy_city/list/fine_val.txt",)),
        ("data.root=elsewhere", ("arm x: data.val_list: elsewhere/list/fine_val.txt",)),
        ("data.ignore_index=254", ("arm x: data.ignore_index: 254, but 255",)),
    ],
)
def test_arms_that_cannot_be_compared_are_told(arm, parts):
    with pytest.raises(InputError) as caught:
        check_arms(build_arms(BASE, [f"x={arm}"]))
    for part in parts:
        assert part in str(caught.value)


def test_another_training_crop_with_the_same_test_is_allowed():
    check_arms(build_arms(BASE, ["x=data.crop=[41,41],protocol.crop=[97,97]"]))


def test_a_base_without_seeds_is_told():
    with pytest.raises(InputError, match=r"arm base: sampling.seed_stream: reference"):
        check_arms(build_arms(BASE, ["x="], settings=["sampling.seed_stream=reference"]))


# -- the plan -------------------------------------------------------------------------------------------------------
def test_recipe_of_a_run_differs_only_in_seed_name_and_folder(plan):
    recipe, own = recipe_of(plan, "head", 1), plan.arm("head").recipe
    assert differences(recipe, own) == []
    assert recipe.experiment.seed == 1
    assert recipe.experiment.name == "head-seed_1"
    assert recipe.experiment.logdir == str(run_folder(plan, "head", 1)) == "lab/runs/head/seed_1"
    Path("planned.yml").write_text(to_yaml(recipe))
    assert load_recipe(["planned.yml"], trusted=TRUSTED) == recipe


def test_differences_are_the_keys_that_were_changed(toy_city):
    base = load_recipe([BASE])
    other = load_recipe([BASE, "swap/schedule"], ["experiment.seed=5", "experiment.name=x"])
    found = {key: (left, right) for key, left, right in differences(base, other)}
    assert set(found) == {"callbacks.poly_lr", "callbacks.one_cycle"}
    assert found["callbacks.poly_lr"][1] is None
    assert found["callbacks.one_cycle"][0] is ...
    assert shown(found["callbacks.poly_lr"][0]) == "PolyLR(base_lr=0.01, power=0.9)"
    assert shown(...) == "absent"
    assert shown(None) == "null"
    assert len(shown(list(range(100)), width=20)) == 20


def test_runs_of_one_seed_come_before_the_next(plan):
    assert plan.runs() == [(arm, seed) for seed in (0, 1) for arm in ("base", "control", "head")]


def test_identical_arms_are_found(toy_city):
    plan = lab_plan(Path("lab"), toy_city, ("a=", "b=swap/head_lr", "c=optimizer.groups.head_multiplier=1", "d="))
    assert identical_arms(plan) == {"a": "base", "c": "b", "d": "base"}


def test_a_plan_is_read_back(plan):
    assert check_same_plan(plan) is None
    assert not plan.folder.exists()
    assert write_plan(plan) == plan
    assert read_plan("lab") == plan
    assert check_same_plan(plan) == plan


def test_arms_and_seeds_may_be_added(plan, toy_city):
    write_plan(plan)
    more = lab_plan(Path("lab"), toy_city, ("fast=optimizer.lr=0.1",), (1, 2))
    together = write_plan(more)
    assert [arm.name for arm in together.arms] == ["base", "control", "head", "fast"]
    assert together.seeds == (0, 1, 2)
    assert read_plan("lab") == together


def other_base(plan: Plan) -> Plan:
    return replace(plan, arms=(replace(plan.base, name="from"), *plan.arms[1:]))


def other_recipe(plan: Plan) -> Plan:
    head = plan.arm("head")
    recipe = head.recipe.model_copy(update={"optimizer": {**head.recipe.optimizer, "lr": 0.5}})
    return replace(plan, arms=(*plan.arms[:2], replace(head, recipe=recipe)))


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (other_base, ("the base is 'base', here 'from'", "--to FOLDER")),
        (other_recipe, ("arm head: optimizer.lr is 0.001 in this lab, 0.5 now", "give the arm another name")),
        (lambda plan: replace(plan, kind="ladder"), ("a lab of kind ab, this one is ladder",)),
        (lambda plan: replace(plan, threads=2), ("runs with 1 threads, now 2: sums of floats", "--threads 1")),
    ],
    ids=("base", "recipe", "kind", "threads"),
)
def test_a_folder_of_another_lab_is_refused(plan, change, parts):
    write_plan(plan)
    before = Path("lab/plan.json").read_bytes()
    with pytest.raises(InputError) as caught:
        write_plan(change(plan))
    for part in ("lab/plan.json: ", *parts):
        assert part in str(caught.value)
    assert Path("lab/plan.json").read_bytes() == before


@pytest.mark.parametrize("key", ["torch", "device"])
def test_a_lab_stays_on_its_kind_of_machine(plan, monkeypatch, key):
    write_plan(plan)
    now = {**plan_module.machine(plan.arms), key: "another"}
    monkeypatch.setattr(plan_module, "machine", lambda arms: now)
    with pytest.raises(InputError, match=f"{key} was .* in this lab, is another now"):
        check_same_plan(plan)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("", "not readable as a lab's plan"),
        ("[]", "no plan of a lab: plan: Input should be"),
        ('{"kind": "ab"}', "no plan of a lab: seeds: Field required"),
        (lambda plan: plan["arms"][0].pop("name"), "no plan of a lab: arms.0.name: Field required"),
        (lambda plan: plan["arms"][0]["recipe"].pop("data"), "arms.0.recipe.data: Field required"),
        (lambda plan: plan["arms"].clear(), "arms: Tuple should have at least 1 item"),
        ("[" * 100_000, "not readable as a lab's plan"),
        (
            lambda plan: plan["arms"][1].update(name="../../x"),
            "arms.1.name: Value error, '../../x' cannot name a folder",
        ),
        (lambda plan: plan["arms"][1].update(name="BASE"), "arms: Value error, two arms of one name"),
        (lambda plan: plan.update(seeds=[-1]), "seeds.0: Input should be greater than or equal to 0"),
        (lambda plan: plan.update(threads="many"), "no plan of a lab: threads: Input should be a valid integer"),
    ],
)
def test_a_damaged_plan_is_told(plan, content, part):
    write_plan(plan)
    path = Path("lab/plan.json")
    if callable(content):
        entries = json.loads(path.read_text())
        content(entries)
        content = json.dumps(entries)
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_plan("lab")
    assert str(caught.value).startswith("lab/plan.json: ")
    assert part in str(caught.value)


def test_a_folder_without_a_plan_is_no_lab(workdir):
    with pytest.raises(InputError, match=r"nowhere: no lab \(no such folder\)"):
        read_plan("nowhere")
    Path("empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no lab \(a folder without plan.json\)"):
        read_plan("empty")
