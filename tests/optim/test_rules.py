"""Parameter groups by a table of rules: what it expresses, which rule wins, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from catalyst_cityscapes.models.reference import PSPNetLogits
from catalyst_cityscapes.optim import groups_by_rule, no_bias_decay_groups, reference_groups
from catalyst_cityscapes.optim import rules as rule_table
from semseg_ref.base.errors import OptionError
from support.golden.inputs import load_golden
from support.networks.small import SmallNetwork

HEADS = ["ppm.*", "cls.*", "aux.*"]


@pytest.fixture(scope="module")
def pspnet() -> nn.Module:
    with torch.device("meta"):
        return PSPNetLogits(pretrained=False, classes=19)


def per_parameter(model: nn.Module, groups: list[dict[str, Any]], decay: float) -> dict[str, tuple[float, ...]]:
    """(rate, multiplier, decay) of each parameter; `decay` is the optimiser's, of groups without one."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [
        (names[id(p)], (group["lr"], group["lr_multiplier"], group.get("weight_decay", decay)))
        for group in groups
        for p in group["params"]
    ]
    assert len(found) == len(names) == len(dict(found))
    return dict(found)


def test_the_reference_s_tenfold_heads(pspnet):
    groups = groups_by_rule(pspnet, 0.01, 1e-4, [{"name": HEADS, "lr_mult": 10}])
    expected = per_parameter(pspnet, reference_groups(pspnet, 0.01), 1e-4)
    assert per_parameter(pspnet, groups, 0.0) == expected
    assert [group["lr_multiplier"] for group in groups] == [1, 10]


def test_the_earlier_attempt_s_groups(pspnet):
    share = 3e-5 / 1e-4
    rules = [
        {"kind": "bias", "decay_mult": 0},
        {"name": HEADS, "lr_mult": 10, "decay_mult": 1},
        {"name": "*", "decay_mult": share},
    ]
    groups = groups_by_rule(pspnet, 0.01, 1e-4, rules)
    expected = no_bias_decay_groups(pspnet, 0.01, 1e-4, backbone_decay=1e-4 * share)
    assert per_parameter(pspnet, groups, 0.0) == per_parameter(pspnet, expected, 0.0)
    assert len(groups) == 4


def of_names(names: list[str]) -> nn.Module:
    """Modules that have parameters of these names."""
    root = nn.Module()
    for name in names:
        module, (*path, last) = root, name.split(".")
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, nn.Module())
            module = getattr(module, part)
        module.register_parameter(last, nn.Parameter(torch.empty(1)))
    return root


def test_mmsegmentation_s_custom_keys(capsys):
    """One group a parameter, in its order, with its rates and decays; `pos_block` has no hit there either."""
    golden = load_golden("mmseg/groups_segformer_b3.json")
    model, keys = of_names([row[0] for row in golden["rows"]]), golden["paramwise_cfg"]["custom_keys"]
    lr, decay = golden["optimizer_cfg"]["lr"], golden["optimizer_cfg"]["weight_decay"]
    rule_table._tell.cache_clear()  # said once a process, and other tests build such groups too
    groups = groups_by_rule(model, lr, decay, keys)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rows = [[names[id(g["params"][0])], i, g["lr"], g["weight_decay"]] for i, g in enumerate(groups)]
    assert rows == golden["rows"]
    assert {len(group["params"]) for group in groups} == {1}
    assert "rules.pos_block: no parameter has this in its name" in capsys.readouterr().err
    merged = groups_by_rule(model, lr, decay, keys, merge=True)
    assert per_parameter(model, merged, 0.0) == per_parameter(model, groups, 0.0)
    counts = {f"lr={g['lr']} wd={g['weight_decay']}": len(g["params"]) for g in merged}
    assert counts == golden["summary"]


def test_the_longest_custom_key_wins_and_then_the_alphabet():
    model = of_names(["head.norm.weight", "abc.xyz"])
    keys = {"norm": {"decay_mult": 0}, "head": {"lr_mult": 10}, "xy": {"lr_mult": 2}, "abc": {"lr_mult": 3}}
    found = per_parameter(model, groups_by_rule(model, 1.0, 1.0, keys), 0.0)
    assert found == {"head.norm.weight": (10, 10, 1), "abc.xyz": (3, 3, 1)}


class Mixed(nn.Module):
    """Layers of many kinds, a module that two names share, a layer whose weight is another one's, and a norm of one's
    own."""

    class RootNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.LayerNorm(4), nn.GroupNorm(2, 4), self.RootNorm()])
        self.again = self.stem
        self.first, self.tied = nn.Linear(4, 4), nn.Linear(4, 4)
        self.tied.weight = self.first.weight
        self.token = nn.Parameter(torch.zeros(1, 4))


def decays(model: nn.Module, rules: list[dict[str, Any]]) -> dict[str, float]:
    found = per_parameter(model, groups_by_rule(model, 1.0, 1.0, rules), 0.0)
    return {name: decay for name, (_, _, decay) in found.items()}


def chosen(model: nn.Module, **row: Any) -> set[str]:
    return {name for name, decay in decays(model, [{**row, "decay_mult": 0}]).items() if decay == 0}


