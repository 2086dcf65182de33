"""The recipe: which top-level keys there are and what each holds. Everything that can change a score is one of them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator

from semseg_ref.protocol import Protocol

Node = dict[str, Any]
"""A component: `_target_` (dotted name) and its arguments."""


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values keep their type."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Experiment(Section):
    """Name, seed and length of a run, and where it writes.

    `seed: null` is an unseeded run, as the official configs are.
    """

    name: str = Field(pattern=r"^[\w.-]+$")
    seed: int | None = Field(default=0, ge=0)
    epochs: PositiveInt
    logdir: str


class Data(Section):
    """A data set in the reference's list format. Paths are relative to the working folder, list entries to `root`."""

    root: str
    train_list: str
    val_list: str
    classes: int = Field(ge=2, le=255)
    ignore_index: int = Field(default=255, ge=0, le=255)
    crop: tuple[PositiveInt, PositiveInt]
    names: str
    colors: str


class Sampling(Section):
    """Order and batches of the training samples.

    `batch_size` and `workers` are totals over all processes, unless `per_process` (the earlier attempt's way).
    `seed_stream: named` draws from `experiment.seed`; `reference` leaves `random` and the order to torch, as the
    reference does. `replay_augmentation` repeats each sample's draws in every epoch (the earlier attempt's
    loaders).
    """

    batch_size: PositiveInt
    workers: int = Field(default=0, ge=0)
    drop_last: bool = True
    shuffle: bool = True
    seed_stream: Literal["named", "reference"] = "named"
    per_process: bool = False
    replay_augmentation: bool = False
    persistent_workers: bool = False


class Engine(Section):
    """Device and arithmetic. `fp32` is true float32; `tf32` lets convolutions and products use TF32."""

    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    device: Literal["auto", "cpu", "cuda"] = "auto"


class Validation(Section):
    """In-training validation: every so many epochs (0 = off, as in the reference), on the reference's centre crop."""

    every: int = Field(default=0, ge=0)
    batch_size: PositiveInt = 8


class ProtocolSection(Section):
    """How a checkpoint is scored; `value` is the `semseg_ref.protocol.Protocol`."""

    name: str | None = None
    crop: tuple[PositiveInt, PositiveInt]
    base_size: PositiveInt
    scales: tuple[float, ...] = (1.0,)
    flip: bool = True
    stride_rate: float = Field(default=2 / 3, gt=0, le=1)

    def value(self) -> Protocol:
        """The protocol.

        Raises:
            OptionError: a value that no protocol can have.
        """
        return Protocol(**self.model_dump())


class Expected(Section):
    """A published or measured result of this very recipe and protocol, for comparison after the test."""

    miou: float = Field(alias="mIoU", ge=0, le=1)
    tolerance: float = Field(gt=0, le=1)
    source: str


class Recipe(Section):
    """A whole recipe. `model`, `criterion`, `optimizer`, `augmentation` and each callback are nodes."""

    experiment: Experiment
    data: Data
    sampling: Sampling
    augmentation: Node
    model: Node
    criterion: Node
    optimizer: Node
    callbacks: dict[str, Node | None]
    engine: Engine = Engine()
    validation: Validation = Validation()
    protocol: ProtocolSection
    expected: Expected | None = None

    @field_validator("augmentation", "model", "criterion", "optimizer")
    @classmethod
    def _has_target(cls, node: Node) -> Node:
        if not isinstance(node.get("_target_"), str):
            raise ValueError("expected a node with a '_target_' (dotted name)")
        return node
