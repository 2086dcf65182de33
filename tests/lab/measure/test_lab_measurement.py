"""What the lab measures of a recipe, against what the recipe's parts are known to do."""

import math

import cv2
import numpy as np
import pytest
import torch

from catalyst_cityscapes.data.augmentation import Pipeline, SmallestMaxSize
from catalyst_cityscapes.lab.measure.geometry import measure_colours, measure_draw
from catalyst_cityscapes.lab.measure.optimisation import measure_optimisation
from catalyst_cityscapes.lab.measure.profile import DataSize, RecipeProfile, read_data_size
from catalyst_cityscapes.lab.measure.samples import measure_samples
from catalyst_cityscapes.recipe.loading import load_recipe
from semseg_ref.base.errors import DataError, OptionError
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.schedule import poly_learning_rate
from semseg_ref.transform import (
    MEAN,
    RGB2BGR,
    STD,
    Crop,
    Normalize,
    RandRotate,
    RandScale,
    Resize,
    ToTensor,
    train_transform,
)
from support.golden.inputs import IGNORE_INDEX
from support.runs.toy import SMALL

SIZE = (120, 200)


def recipe_of(city, *settings, configs=("toy/pspnet50",)):
    small = [*SMALL, "data.crop=[33,33]", "engine.device=cpu", "sampling.workers=0", *settings]
    return load_recipe(configs, [f"data.root={city}", *small], ("support",))


def profile_of(recipe, assumed=None, **counts):
    return RecipeProfile(recipe, data=assumed or read_data_size(recipe), **counts)


def draw(*steps, index=0, size=SIZE):
    pipeline = Pipeline([str(i) for i in range(len(steps))], {str(i): step for i, step in enumerate(steps)})
    return measure_draw(pipeline, size, 19, IGNORE_INDEX, SeedStreams(0), index=index)


TENSOR = (ToTensor(), Normalize(MEAN, STD))


class Fixed:
    """A transform made of a function of the image and one of the label."""

    def __init__(self, image, label):
        self.image, self.label = image, label

    def __call__(self, image, label):
        return self.image(image), self.label(label)


def nothing(value):
    return value


