"""The recipe: which top-level keys there are and what each holds. Everything that can change a score is one of them.

Each key says in its `Role` what it affects, or the section above it does for all of its keys.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    WrapValidator,
    field_validator,
    model_validator,
)

from catalyst_cityscapes.recipe.named_protocols import NAMED
from catalyst_cityscapes.recipe.nodes.renamed import with_current_names
from catalyst_cityscapes.recipe.role import NOTHING, Role
from semseg_ref.base.errors import OptionError
from semseg_ref.protocol import WHOLE_IMAGE, Protocol, whole

Node = dict[str, Any]
"""A component: `_target_` (dotted name) and its arguments."""


FREE = Role("setting", affects=NOTHING)
"""Where files are, what is shown, and what is carried out otherwise with the same numbers."""
LENGTH = Role(
    "epochs",
    affects="length",
    resume="the schedule is stretched or cut from here on, so this is no longer the run of either length",
)
LAST_BITS = "the last bits may differ on a GPU"


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values keep their type."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Experiment(Section):
    """Name, seed and length of a run, and where it writes.

    `seed: null` is an unseeded run, as the official configs are. `weights` names a checkpoint of a whole network to
    start from (fine-tuning); its classifiers stay random where the classes are others. Null: the network's own start.
    The length is one of `epochs` and `iterations`, which are optimiser steps.
    """

    name: Annotated[str, FREE] = Field(pattern=r"^[\w.-]*[\w-][\w.-]*$")
    # A lab sets the seed of each of its runs.
    seed: Annotated[int | None, Role("seed", affects="draws", topics="seed", counted=False)] = Field(default=0, ge=0)
    epochs: Annotated[PositiveInt | None, LENGTH] = None
    iterations: Annotated[PositiveInt | None, LENGTH] = None
    logdir: Annotated[str, FREE]
    weights: Annotated[str | None, Role("weights", affects="network", topics="")] = None

    @model_validator(mode="after")
    def _one_length(self) -> "Experiment":
        if (self.epochs is None) == (self.iterations is None):
            given = "neither" if self.epochs is None else f"epochs: {self.epochs} and iterations: {self.iterations}"
            raise ValueError(f"expected one of epochs and iterations, got {given}; set the other one to null")
        return self


class Data(Section):
    """A data set in the reference's list format. Paths are relative to the working folder, list entries to `root`.

    `test_list` names images without labels, one a line, for the test server. `cache` is a folder for the decoded
    images, built on first use; null decodes them in each epoch. The pixels are the same.
    """

    root: Annotated[
        str,
        Role(
            "data",
            affects="data",
            resume="the images must be the same ones",
            topics="train_data test_data image_size",
        ),
    ]
    train_list: Annotated[str, Role("data", affects="data", topics="train_data image_size")]
    val_list: Annotated[
        str,
        Role(
            "data",
            affects="data",
            resume="validation is on other images from here on",
            topics="test_data image_size",
        ),
    ]
    test_list: Annotated[str | None, FREE] = None
    classes: Annotated[int, Role("data", affects="data", topics="data_classes labels")] = Field(ge=2, le=255)
    ignore_index: Annotated[int, Role("data", affects="data", topics="labels")] = Field(default=255, ge=0, le=255)
    crop: Annotated[tuple[PositiveInt, PositiveInt], Role("crop", affects="data", topics="")]
    names: Annotated[str, Role("data", affects="report", resume=True)]
    colors: Annotated[str, Role("data", affects="report", resume=True)]
    cache: Annotated[str | None, FREE] = None


class Sampling(Section):
    """Order and batches of the training samples.

    `batch_size` and `workers` are totals over all processes, unless `per_process` (the 2020 Catalyst attempt's way).
    `seed_stream: named` draws from `experiment.seed`; `reference` leaves `random` and the order to torch, as the
    reference does. `replay_augmentation` repeats each sample's draws in every epoch (the 2020 Catalyst attempt's
    loaders). `persistent_workers` keeps the loader's processes between epochs; with `across_epochs` they also go on
    with the next epoch's batches while this one ends, instead of all starting on one together.
    `order: endless` is mmsegmentation's: one permutation after the other without end, so that batches straddle their
    borders and no image is dropped; for `experiment.iterations`. Under `seed_stream: reference` it is seeded as there.
    """

    batch_size: Annotated[PositiveInt, Role("batch", affects="batch")]
    # The draws of seed_stream: reference depend on the number of processes that draw.
    workers: Annotated[int, Role("seed_stream", affects="draws", resume=True)] = Field(default=0, ge=0)
    drop_last: Annotated[bool, Role("drop_last", affects="batch")] = True
    shuffle: Annotated[bool, Role("shuffle", affects="draws", topics="order")] = True
    seed_stream: Annotated[Literal["named", "reference"], Role("seed_stream", affects="draws", topics="seed")] = "named"
    per_process: Annotated[bool, Role("batch", affects="batch")] = False
    replay_augmentation: Annotated[bool, Role("replayed_draws", affects="draws", topics="replay")] = False
    persistent_workers: Annotated[bool, FREE] = False
    across_epochs: Annotated[bool, FREE] = False
    # An endless order has no epochs, so that a ladder changes the two together.
    order: Annotated[
        Literal["epoch", "endless"], Role("order", affects="draws", topics="order", component="epochs")
    ] = "epoch"

    @model_validator(mode="after")
    def _draws_are_positions(self) -> "Sampling":
        if self.across_epochs and self.seed_stream != "named":
            raise ValueError("across_epochs needs seed_stream: named, orders known beforehand; set it to false")
        return self


class Engine(Section):
    """Device, arithmetic, and how a training step is carried out.

    `fp32` is true float32; `tf32` lets convolutions and products use TF32. `memory_format`, `compile` and
    `activation_checkpointing` (names of the network's children whose activations are recomputed) are those of
    `catalyst_cityscapes.models.acceleration`.
    `resize: products` takes its resizes as products of matrices in training.
    `transfer: overlapped` copies batches to a GPU beside the step before, with labels as bytes.
    `timeout_minutes` is how long a process waits for the others before it gives the run up.
    `deterministic` takes torch's deterministic algorithms wherever there are any; `cudnn_benchmark` times cuDNN's and
    takes the fastest, where a seeded run otherwise takes the deterministic ones, as the reference does.
    """

    precision: Annotated[
        Literal["fp32", "tf32", "bf16", "fp16"], Role("precision", affects="arithmetic", topics="precision")
    ] = "fp32"
    # Both arms have `device` and `deterministic`, and all runs of a lab are on one device.
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Role(
            "device",
            affects="arithmetic",
            resume="the last bits differ between devices",
            control=True,
            counted=False,
        ),
    ] = "auto"
    timeout_minutes: Annotated[PositiveFloat, FREE] = 30.0
    memory_format: Annotated[Literal["contiguous", "channels_last"], Role("memory_format", affects="arithmetic")] = (
        "contiguous"
    )
    compile: Annotated[
        Literal["default", "reduce-overhead", "max-autotune"] | None, Role("compile", affects="arithmetic")
    ] = None
    activation_checkpointing: Annotated[
        tuple[str, ...], Role("activation_checkpointing", affects="speed", resume=True)
    ] = ()
    transfer: Annotated[Literal["plain", "overlapped"], FREE] = "plain"
    resize: Annotated[Literal["interpolate", "products"], Role("resize", affects="arithmetic")] = "interpolate"
    deterministic: Annotated[
        bool,
        Role("deterministic", affects="arithmetic", resume=LAST_BITS, control=True, counted=False),
    ] = False
    cudnn_benchmark: Annotated[bool, Role("cudnn_benchmark", affects="arithmetic", resume=LAST_BITS)] = False

    @model_validator(mode="after")
    def _goes_together(self) -> "Engine":
        if self.deterministic and self.cudnn_benchmark:
            raise ValueError("deterministic and cudnn_benchmark exclude each other; set one of them to false")
        if self.compile is not None and self.activation_checkpointing:
            raise ValueError("compile cannot recompute activations; set compile: null or activation_checkpointing: []")
        return self


class Validation(Section):
    """In-training validation: every so many epochs, or iterations where the recipe counts those (0 = off, as in the
    reference; null = each epoch, or every tenth of the iterations).

    `protocol: crop` scores the reference's centre crop, `batch_size` images at a time. `protocol: test` scores with the
    recipe's own protocol, image by image, by the same code as `catalyst-dl test`, so that the two cannot disagree.
    `images: N` takes a fixed, evenly spaced part of the list.
    """

    every: int | None = Field(default=0, ge=0)
    batch_size: PositiveInt = 8
    protocol: Literal["crop", "test"] = "crop"
    images: PositiveInt | None = None


BOXED = frozenset(name for name, protocol in NAMED.items() if protocol.box)


def _one_of(numbers: Any, *words: str, pair: bool = False) -> WrapValidator:
    """Words beside numbers: of a union of types alone the errors would name every member.

    Args:
        numbers: the type of all that is not one of the words.
        pair: lists are two positive whole numbers, whatever `numbers` is.
    """
    other, two = TypeAdapter(numbers), TypeAdapter(tuple[PositiveInt, PositiveInt])

    def check(value: Any, _: Any) -> Any:
        if isinstance(value, str) and value in words:
            return value
        if isinstance(value, str):
            raise ValueError(f"expected {' or '.join(words)}, or numbers")
        return (two if pair and isinstance(value, (list, tuple)) else other).validate_python(value)

    return WrapValidator(check)


class ProtocolSection(Section):
    """How a checkpoint is scored; `value` is the `semseg_ref.protocol.Protocol`.

    A name (see `recipe.named_protocols`) is enough: loading fills in what it means, and takes `data.crop` for the
    windows. What depends on the images stays open until they can be looked at: the base size, which is their long side
    (or box, in mmsegmentation's protocols), and the window of `whole`. The keys are the fields of `Protocol`.

    `mean` and `std` are the normalisation in grey levels; null takes the training's (`recipe.normalisation`). A mean
    without a std only subtracts.
    """

    name: Annotated[
        Literal["semseg-ss", "semseg-ms", "whole", "official", "mmseg-whole", "mmseg-slide", "mmseg-tta"] | None,
        Role("protocol", affects=NOTHING, topics="test"),  # what it means is filled in
    ] = None
    crop: Annotated[
        tuple[PositiveInt, PositiveInt] | Literal["image"] | None,
        _one_of(tuple[PositiveInt, PositiveInt] | None, WHOLE_IMAGE),
    ] = None
    base_size: Annotated[
        PositiveInt | tuple[PositiveInt, PositiveInt] | Literal["image"] | None,
        _one_of(PositiveInt | None, WHOLE_IMAGE, pair=True),
    ] = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = True
    stride_rate: float = Field(default=2 / 3, gt=0, le=1)
    scorer: Literal["semseg", "cityscapesscripts"] = "semseg"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    rounding: Literal["half_even", "half_up"] = "half_even"
    resize: Literal["opencv", "opencv_uint8", "pillow", "aligned"] = "opencv"
    pad_to: Annotated[PositiveInt | Literal["crop", "none"], _one_of(PositiveInt, "crop", "none")] = "crop"
    pad_at: Literal["centre", "end"] = "centre"
    pad_value: tuple[float, float, float] | None = None
    stride: tuple[PositiveInt, PositiveInt] | None = None
    softmax: Literal["window", "view", "never"] = "window"
    mirrored: Literal["window", "image"] = "window"
    resize_back: Literal["bilinear", "bilinear_aligned", "nearest"] = "bilinear"

    @property
    def is_open(self) -> bool:
        """Whether the size of the images is needed for `value`."""
        return self.base_size is None or (self.crop is None and self.name == "whole")

    @property
    def long_side(self) -> int | None:
        """Length in pixels of an image's long side at scale 1; None where it depends on the images."""
        base = max(self.base_size) if isinstance(self.base_size, tuple) else self.base_size
        return base if isinstance(base, int) else None

    def value(self, image_size: tuple[int, int] | None = None) -> Protocol:
        """The protocol, with the reference's normalisation where `mean` is null; `protocols.protocol_value` is what a
        recipe is tested with.

        Args:
            image_size: (height, width) of the data set's images; only needed where `is_open`.

        Raises:
            OptionError: a value that no protocol can have, or one that is missing.
        """
        values = self.model_dump()
        if self.mean is None:
            if self.std is not None:
                raise OptionError("protocol: std goes with a mean")
            del values["mean"], values["std"]
        if self.is_open:
            if image_size is None:
                raise OptionError("protocol: crop and base_size are open until the size of the images is known")
            fitted = whole(*image_size)
            of_images = (max(image_size), min(image_size)) if self.name in BOXED else fitted.base_size
            values["base_size"] = self.base_size or of_images
            if self.name == "whole":
                values["crop"] = self.crop or fitted.crop
        if values["crop"] is None:
            raise OptionError("protocol: crop is missing; only a named protocol can do without")
        return Protocol(**values)


class Expected(Section):
    """A published or measured result of this very recipe, for comparison after the test, and what it goes by.

    `protocol` is the name of the protocol it was measured with; None where the recipe's own is meant. `recipe` is the
    published recipe that this one is held against (lint), by its shipped name or file: its own name in a published
    recipe, and so that one's in what is made from it. `mIoU: null` says that no number is known, as of a recipe that
    differs from the published one.
    """

    miou: float | None = Field(default=None, alias="mIoU", ge=0, le=1)
    protocol: str | None = None
    tolerance: float | None = Field(default=None, gt=0, le=1)
    source: str | None = None
    recipe: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _number_is_whole(self) -> "Expected":
        missing = [name for name in ("tolerance", "source") if getattr(self, name) is None]
        if self.miou is not None and missing:
            raise ValueError(f"mIoU goes with a tolerance and a source; missing: {', '.join(missing)}")
        if self.miou is None and self.recipe is None:
            raise ValueError("neither mIoU nor recipe; give one, or expected: null")
        return self


class Recipe(Section):
    """A whole recipe. `model`, `criterion`, `optimizer`, `augmentation` and each callback are nodes."""

    experiment: Experiment
    data: Data
    sampling: Sampling
    augmentation: Annotated[Node, Role("augmentation", affects="augmentation")]
    model: Annotated[Node, Role("model", affects="network")]
    criterion: Annotated[Node, Role("criterion", affects="loss")]
    optimizer: Annotated[Node, Role("optimizer", affects=("rates", "momentum", "decay"))]
    callbacks: dict[str, Node | None]
    engine: Engine = Engine()
    validation: Annotated[
        Validation,
        Role(
            "model_selection",
            affects=("metrics", "selection"),
            resume="epochs are validated otherwise from here on",
            topics="validation",
        ),
    ] = Validation()
    protocol: Annotated[ProtocolSection, Role("protocol", affects="test", resume=True)]
    expected: Annotated[Expected | None, FREE] = None

    def plain(self) -> dict[str, Any]:
        """The recipe as nested mappings, lists and scalars, as JSON and YAML hold it."""
        return self.model_dump(mode="json", by_alias=True)

    @model_validator(mode="after")
    def _order_has_a_length(self) -> "Recipe":
        if self.sampling.order == "endless" and self.experiment.iterations is None:
            raise ValueError("sampling.order: endless has no epochs; set experiment.iterations")
        if self.sampling.order == "endless" and self.experiment.seed is None:
            raise ValueError("sampling.order: endless needs experiment.seed, which all processes share")
        return self

    @model_validator(mode="before")
    @classmethod
    def _current_names(cls, content: Any) -> Any:
        # Here, so that a recipe from a file, a run folder or a checkpoint is compared and built under one name.
        return with_current_names(content)

    @field_validator("augmentation", "model", "criterion", "optimizer")
    @classmethod
    def _has_target(cls, node: Node) -> Node:
        if not isinstance(node.get("_target_"), str):
            raise ValueError("expected a node with a '_target_' (dotted name)")
        return node
