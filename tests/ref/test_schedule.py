"""Learning-rate schedules against the reference's sequences."""

import pytest

from semseg_ref.base.errors import OptionError
from semseg_ref.schedule import poly_learning_rate, step_learning_rate
from support.golden.inputs import load_golden

POLY = load_golden("poly.json")


@pytest.mark.parametrize("case", POLY["poly"], ids=lambda c: f"{c['base_lr']}-{c['max_iter']}-{c['power']}")
def test_poly_sequence_is_exact(case):
    values = [poly_learning_rate(case["base_lr"], k, case["max_iter"], case["power"]) for k in case["curr_iter"]]
    assert values == case["lr"]


@pytest.mark.parametrize("case", POLY["step"], ids=lambda c: f"{c['base_lr']}-{c['step_epoch']}-{c['multiplier']}")
def test_step_sequence_is_exact(case):
    values = [step_learning_rate(case["base_lr"], k, case["step_epoch"], case["multiplier"]) for k in case["epoch"]]
    assert values == case["lr"]


def test_defaults():
    assert poly_learning_rate(0.01, 3, 10) == POLY["defaults"]["poly_default_power"]
    assert step_learning_rate(0.01, 65, 30) == POLY["defaults"]["step_default_multiplier"]


@pytest.mark.parametrize("curr_iter", [-1, 11])
def test_poly_outside_the_training_is_an_error(curr_iter):
    with pytest.raises(OptionError, match=f"curr_iter {curr_iter}"):
        poly_learning_rate(0.01, curr_iter, 10)