class TestDraws:
    @pytest.mark.parametrize("factor", [0.5, 0.75, 1.5, 2.0])
    def test_a_known_scale_is_measured(self, factor):
        found = draw(RandScale((factor, factor + 1e-9)), *TENSOR)
        assert found.scale_x == pytest.approx(factor, rel=0.01)
        assert found.scale_y == pytest.approx(factor, rel=0.01)
        assert found.visible == 1
        assert found.source == pytest.approx(1, abs=0.02)
        assert not found.mirrored

    @pytest.mark.parametrize("angle", [-9.0, 4.0, 10.0])
    def test_a_known_rotation_is_measured_with_its_corners_ignored(self, angle):
        found = draw(RandRotate((angle, angle + 1e-9), MEAN, IGNORE_INDEX, p=1.0), *TENSOR)
        assert found.rotation == pytest.approx(angle, abs=0.1)
        assert found.scale == pytest.approx(1, abs=0.01)
        assert 0.7 < found.visible < 1
        assert found.padding_ignored == pytest.approx(1, abs=0.05)

    def test_a_mirror_is_told_from_a_rotation(self):
        found = draw(Fixed(lambda x: cv2.flip(x, 1), lambda x: cv2.flip(x, 1)), *TENSOR)
        assert found.mirrored
        assert found.rotation == pytest.approx(0, abs=0.01)
        assert found.labels_aligned == 1

    def test_padding_and_its_labels(self):
        found = draw(Crop((240, 400), "center", MEAN, IGNORE_INDEX), *TENSOR)
        assert found.visible == pytest.approx(0.25)
        assert found.padding_ignored == 1
        wrong = draw(Crop((240, 400), "center", MEAN, 0), *TENSOR)
        assert wrong.padding_ignored == 0

    def test_position_of_a_crop(self):
        found = draw(Fixed(lambda x: x[:60, 100:], lambda x: x[:60, 100:]), *TENSOR)
        assert found.left == pytest.approx(0.75, abs=0.01)
        assert found.top == pytest.approx(0.25, abs=0.01)
        assert found.source == pytest.approx(0.25, abs=0.01)

    def test_labels_interpolated_like_an_image_are_found(self):
        def half(how):
            return lambda x: cv2.resize(x, None, fx=0.6, fy=0.6, interpolation=how)

        assert draw(Fixed(half(cv2.INTER_LINEAR), half(cv2.INTER_NEAREST)), *TENSOR).labels_kept
        assert not draw(Fixed(half(cv2.INTER_LINEAR), half(cv2.INTER_LINEAR)), *TENSOR).labels_kept

    def test_labels_left_behind_are_found(self):
        assert draw(Fixed(lambda x: cv2.flip(x, 1), nothing), *TENSOR).labels_aligned < 0.7

    @pytest.mark.parametrize("divisor", [1.0, 255.0])
    def test_mean_and_std_in_grey_levels(self, divisor):
        steps = (ToTensor(), Normalize([m / divisor for m in MEAN], [s / divisor for s in STD]))
        found = draw(*steps)
        np.testing.assert_allclose(found.mean, np.array(MEAN) / divisor, rtol=1e-4)
        np.testing.assert_allclose(found.std, np.array(STD) / divisor, rtol=1e-4)

    def test_nothing_visible_is_no_crash(self):
        found = draw(Fixed(np.zeros_like, nothing), *TENSOR)
        assert found.visible == 0
        assert math.isnan(found.scale_x)

    def test_the_reference_pipeline_over_many_draws(self):
        pipeline = train_transform(97, 97)
        found = [measure_draw(pipeline, SIZE, 19, IGNORE_INDEX, SeedStreams(0), index=i) for i in range(24)]
        scales = [one.scale for one in found]
        assert min(scales) >= 0.49
        assert max(scales) <= 2.02
        assert max(scales) - min(scales) > 0.8
        assert {one.mirrored for one in found} == {True, False}
        assert all(one.labels_kept and one.labels_aligned > 0.99 for one in found)
        assert all(abs(one.rotation) <= 10.1 for one in found)
        assert any(abs(one.rotation) < 0.01 for one in found)

    def test_the_same_position_gives_the_same_draw(self):
        first, again, other = (draw(RandScale((0.5, 2.0)), *TENSOR, index=i) for i in (3, 3, 4))
        assert first.scale == again.scale
        assert first.scale != other.scale

    def test_a_fixed_resize_leaves_no_freedom(self):
        found = [draw(SmallestMaxSize(97), Crop((97, 97), "rand", MEAN, 255), *TENSOR, index=i) for i in range(6)]
        assert {round(one.top, 3) for one in found} == {0.5}
        assert len({round(one.left, 3) for one in found}) > 3
        squeezed = draw(Resize((97, 97)), *TENSOR)
        assert squeezed.scale_y / squeezed.scale_x == pytest.approx(200 / 120, rel=0.02)

    def test_an_output_of_another_kind_is_named(self):
        with pytest.raises(DataError, match=r"expected \[3, h, w\]"):
            draw(Crop((33, 33), "center"))


class TestColours:
    def test_order_is_kept_or_swapped(self):
        plain = Pipeline(["a", "b"], dict(zip("ab", TENSOR, strict=True)))
        assert measure_colours(plain, SIZE, SeedStreams(0)).order == (0, 1, 2)
        swapped = Pipeline(["s", "a", "b"], {"s": RGB2BGR(), **dict(zip("ab", TENSOR, strict=True))})
        assert measure_colours(swapped, SIZE, SeedStreams(0)).order == (2, 1, 0)


