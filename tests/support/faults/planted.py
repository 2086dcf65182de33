"""A catalogue of faults that people plant in recipes and data sets without noticing, and the rule that must find each.

`test_lint_faults.py` lints every one.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

TRUSTED = ("support",)
OWN = "support.faults.components"
STEP = "semseg_ref.transform"
CALLBACK = "catalyst_cityscapes.callbacks"


# -- what is done to a data set ------------------------------------------------------------------------------------
def lines_of(city: Path, split: str) -> list[str]:
    return (city / "list" / f"fine_{split}.txt").read_text().splitlines()


def write_lines(city: Path, split: str, lines: list[str]) -> None:
    (city / "list" / f"fine_{split}.txt").write_text("\n".join(lines) + "\n")


def first_label(city: Path, split: str = "train") -> Path:
    return city / lines_of(city, split)[0].split()[1]


def rewrite_label(change: Callable[[np.ndarray], Image.Image]) -> Callable[[Path], None]:
    def plant(city: Path) -> None:
        path = first_label(city)
        change(np.asarray(Image.open(path))).save(path)

    return plant


def name_label_ids(city: Path) -> None:
    write_lines(city, "train", [line.replace("labelTrainIds", "labelIds") for line in lines_of(city, "train")])


def road_is_seven(label: np.ndarray) -> Image.Image:
    return Image.fromarray(np.where(label == 0, 33, label).astype(np.uint8))


def as_palette(label: np.ndarray) -> Image.Image:
    image = Image.fromarray(label)
    image = image.convert("P")
    image.putpalette([(7 * i) % 256 for i in range(768)])
    return image


def as_16_bit(label: np.ndarray) -> Image.Image:
    return Image.fromarray(label.astype(np.uint16) * 256)


def turn_image(city: Path) -> None:
    """An orientation that only the image has."""
    path = city / lines_of(city, "train")[0].split()[0]
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(path).save(path, exif=exif)


def mask_of_255(city: Path) -> None:
    for split in ("train", "val"):
        for line in lines_of(city, split):
            path = city / line.split()[1]
            Image.fromarray(np.where(np.asarray(Image.open(path)) == 0, 0, 255).astype(np.uint8)).save(path)


def one_name_in_two_folders(city: Path) -> None:
    lines = lines_of(city, "val")
    for index in (0, 1):
        image, label = lines[index].split()
        folder = city / f"sequence{index}"
        folder.mkdir()
        shutil.copy(city / image, folder / "000001.png")
        lines[index] = f"{folder.name}/000001.png {label}"
    write_lines(city, "val", lines)


def half_size(label: np.ndarray) -> Image.Image:
    return Image.fromarray(label[::2, ::2].copy())


def train_on_validation(city: Path) -> None:
    write_lines(city, "train", [*lines_of(city, "train"), lines_of(city, "val")[0]])


def copy_validation_image(city: Path) -> None:
    image, label = lines_of(city, "val")[0].split()
    shutil.copyfile(city / image, city / "leftImg8bit" / "renamed.png")
    write_lines(city, "train", [*lines_of(city, "train"), f"leftImg8bit/renamed.png {label}"])


def repeat_line(city: Path) -> None:
    lines = lines_of(city, "train")
    write_lines(city, "train", [*lines, lines[0]])


def remove_image(city: Path) -> None:
    (city / lines_of(city, "train")[2].split()[0]).unlink()


def two_spaces(city: Path) -> None:
    write_lines(city, "train", [line.replace(" ", "  ") for line in lines_of(city, "train")])


def empty_list(city: Path) -> None:
    (city / "list" / "fine_train.txt").write_text("")


def ignore_most(city: Path) -> None:
    for line in lines_of(city, "train"):
        path = city / line.split()[1]
        label = np.asarray(Image.open(path)).copy()
        label[: label.shape[0] * 9 // 10] = 255
        Image.fromarray(label).save(path)


def wrong_weights(city: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.weight": torch.zeros(10, 512)}, city / "weights.pth")


# -- the catalogue -------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Fault:
    """One planted fault.

    Attributes:
        name: what is wrong, in words.
        rule: id of the rule that must find it.
        settings: `--set` values on the small recipe; `{city}` is the data set's folder.
        overlays: shipped configurations laid on it.
        plant: done to a copy of the data set.
        processes: that the recipe is linted for.
        network: `model` of the recipe; None leaves the overlay's or the toy recipe's own.
    """

    name: str
    rule: str
    settings: tuple[str, ...] = ()
    overlays: tuple[str, ...] = ()
    plant: Callable[[Path], None] | None = None
    processes: int | None = None
    network: str | None = "support.networks.small.SmallLogits"


def with_step(name: str, target: str, before: str, **more: object) -> tuple[str, ...]:
    """Settings that put one more step before another into the official order."""
    order = ["scale", "rotate", "blur", "flip", "crop", "to_tensor", "normalize"]
    order.insert(order.index(before), name)
    arguments = "".join(f", {key}: {value}" for key, value in more.items())
    return (f"augmentation.order=[{','.join(order)}]", f"augmentation.steps.{name}={{_target_: {target}{arguments}}}")


def new_schedule(target: str, **more: object) -> tuple[str, ...]:
    arguments = "".join(f", {key}: {value}" for key, value in more.items())
    return ("callbacks.poly_lr=null", f"callbacks.schedule={{_target_: {target}{arguments}}}")


STEPS = "augmentation.steps"
PUBLISHED = "expected={mIoU: 0.773, tolerance: 0.01, source: elsewhere, protocol: semseg-ss}"
NO_DECAY_GROUPS = "optimizer.groups={_target_: catalyst_cityscapes.optim.no_bias_decay_groups, "
VALIDATED = "validation.every=1"

DATA_FAULTS = (
    Fault("list names labelIds", "label-ids", plant=name_label_ids),
    Fault("label ids in a label", "label-ids", plant=rewrite_label(road_is_seven)),
    Fault("palette label", "label-format", plant=rewrite_label(as_palette)),
    Fault("16-bit label", "label-format", plant=rewrite_label(as_16_bit)),
    Fault("label of half the size", "label-size", plant=rewrite_label(half_size)),
    Fault("image turned by its orientation", "label-format", plant=turn_image),
    Fault("masks of 0 and 255", "one-class", plant=mask_of_255),
    Fault("one name in two folders", "prediction-names", plant=one_name_in_two_folders),
    Fault("trains on a validation image", "train-val-overlap", plant=train_on_validation),
    Fault("trains on a copy of a validation image", "train-val-overlap", plant=copy_validation_image),
    Fault("validates on the training list", "train-val-overlap", ("data.val_list=${data.train_list}",)),
    Fault("an image twice", "duplicate-images", plant=repeat_line),
    Fault("missing image", "missing-files", plant=remove_image),
    Fault("two spaces in a list", "unusable-list", plant=two_spaces),
    Fault("empty list", "unusable-list", plant=empty_list),
    Fault("published number on a short list", "list-length", (PUBLISHED,)),
    Fault("names of another data set", "class-tables", ("data.names=camvid_names.txt",)),
    Fault("ignore index is a class", "ignore-index-is-class", ("data.ignore_index=0",)),
    Fault("labels mostly ignored", "mostly-ignored", plant=ignore_most),
)
GEOMETRY_FAULTS = (
    Fault(
        "resize to the crop, then crop",
        "crop-does-nothing",
        (*with_step("fit", f"{STEP}.Resize", "crop", size="[33,33]"), f"{STEPS}.scale=null", f"{STEPS}.rotate=null"),
    ),
    Fault("centre crop", "crop-does-nothing", (f"{STEPS}.crop.crop_type=center",)),
    Fault(
        "random scale, then a fixed size",
        "scale-jitter-cancelled",
        with_step("fit", f"{STEP}.Resize", "crop", size="[64,128]"),
    ),
    Fault("2020 Catalyst attempt's augmentation", "crop-full-side", overlays=("swap/augmentation_catalyst_2020",)),
    Fault("no random scale", "no-scale-jitter", (f"{STEPS}.scale=null",)),
    Fault("timid random scale", "scale-jitter-range", (f"{STEPS}.scale.scale=[0.9,1.1]",)),
    Fault("wild random scale", "scale-jitter-range", (f"{STEPS}.scale.scale=[0.3,3]",)),
    Fault("random scale half of the time", "scale-jitter-seldom", overlays=("swap/augmentation_scale",)),
    Fault("random scale on a fixed canvas", "scale-on-fixed-canvas", overlays=("swap/augmentation_scale",)),
    Fault("smaller base resolution", "train-test-resolution", overlays=("swap/augmentation_base_resolution",)),
    Fault("tests at half the resolution", "train-test-resolution", ("protocol.base_size=64",)),
    Fault("base size of another data set", "protocol-base-size", ("protocol.base_size=256",)),
    Fault("distorted aspect", "aspect-distorted", (f"{STEPS}.scale.aspect_ratio=[0.5,2]",)),
    Fault("no rotation", "rotation-unlike-official", (f"{STEPS}.rotate=null",)),
    Fault("rotation by 45 degrees", "rotation-unlike-official", (f"{STEPS}.rotate.rotate=[-45,45]",)),
    Fault("vertical mirror", "upside-down", with_step("upside", f"{STEP}.RandomVerticalFlip", "crop")),
    Fault("never mirrored", "mirror-unlike-official", (f"{STEPS}.flip.p=0",)),
    Fault("shift before the crop", "extra-shift", overlays=("swap/augmentation_shift",)),
    Fault("elastic warp", "elastic-warp", with_step("elastic", f"{OWN}.Elastic", "crop")),
    Fault("crop of another size", "output-size", (f"{STEPS}.crop.size=[25,25]",)),
)
LABEL_AND_VALUE_FAULTS = (
    Fault("bilinear labels", "label-interpolated", with_step("smooth", f"{OWN}.SmoothLabel", "crop")),
    Fault("label not mirrored", "label-misaligned", with_step("half", f"{OWN}.MirrorImageOnly", "crop")),
    Fault("crop pads with class 0", "padding-not-ignored", (f"{STEPS}.crop.ignore_label=0", "data.crop=[65,65]")),
    Fault("rotation fills with class 0", "padding-not-ignored", (f"{STEPS}.rotate.ignore_label=0",)),
    Fault("a class is hidden", "visible-ignored", with_step("hide", f"{OWN}.HideClass", "crop")),
    Fault("half of the draws are empty", "nothing-visible", with_step("gone", f"{OWN}.OnlyPadding", "crop")),
    Fault("statistics of 0..1", "normalisation-range",
          (f"{STEPS}.normalize.mean=[0.485,0.456,0.406]", f"{STEPS}.normalize.std=[0.229,0.224,0.225]")),
    Fault("images of 0..1", "normalisation-range", with_step("unit", f"{OWN}.UnitRange", "to_tensor")),
    Fault("no division by the deviation", "normalisation-range", (f"{STEPS}.normalize.std=null",)),
    Fault("statistics in reverse order", "normalisation-unlike-test",
          (f"{STEPS}.normalize.mean=[103.53,116.28,123.675]",)),
    Fault("mean 127.5", "normalisation-unlike-test", (f"{STEPS}.normalize.mean=[127.5,127.5,127.5]",)),
    Fault("BGR", "channel-order", with_step("swap", f"{STEP}.RGB2BGR", "to_tensor")),
    Fault("colour augmentation", "colour-augmentation", with_step("light", f"{OWN}.Contrast", "to_tensor")),
    Fault("step that fails", "component-refused", with_step("fails", f"{OWN}.Fails", "to_tensor")),
    Fault("box blur", "blur-unlike-official", overlays=("swap/augmentation_blur",)),
    Fault("no blur", "blur-unlike-official", (f"{STEPS}.blur=null",)),
    Fault("other order of the steps", "augmentation-steps", overlays=("swap/augmentation_order",)),
    Fault("argument that albumentations drops", "component-refused",
          ("augmentation.extra=[{name: Rotate, limit: 10, mask_value: 255}]",),
          ("swap/augmentation_albumentations",)),
)  # fmt: skip
RANDOM_FAULTS = (
    Fault("every epoch replays the draws", "draws-replayed", ("sampling.replay_augmentation=true",)),
    Fault("workers share a generator", "draws-shared-by-workers",
          (*with_step("own", f"{OWN}.OwnGenerator", "to_tensor"), f"{STEPS}.scale=null",
           f"{STEPS}.blur=null", f"{STEPS}.rotate=null", f"{STEPS}.flip=null", f"{STEPS}.crop.crop_type=center")),
    Fault("draws that no seed reaches", "draws-not-repeatable",
          with_step("noise", f"{OWN}.SystemDraws", "to_tensor")),
    Fault("unseeded", "unseeded", ("experiment.seed=null", "sampling.seed_stream=reference")),
    Fault("not shuffled", "not-shuffled", ("sampling.shuffle=false",)),
    Fault("no randomness", "nothing-random",
          (f"{STEPS}.scale=null", f"{STEPS}.blur=null", f"{STEPS}.rotate=null", f"{STEPS}.flip=null",
           f"{STEPS}.crop.crop_type=center")),
)  # fmt: skip
RATE_FAULTS = (
    Fault("heads at the backbone's rate", "head-rate", overlays=("swap/head_lr",)),
    Fault("schedule overwrites the groups' rates", "group-rates-overwritten",
          ("callbacks.one_cycle.same_rate_for_all_groups=true",), ("swap/schedule",)),
    Fault("ten times the rate", "base-rate", ("optimizer.lr=0.1",)),
    Fault("rate not scaled with the batch", "rate-per-image", ("sampling.batch_size=4",)),
    Fault("no schedule", "rate-constant", ("callbacks.poly_lr=null",)),
    Fault("rate 0", "rate-zero", ("optimizer.lr=0",)),
    Fault("warm-up", "warm-up", overlays=("swap/schedule",)),
    Fault("rate does not fall", "rate-ends-high", ("callbacks.poly_lr.power=0.05",)),
    Fault("schedule one epoch ahead", "schedule-ends-early", ("sampling.batch_size=4",), ("swap/schedule",)),
    Fault("schedule stepped once a process", "rate-zero-early", new_schedule(f"{OWN}.TooFast")),
    Fault("linear schedule", "schedule-unlike-poly", ("callbacks.poly_lr.power=1.0",)),
    Fault("warm restart", "rate-rises", new_schedule(f"{OWN}.Restart")),
    Fault("schedule by epoch", "rate-changes-by-epoch",
          (*new_schedule(f"{OWN}.ByEpoch"), "sampling.batch_size=4")),
    Fault("no momentum", "no-momentum", ("optimizer.momentum=0",)),
    Fault("momentum 0.95", "momentum-unlike-official", ("optimizer.momentum=0.95",)),
    Fault("momentum cycle", "momentum-unlike-official", overlays=("swap/momentum",)),
    Fault("Nesterov momentum", "nesterov-momentum", ("optimizer.nesterov=true",)),
    Fault("Nesterov momentum in a cycle", "nesterov-momentum", ("optimizer.nesterov=true",), ("swap/momentum",)),
    Fault("dampening", "dampened-gradients", ("optimizer.dampening=0.9",)),
    Fault("maximize", "gradient-ascent", ("optimizer.maximize=true",)),
    Fault("a decay rule that hits nothing", "rule-without-parameters",
          ("optimizer={_target_: torch.optim.SGD, lr: 0.01, momentum: 0.9, weight_decay: 0.0001, groups: {_target_: "
           "catalyst_cityscapes.optim.groups_by_rule, rules: {pos_block: {decay_mult: 0}, aux: {lr_mult: 10}}}}",)),
    Fault("AdamW upwards", "gradient-ascent",
          ("optimizer={_target_: torch.optim.AdamW, lr: 0.0001, maximize: true}",)),
    Fault("no weight decay", "no-weight-decay", ("optimizer.weight_decay=0",)),
    Fault("weight decay 5e-4", "weight-decay-unlike-official", ("optimizer.weight_decay=0.0005",)),
    Fault("biases do not decay", "weight-decay-exceptions", (NO_DECAY_GROUPS + "skip_bias: true}",)),
    Fault("backbone decays less", "weight-decay-by-part",
          (NO_DECAY_GROUPS + "skip_bias: false, backbone_decay: 0.00003}",)),
    Fault("decoupled decay", "weight-decay-decoupled",
          ("optimizer={_target_: catalyst_cityscapes.optim.DecoupledSGD, lr: 0.01, momentum: 0.9, "
           "weight_decay: 0.0001, groups: {_target_: catalyst_cityscapes.optim.reference_groups}}",)),
    Fault("AdamW", "optimizer-unlike-official",
          ("optimizer={_target_: torch.optim.AdamW, lr: 0.0001, weight_decay: 0.01}",)),
)  # fmt: skip
BATCH_FAULTS = (
    Fault("batch 8", "batch-unlike-official", ("sampling.batch_size=8",)),
    Fault("10 images a process", "batch-unlike-official", processes=2, overlays=("swap/batch",)),
    Fault("no SyncBN", "small-batch-norm-group", overlays=("swap/sync_bn",)),
    Fault("batch 4 on one GPU", "small-batch-norm-group", ("sampling.batch_size=4",), processes=1),
    Fault("5 processes share 16 images", "batch-rounded-down", processes=5),
    Fault("fewer and larger steps", "fewer-steps", ("sampling.batch_size=32",)),
    Fault("smaller last batch", "last-batch", ("sampling.drop_last=false", "sampling.batch_size=12"), processes=1),
    Fault("a third of the images dropped", "images-dropped", ("sampling.batch_size=20",), processes=1),
    Fault("accumulation", "gradient-accumulation", ("callbacks.gradient_step.accumulation_steps=2",)),
    Fault("clipping", "gradient-clipping", ("callbacks.gradient_step.clip_norm=1.0",)),
    Fault("batch larger than the list", "component-refused", ("sampling.batch_size=64",)),
)
NETWORK_FAULTS = (
    Fault("dropout 0.5", "dropout-unlike-official", ("model.dropout=0.5",)),
    Fault("batch norm momentum 1", "batch-norm-settings", network="support.networks.small.TinyLogits"),
    Fault("no auxiliary head", "aux-head-missing", network=f"{OWN}.OneHead"),
    Fault("frozen layer", "frozen-parameters", network=f"{OWN}.Frozen"),
    Fault("auxiliary loss counts fully", "aux-weight", ("callbacks.aux_loss.weight=1.0",)),
    Fault("criterion without ignore index", "ignored-pixels-trained", ("criterion.ignore_index=-100",)),
    Fault("criterion ignores class 0", "class-not-learned", ("criterion.ignore_index=0",)),
    Fault("class weights", "class-weights",
          ("criterion={_target_: support.faults.components.WeightedLoss, ignore_index: 255}",)),
    Fault("label smoothing", "loss-unlike-official", ("criterion.label_smoothing=0.1",)),
    Fault("fp16", "precision-unlike-official", overlays=("swap/precision",)),
    Fault("another network", "other-network", overlays=("swap/model_smp",), network=None,
          settings=("model.encoder=resnet18", "model.encoder_depth=3", "model.psp_channels=16")),
)  # fmt: skip
PSPNET_FAULTS = (
    Fault("crop of 32", "crop-refused", ("data.crop=[32,32]", "protocol.crop=[33,33]"), network=None),
    Fault("zoom factor 1", "smaller-logits", ("model.zoom_factor=1",), network=None),
    Fault("random weights", "random-initial-weights", network=None),
    Fault("no file of weights", "initial-weights-missing", ("model.pretrained=nowhere.pth",), network=None),
    Fault("weights of another network", "initial-weights-do-not-fit", ("model.pretrained={city}/weights.pth",),
          plant=wrong_weights, network=None),
    Fault("torchvision's stem", "other-network", overlays=("swap/stem_torchvision",), network=None),
)  # fmt: skip
SCORING_FAULTS = (
    Fault("best by validation loss", "selection-not-by-miou", overlays=("swap/model_selection",)),
    Fault("best by mIoU", "selection-of-best",
          (VALIDATED, "callbacks.checkpoint.select=best", "callbacks.checkpoint.metric=mIoU")),
    Fault("lowest mIoU is best", "selection-direction",
          (VALIDATED, "callbacks.checkpoint.metric=mIoU", "callbacks.checkpoint.minimize=true")),
    Fault("best without validation", "best-never-written",
          ("callbacks.checkpoint.select=best", "callbacks.checkpoint.metric=mIoU")),
    Fault("early stopping", "early-stopping",
          (VALIDATED, f"callbacks.early_stopping={{_target_: {CALLBACK}.EarlyStopping}}")),
    Fault("validates on centre crops", "validation-unlike-test", (VALIDATED,)),
    Fault("validates on part of the list", "validation-unlike-test",
          (VALIDATED, "validation.protocol=test", "validation.images=2")),
    Fault("mean over batches", "metric-averaged-over-batches", overlays=("swap/validation_metric",)),
    Fault("ignored pixels counted", "metric-counts-ignored",
          ("callbacks.mean_iou={_target_: support.faults.components.IgnoredAsLast}",)),
    Fault("metric ignores another value", "component-refused", ("callbacks.mean_iou.ignore_index=254",)),
    Fault("no metric", "no-metric", ("callbacks.mean_iou=null",)),
    Fault("no checkpoint", "no-checkpoint", ("callbacks.checkpoint=null",)),
    Fault("no optimiser step", "nothing-trains", ("callbacks.gradient_step=null",)),
    Fault("no loss", "nothing-trains", ("callbacks.aux_loss=null",)),
    Fault("no flip", "protocol-flip", ("protocol.flip=false",)),
    Fault("several scales", "protocol-scales", ("protocol.name=semseg-ms",)),
    Fault("window unlike the crop", "protocol-window", ("protocol.crop=[65,65]",)),
    Fault("half strides", "protocol-stride", ("protocol.stride_rate=0.5",)),
    Fault("other scorer", "protocol-scorer", ("protocol.name=official",)),
    Fault("number of another protocol", "expected-of-other-protocol", (PUBLISHED, "protocol.flip=false")),
)  # fmt: skip

FAULTS = (
    *DATA_FAULTS,
    *GEOMETRY_FAULTS,
    *LABEL_AND_VALUE_FAULTS,
    *RANDOM_FAULTS,
    *RATE_FAULTS,
    *BATCH_FAULTS,
    *NETWORK_FAULTS,
    *PSPNET_FAULTS,
    *SCORING_FAULTS,
)
"""Every planted fault."""
