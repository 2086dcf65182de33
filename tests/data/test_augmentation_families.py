"""Steps of four families in one pipeline: what they get and give, and that draws follow the sample and nothing else."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from catalyst_cityscapes.data.augmentation.adapters import adapted
from catalyst_cityscapes.data.training_set import training_set
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.normalisation import stated_normalisations
from catalyst_cityscapes.recipe.normalisation import tested_with as normalisation_of_the_test
from catalyst_cityscapes.train.input_check import check_training_input
from semseg_ref.base.errors import InputError
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.sampling import EpochSampler, SeededDataset, build_loader
from semseg_ref.transform import MEAN, STD
from support.golden.inputs import rec_image, rec_label
from support.runs.toy import SMALL, TOY, assert_same_checkpoints, toy_recipe, train_catalyst

V2 = "torchvision.transforms.v2"
MMSEG = "catalyst_cityscapes.data.augmentation.mmseg"
STEPS = "augmentation.steps"
FOUR = (
    "augmentation.order=[scale,rotate,blur,bright,noise,crop,flip,to_bgr,colour,to_tensor,normalize]",
    f"{STEPS}.bright={{_target_: {V2}.ColorJitter, brightness: 0.3}}",
    f"{STEPS}.noise={{_target_: albumentations.GaussNoise, p: 1.0}}",
    f"{STEPS}.flip={{_target_: {V2}.RandomHorizontalFlip}}",
    f"{STEPS}.to_bgr={{_target_: {MMSEG}.ToBGR}}",
    f"{STEPS}.colour={{_target_: {MMSEG}.PhotoMetricDistortion}}",
    f"{STEPS}.to_tensor=null",
    f"{STEPS}.normalize={{_target_: {MMSEG}.NormalizeAndPad, size: [33, 33]}}",
)
OVERLAYS = ("torchvision_v2", "albumentations_compose", "mmseg")


def four(city: Path, *settings: str):
    return toy_recipe(city, *SMALL, *FOUR, *settings)


def samples(recipe, workers: int) -> list[list[torch.Tensor]]:
    """The images of two epochs, in the order of the list."""
    dataset, order = training_set(recipe, use_cache=False)
    order.shuffle = False
    loader = build_loader(dataset, order, 1, workers, drop_last=False)
    epochs = []
    for epoch in range(2):
        order.set_epoch(epoch)
        epochs.append([image[0] for image, _ in loader])
    return epochs


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> list[bool]:
    return [torch.equal(one, other) for one, other in zip(left, right, strict=True)]


def test_four_families_draw_the_same_for_any_number_of_workers(toy_city):
    alone, shared = samples(four(toy_city), 0), samples(four(toy_city), 2)
    assert all(same(alone[0], shared[0]) + same(alone[1], shared[1]))
    assert not any(same(*alone))
    replayed = samples(four(toy_city, "sampling.replay_augmentation=true"), 0)
    assert all(same(*replayed) + same(replayed[0], alone[0]))


def test_loading_in_the_training_process_leaves_numpys_and_torchs_generators(toy_city):
    dataset, _ = training_set(four(toy_city), use_cache=False)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    first = dataset[0, 1]
    assert (np.random.get_state()[1] == before[0]).all()
    assert torch.equal(torch.get_rng_state(), before[1])
    np.random.seed(4)
    torch.manual_seed(4)
    assert torch.equal(dataset[0, 1][0], first[0])


class _Draws(torch.utils.data.Dataset):
    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([random.random(), np.random.random_sample(), torch.rand((), dtype=torch.float64)])

    def __len__(self) -> int:
        return 6


@pytest.mark.parametrize("streams", [None, SeedStreams(0)])
def test_no_generator_repeats_another_or_itself_in_another_worker(streams):
    """Also unseeded, as the reference does it: torch seeds all three generators of each of its workers."""
    dataset = SeededDataset(_Draws(), streams)
    drawn = torch.cat(list(build_loader(dataset, EpochSampler(6, streams), 1, 2, drop_last=False)))
    assert drawn.unique().numel() == drawn.numel()


def test_python_draws_what_it_drew_before_there_were_others():
    streams = SeedStreams(0)
    streams.seed_augmentation(1, 2)
    found = random.random()
    random.seed(streams.seed("augmentation", 1, 2))
    assert random.random() == found


def test_four_families_resume_bitwise(toy_city, workdir, one_thread):
    for name in ("whole", "again"):
        train_catalyst(four(toy_city, f"experiment.logdir={name}"))
    first = workdir / "whole" / "model" / "train_epoch_1.pth"
    train_catalyst(four(toy_city, "experiment.logdir=resumed", "sampling.workers=2"), first)
    last = "model/train_epoch_2.pth"
    assert_same_checkpoints(workdir / "whole" / last, workdir / "again" / last)
    assert_same_checkpoints(workdir / "whole" / last, workdir / "resumed" / last)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_shipped_overlay_trains_and_is_tested_alike(toy_city, workdir, overlay):
    settings = [f"data.root={toy_city}", *TOY, *SMALL, "experiment.epochs=1"]
    recipe = load_recipe(["toy/pspnet50", f"swap/augmentation/{overlay}"], settings, ("support",))
    assert check_training_input(recipe) == []
    assert normalisation_of_the_test(recipe) == (tuple(MEAN), tuple(STD))
    train_catalyst(recipe)
    assert (workdir / "run" / "model" / "train_epoch_1.pth").is_file()


# --- one step's input and output


def built(city: Path, step: str):
    return adapted(training_set(toy_recipe(city, f"{STEPS}.flip={step}"))[0].dataset.transform.steps["flip"])


@pytest.mark.parametrize("family", ["albumentations.HorizontalFlip", f"{V2}.RandomHorizontalFlip"])
def test_a_step_between_the_references_takes_and_gives_their_arrays(toy_city, family):
    step = built(toy_city, f"{{_target_: {family}, p: 1.0}}")
    image, label = rec_image(0, 12, 20), rec_label(1, 12, 20, 19, 4)
    out, target = step(image.astype(np.float32) + np.float32(0.4), label)
    assert out.dtype == np.float32
    assert target.dtype == np.uint8
    assert np.array_equal(out, image[:, ::-1].astype(np.float32))
    assert np.array_equal(target, label[:, ::-1])


@pytest.mark.parametrize(
    ("family", "said"),
    [
        (f"{V2}.ColorJitter, brightness: 0.5", r"ColorJitter takes 8-bit images, or floats of 0\.\.1, and gets floats"),
        ("albumentations.RandomGamma", r"albumentations\.RandomGamma takes 8-bit images and gets a tensor"),
    ],
)
def test_a_colour_step_after_to_tensor_is_refused(toy_city, family, said):
    order = "augmentation.order=[scale,rotate,blur,crop,to_tensor,flip,normalize]"
    with pytest.raises(InputError, match=said):
        check_training_input(toy_recipe(toy_city, order, f"{STEPS}.flip={{_target_: {family}}}"))


# --- normalisation and padding


def vision(*transforms: str) -> str:
    nodes = ", ".join(f"{{_target_: {V2}.{transform}}}" for transform in transforms)
    return f"augmentation={{_target_: {V2}.Compose, transforms: [{nodes}]}}"


CROP = "RandomCrop, size: [33, 33]"
SHARES = "Normalize, mean: [0.5, 0.4, 0.3], std: [0.2, 0.2, 0.2]"
GREYS = "Normalize, mean: [127.5, 102, 76.5], std: [51, 51, 51]"


@pytest.mark.parametrize(
    ("settings", "notes"),
    [
        ((vision(CROP, "ToDtype, dtype: float32, scale: true", SHARES),), 0),
        ((vision(CROP, "ToDtype, dtype: torch.float32", GREYS),), 0),
        ((f"{STEPS}.normalize={{_target_: {V2}.{GREYS}}}",), 2),
        (
            (
                vision(
                    CROP,
                    f"Compose, transforms: [{{_target_: {V2}.ToDtype, dtype: float32, scale: true}}, "
                    f"{{_target_: {V2}.{SHARES}}}]",
                ),
            ),
            0,
        ),
    ],
    ids=["shares", "grey levels", "after to_tensor", "nested"],
)
def test_torchvisions_normalisation_is_the_tests(toy_city, settings, notes):
    recipe = toy_recipe(toy_city, *settings)
    mean, std = normalisation_of_the_test(recipe)
    assert mean == pytest.approx((127.5, 102, 76.5))
    assert std == pytest.approx((51, 51, 51))
    assert len(check_training_input(recipe)) == notes  # the reference's steps pad with another mean


def test_two_normalisations_are_an_error(toy_city):
    recipe = toy_recipe(toy_city, vision(CROP, "ToDtype, dtype: float32, scale: true", SHARES, SHARES))
    assert len(stated_normalisations(recipe.augmentation)) == 2
    with pytest.raises(InputError, match="augmentation: normalises by"):
        check_training_input(recipe)
    other = toy_recipe(
        toy_city,
        vision(CROP, "ToDtype, dtype: float32, scale: true", SHARES),
        "protocol.mean=[1,2,3]",
        "protocol.std=[1,1,1]",
    )
    with pytest.raises(InputError, match="augmentation: normalises by"):
        check_training_input(other)


def test_a_dtype_that_is_none_is_refused_with_the_nearest(toy_city):
    with pytest.raises(InputError, match=r"dtype: no dtype of torch 'flot32'; did you mean 'float32'"):
        check_training_input(toy_recipe(toy_city, vision(CROP, "ToDtype, dtype: flot32", GREYS)))


@pytest.mark.parametrize(("fill", "told"), [("[123.675, 116.28, 103.53]", 0), ("0", 1)])
def test_padding_of_other_libraries_is_compared_with_the_mean(toy_city, fill, told):
    pad = f"{{_target_: albumentations.PadIfNeeded, min_height: 99, min_width: 99, border_mode: 0, fill: {fill}, "
    others = "{_target_: albumentations.RandomCrop, height: 33, width: 33}, {_target_: albumentations.Normalize}"
    transforms = f"[{pad} fill_mask: 255}}, {others}]"
    notes = check_training_input(
        toy_recipe(toy_city, f"augmentation={{_target_: albumentations.Compose, transforms: {transforms}}}")
    )
    assert len(notes) == told
    assert all(note.startswith("augmentation.transforms.0.fill: [0, 0, 0] is not the mean that") for note in notes)