class TestOptimisation:
    def measured(self, toy_city, *settings, configs=("toy/pspnet50",)):
        from catalyst_cityscapes.models.from_recipe import recipe_network

        recipe = recipe_of(toy_city, *settings, configs=configs)
        return measure_optimisation(recipe, recipe_network(recipe), 10)

    def test_poly_is_the_closed_form(self, toy_city):
        found = self.measured(toy_city, "experiment.epochs=7")
        expected = [poly_learning_rate(0.01, step, 70, 0.9) for step in range(70)]
        np.testing.assert_allclose(found.lr("backbone"), expected, rtol=1e-12)
        np.testing.assert_allclose(found.lr("heads"), 10 * np.array(expected), rtol=1e-12)
        assert (found.momentum("heads") == 0.9).all()

    def test_iterations_have_the_same_form_and_may_end_within_an_epoch(self, toy_city):
        found = self.measured(toy_city, "experiment.epochs=null", "experiment.iterations=64")
        expected = [poly_learning_rate(0.01, step, 64, 0.9) for step in range(64)]
        np.testing.assert_allclose(found.lr("backbone"), expected, rtol=1e-12)
        assert (found.steps, found.steps_per_epoch) == (64, 10)

    def test_one_rate_for_all_is_seen(self, toy_city):
        found = self.measured(toy_city, configs=("toy/pspnet50", "swap/catalyst_2020"))
        np.testing.assert_allclose(found.lr("backbone"), found.lr("heads"), rtol=1e-14)
        assert found.momentum("backbone")[0] == 0
        assert found.decay[("backbone", "norm bias")] == 0
        assert found.decay[("backbone", "weight")] > 0

    def test_decay_is_what_a_real_optimiser_leaves_of_a_weight(self, toy_city):
        found = self.measured(toy_city, "experiment.epochs=3", "optimizer.lr=0.5", "optimizer.weight_decay=0.01")
        weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        sgd = torch.optim.SGD([weight], lr=0.5, momentum=0.9, weight_decay=0.01)
        for step in range(30):
            weight.grad = torch.zeros(1, dtype=torch.float64)
            sgd.param_groups[0]["lr"] = poly_learning_rate(0.5, step, 30, 0.9)
            sgd.step()
        assert found.decay[("backbone", "weight")] == pytest.approx(-math.log(weight.item()), rel=1e-9)

    def test_a_schedule_that_needs_more_is_refused_by_name(self, toy_city):
        node = "callbacks.own={_target_: support.networks.by_loss_schedule.ByLoss}"
        recipe = load_recipe(
            ["toy/pspnet50"],
            [f"data.root={toy_city}", *SMALL, node, "callbacks.poly_lr=null"],
            ("support",),
        )
        with pytest.raises(OptionError, match=r"callbacks\.own: ByLoss cannot be measured without training"):
            profile_of(recipe, processes=1, draws=0, samples=1).optimisation  # noqa: B018


class TestWhole:
    def test_exposure_and_samples(self, toy_city):
        profile = profile_of(recipe_of(toy_city), processes=1, draws=2, samples=3)
        exposure = profile.exposure
        assert exposure.steps == exposure.epochs * exposure.batches_per_epoch
        assert exposure.seen == exposure.steps * exposure.batch
        assert profile.samples.values == ()
        assert profile.samples.ignored.shape == (3,)
        assert not profile.samples.replayed
        assert profile.batch_norms > 0

    @pytest.mark.parametrize(
        ("settings", "epochs", "seen", "dropped"),
        [((), 80000 / 186, 80000 * 16, 0), (("sampling.order=endless",), 80000 * 16 / 2975, 80000 * 16, 0)],
    )
    def test_counts_of_iterations(self, settings, epochs, seen, dropped):
        recipe = load_recipe(["cityscapes/pspnet50"], ["experiment.iterations=80000", *settings])
        exposure = profile_of(recipe, DataSize(), processes=8, draws=0).exposure
        assert exposure.epochs == pytest.approx(epochs)
        assert (exposure.steps, exposure.seen, exposure.dropped) == (80000, seen, dropped)

    def test_the_official_counts_without_data(self):
        recipe = load_recipe(["cityscapes/pspnet50"])
        profile = profile_of(recipe, DataSize(), processes=8, draws=0)
        exposure = profile.exposure
        assert (exposure.batches_per_epoch, exposure.steps, exposure.bn_group) == (186, 37200, 16)
        assert profile.test_scale == 1
        assert profile.samples is None
        rates = profile.optimisation.lr("backbone")
        assert len(rates) == 37200
        assert rates[-1] == pytest.approx(poly_learning_rate(0.01, 37199, 37200, 0.9))

    def test_replayed_draws_are_seen(self, toy_city):
        recipe = recipe_of(toy_city, configs=("toy/pspnet50", "swap/replayed_draws"))
        assert measure_samples(recipe, 1).replayed

    def test_a_batch_smaller_than_the_processes(self, toy_city):
        with pytest.raises(OptionError, match="less than one per process"):
            profile_of(recipe_of(toy_city), processes=64, draws=1).exposure  # noqa: B018
