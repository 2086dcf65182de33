"""Which length a recipe has, what a layer does to the one below it, and where a training stops."""

import pytest

from catalyst_cityscapes.lab.ladder.components import differences_of
from catalyst_cityscapes.recipe.length import Length
from catalyst_cityscapes.recipe.loading import load_recipe
from semseg_ref.base.errors import InputError

BASE = "cityscapes/pspnet50"


def test_a_layer_replaces_the_length_and_its_intervals(tmp_path):
    file = tmp_path / "a.yml"
    file.write_text(f"base: {BASE}\nvalidation: {{every: 5}}\ncallbacks: {{checkpoint: {{save_every: 7}}}}\n")
    recipe = load_recipe([file], ["experiment.iterations=250"])
    assert (recipe.experiment.epochs, recipe.experiment.iterations) == (None, 250)
    assert (recipe.validation.every, recipe.callbacks["checkpoint"]["save_every"]) == (25, 25)
    back = tmp_path / "b.yml"
    back.write_text(f"base: {file}\nexperiment: {{iterations: 3}}\n")
    assert load_recipe([back], ["experiment.epochs=4"]).experiment.epochs == 4
    assert load_recipe([back], ["experiment.epochs=4"]).validation.every == 1
    kept = load_recipe([file], ["experiment.iterations=250", "validation.every=100"])
    assert kept.validation.every == 100
    assert load_recipe([BASE], ["experiment.iterations=250"]).validation.every == 0
    assert load_recipe([file], ["experiment.epochs=9"]).validation.every == 5


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        (("experiment.iterations=3", "experiment.epochs=2"), ("experiment", "epochs: 2 and iterations: 3", "null")),
        (("experiment.epochs=null",), ("experiment", "got neither")),
        (("experiment.iterations=0",), ("experiment.iterations", "greater than 0")),
        (("sampling.order=endless",), ("--set: sampling.order: endless has no epochs; set experiment.iterations",)),
        (
            ("sampling.order=endless", "experiment.iterations=3", "experiment.seed=null"),
            ("--set: sampling.order: endless needs experiment.seed",),
        ),
        (("sampling.order=endles",), ("sampling.order", "'endless'")),
    ],
)
def test_what_is_no_length_is_said_in_a_line(settings, parts):
    with pytest.raises(InputError) as error:
        load_recipe([BASE], settings)
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


def stops(length: Length, steps: int = 0) -> list[int]:
    """Where the rounds after so many steps end."""
    found = []
    while steps < length.total_steps:
        steps = length.next_stop(steps)
        found.append(steps)
    return found


@pytest.mark.parametrize(("batches", "accumulation"), [(5, 1), (5, 2), (4, 2), (3, 5)])
@pytest.mark.parametrize("endless", [False, True])
def test_steps_and_batches_are_each_other_s_inverse(batches, accumulation, endless):
    length = Length("iteration", 23, batches, accumulation, endless)
    assert [length.steps(length.batches(steps)) for steps in range(24)] == list(range(24))
    assert length.total_steps == 23
    if not endless:
        whole = Length("epoch", 4, batches, accumulation)
        assert length.batches(whole.total_steps) == whole.total_batches == 4 * batches


def test_where_a_training_stops():
    assert stops(Length("epoch", 3, 5, 2)) == [3, 6, 9]
    length = Length("iteration", 10, 4, intervals=(4, 0, 3))
    assert stops(length) == [3, 4, 6, 8, 9, 10]
    assert stops(length, 5) == [6, 8, 9, 10]
    assert stops(Length("iteration", 10, 4)) == [10]
    assert (length.is_due(8, 4), length.is_due(9, 4), length.is_due(10, 4), length.is_due(10, 0)) == (
        True, False, True, False)  # fmt: skip


def test_a_ladder_from_epochs_to_iterations():
    """An endless order has no epochs, so the two are one component; intervals in the other unit do not stay."""
    first = load_recipe([BASE], ["validation.every=2"])
    second = load_recipe([BASE], ["validation.every=0", "experiment.iterations=50", "sampling.order=endless"])
    found = differences_of(first, second)
    between = found.recipe(["epochs"])
    assert (between.experiment.iterations, between.sampling.order) == (50, "endless")
    assert (between.validation.every, between.callbacks["checkpoint"]["save_every"]) == (5, 5)