def test_kinds():
    model, norms = Mixed(), {f"norms.{i}.{name}" for i in range(3) for name in ("weight", "bias")}
    assert chosen(model, kind="norm") == {*norms, "norms.3.scale"}
    assert chosen(model, kind="bias") == {
        "stem.bias",
        "first.bias",
        "tied.bias",
        *(f"norms.{i}.bias" for i in range(3)),
    }
    assert chosen(model, kind="Conv2d") == {"stem.weight", "stem.bias"}
    assert chosen(model, kind="Linear", name="*.bias") == {"first.bias", "tied.bias"}
    assert chosen(model, kind="Mixed") == {"token"}
    assert chosen(model, name=["norms.[01].*", "tok??"]) == {*(n for n in norms if n[6] in "01"), "token"}


def test_a_shared_parameter_appears_once_and_under_its_first_name():
    model = Mixed()
    assert "first.weight" in decays(model, [{"name": "first.*", "decay_mult": 0}])
    with pytest.raises(OptionError, match=r"rules\.0: name 'tied.weight' fits no parameter"):
        groups_by_rule(model, 1.0, 1.0, [{"name": "tied.weight", "decay_mult": 0}])


def test_each_multiplier_comes_from_the_first_row_that_gives_it():
    model = SmallNetwork()
    rules = [{"kind": "norm", "decay_mult": 0}, {"name": "ppm.*", "lr_mult": 10, "decay_mult": 2}]
    found = per_parameter(model, groups_by_rule(model, 0.01, 0.5, rules), 0.0)
    assert found["ppm.1.weight"] == (0.1, 10, 0)
    assert found["ppm.0.weight"] == (0.1, 10, 1)
    assert found["layer0.1.weight"] == (0.01, 1, 0)
    assert found["cls.1.bias"] == (0.01, 1, 0.5)
    assert groups_by_rule(model, 0.01, 0.5, [])[0]["weight_decay"] == 0.5


ROW = {"name": "cls.*", "lr_mult": 10}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([{**ROW, "name": "clss.*"}], r"rules\.0: name 'clss\.\*' fits no parameter; did you mean 'cls\.\*'\?"),
        ([{**ROW, "name": "cls"}], r"rules\.0: name 'cls' fits no parameter; did you mean 'cls\.\*'\?"),
        ([{**ROW, "name": "encoder.*"}], r"fits no parameter; names begin with layer0, .*, ppm, cls, aux"),
        ([ROW, {"kind": "BatchNorm2", "decay_mult": 0}], r"rules\.1: kind 'BatchNorm2' fits no.*'BatchNorm2d'\?"),
        ([{"kind": "LayerNorm", "lr_mult": 2}], r"kind 'LayerNorm' fits no parameter"),
        ([{**ROW, "kind": "norm"}], r"rules\.0: name 'cls\.\*' and kind 'norm' fits no parameter"),
        ([{"name": "cls.*", "lr_mul": 10}], r"rules\.0: unknown key 'lr_mul'; did you mean 'lr_mult'"),
        ([{"name": "cls.*"}], r"rules\.0: expected a multiplier: lr_mult or decay_mult"),
        ([{"lr_mult": 2}], r"rules\.0: expected a condition: name or kind"),
        ([{**ROW, "lr_mult": -1}], r"rules\.0\.lr_mult: expected a number >= 0, got -1"),
        ([{**ROW, "lr_mult": True}], r"rules\.0\.lr_mult: expected a number >= 0, got True"),
        ([{**ROW, "kind": 3}], r"rules\.0\.kind: expected norm, bias or a class, got 3"),
        ([{**ROW, "name": [3]}], r"rules\.0\.name: expected a pattern or a list of them, got \[3\]"),
        (["cls"], r"rules\.0: expected a mapping of name, kind, lr_mult, decay_mult, got 'cls'"),
        ("cls", r"rules: expected a list of rows or a mapping, got 'cls'"),
        ({"cls": {"lr": 10}}, r"rules\.cls: unknown key 'lr'"),
    ],
)
def test_rules_that_are_none(rules, message):
    with pytest.raises(OptionError, match=message):
        groups_by_rule(SmallNetwork(), 0.01, 1e-4, rules)


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW])
def test_the_optimiser_s_state_goes_back_to_its_parameters(make: Callable, merge: bool):
    rules = [{"kind": "norm", "decay_mult": 0}, {"name": HEADS, "lr_mult": 10}]

    momentum = {"momentum": 0.9} if make is torch.optim.SGD else {}

    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        return make(groups_by_rule(model, 0.01, 0.1, rules, merge), lr=0.01, **momentum)

    torch.manual_seed(0)
    model = SmallNetwork()
    first = optimizer(model)
    for parameter in model.parameters():
        parameter.grad = torch.rand_like(parameter)
    first.step()
    other = SmallNetwork()
    again = optimizer(other)
    again.load_state_dict(first.state_dict())
    for (name, one), (_, two) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        for key, value in first.state[one].items():
            assert torch.equal(again.state[two][key], value), name
