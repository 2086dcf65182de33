"""The runner: a recipe as a Catalyst `SupervisedRunner`.

Everything random is drawn from `semseg_ref.base.seed_streams.SeedStreams` at the same positions as in the control arm,
so that both arms see the same weights, images, augmentation and dropout.
"""

import contextlib
import os
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from catalyst import dl
from catalyst.core.callback import Callback, ICriterionCallback
from catalyst.core.logger import ILogger
from catalyst.loggers.tensorboard import TensorboardLogger
from torch import nn
from torch.utils.data import DataLoader

from catalyst_cityscapes.models.acceleration import (
    FORMATS,
    apply_memory_format,
    checkpoint_activations,
    compile_loss,
    compile_network,
    use_products_for_resizes,
)
from catalyst_cityscapes.models.contract import check_network
from catalyst_cityscapes.models.outputs import (
    align_corners_of,
    check_sides,
    outputs_of,
    resized_for_loss,
    warn_of_assumed_alignment,
)
from catalyst_cityscapes.models.random_at_test import seeded_draws, streams_of_test
from catalyst_cityscapes.models.resizing import Resizing
from catalyst_cityscapes.optim.from_recipe import recipe_groups
from catalyst_cityscapes.optim.momenta import start_momenta
from catalyst_cityscapes.recipe.consistency import check_consistency
from catalyst_cityscapes.recipe.nodes.step_owners import check_built_roles
from catalyst_cityscapes.recipe.nodes.targets import build, without_pretrained
from catalyst_cityscapes.recipe.nodes.tensor_arguments import check_criterion
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.runs.disk_space import checkpoint_bytes
from catalyst_cityscapes.train.context import LossCallback, Losses, StepCallback
from catalyst_cityscapes.train.engine import SegmentationEngine, lost_process
from catalyst_cityscapes.train.input_check import check_training_input
from catalyst_cityscapes.train.loaders import build_loaders, check_smallest_batch
from catalyst_cityscapes.train.preemption import Consensus, StopSignals
from catalyst_cityscapes.train.resume import (
    read_training_state,
    training_state,
)
from catalyst_cityscapes.train.rounds import RoundRunner
from catalyst_cityscapes.train.transfer import Copier
from catalyst_cityscapes.train.validation import place_in_list, predict_batch
from semseg_ref.base.arithmetic import deterministic_algorithms
from semseg_ref.base.checkpoints.fine_tuning import start_from
from semseg_ref.base.checkpoints.state_dict import load_state, weights_in
from semseg_ref.base.console import warn
from semseg_ref.base.errors import OptionError
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.checks.batch import TORCH_SAYS
from semseg_ref.checks.workers import loader_fault
from semseg_ref.optimizer import load_optimizer_state
from semseg_ref.protocol import WHOLE_IMAGE, Protocol


class SegmentationRunner(RoundRunner):
    """Trains a recipe.

    The order of a training step, and what callbacks may read and write, is in `train.context`. Batches are
    (image float [N, 3, H, W], target int64 [N, H, W]); the network gives `models.outputs.Outputs`. What callbacks find
    in `runner.batch` is in `train.context.LossRun`.

    Beside Catalyst's events, a callback may define `convert_model(model, runner) -> model`, called on the bare
    network before it is wrapped for DDP (Catalyst starts callbacks only afterwards); `check_before_run(runner)`, before
    anything is written; `prepare_checkpoint(runner)`, on all ranks before a checkpoint is written; `state_dict` /
    `load_state_dict`, kept in checkpoints; and `loader_state` / `load_loader_state`, mappings of tensors and plain
    values, kept for each rank in checkpoints within an epoch; `save_every`, an interval at which a round ends.

    Args:
        recipe: a checked recipe.
        resume: checkpoint of an earlier run of this recipe, or None.
        prepare: called once on the main process when all is built and checked, before anything is written.
        allow_changed: key paths of the recipe that may differ from the checkpoint's.
    """

    def __init__(
        self,
        recipe: Recipe,
        resume: Path | None = None,
        prepare: Callable[[], None] = lambda: None,
        allow_changed: tuple[str, ...] = (),
    ) -> None:
        super().__init__(input_key="features", output_key="logits", target_key="targets")
        self.recipe = recipe
        self.logdir = Path(recipe.experiment.logdir)
        self.resume = resume
        self._prepare, self._allow_changed = prepare, allow_changed
        seed = recipe.experiment.seed
        self.streams = None if seed is None else SeedStreams(seed)
        self._catalyst_seed = int.from_bytes(os.urandom(3), "little") if seed is None else seed
        self._nodes = {
            name: build(node, f"callbacks.{name}") for name, node in recipe.callbacks.items() if node is not None
        }
        check_built_roles(self._nodes, recipe.callbacks)
        self._require(ICriterionCallback, "aux_loss", "nothing would compute the loss without an AuxLossWeighting")
        self._require(StepCallback, "gradient_step", "nothing would train without a GradientStep")
        self.val_protocol: Protocol | None = None
        """How validation images are predicted; None is the centre crop."""
        self.losses: Losses = {}
        self._alignment_is_known = False
        self.skip_batch = False
        self.signals = StopSignals()

    def _require(self, kind: type, name: str, consequence: str) -> None:
        if not any(isinstance(callback, kind) for callback in self._nodes.values()):
            raise OptionError(f"callbacks.{name}: {consequence}")

    def run(self) -> "SegmentationRunner":
        """Runs the experiment; returns itself."""
        with deterministic_algorithms(self.recipe.engine.deterministic):
            return super().run()

    # -- what Catalyst asks for -----------------------------------------------------------------------------------
    @property
    def seed(self) -> int:
        """Catalyst's own seed; it only matters where no named stream is used."""
        return self._catalyst_seed

    @property
    def network(self) -> nn.Module:
        """The bare network, without DDP."""
        return self.engine.unwrap_model(self.model)

    def get_engine(self) -> SegmentationEngine:
        """Engine of the recipe's `engine` section."""
        settings = self.recipe.engine
        # The reference's cuDNN is deterministic when it is seeded; timing the algorithms gives that up.
        deterministic = settings.deterministic or (self.streams is not None and not settings.cudnn_benchmark)
        return SegmentationEngine(
            settings.precision, settings.device, settings.timeout_minutes, deterministic, settings.cudnn_benchmark
        )

    def get_loggers(self) -> dict[str, ILogger]:
        """None yet: Catalyst asks before it builds anything, and bad input must leave the run folder untouched."""
        return {}

    def get_loaders(self) -> "OrderedDict[str, DataLoader]":
        """Training loader, and the validation loader where the recipe validates."""
        for note in check_training_input(self.recipe):
            warn(note)
        engine = self.engine
        loaders, self.val_protocol = build_loaders(
            self.recipe, engine.process_index, engine.num_processes, self.accumulation
        )
        return loaders

    def get_model(self) -> nn.Module:
        """The recipe's network, seeded, with the weights to resume from, after the callbacks' conversions."""
        if self.streams is not None:
            self.streams.seed_init()
        start = self.recipe.experiment.weights
        model = build(self.recipe.model if start is None else without_pretrained(self.recipe.model), "model")
        self._check_network(model)
        if self._checkpoint is not None:
            load_state(model, weights_in(self._checkpoint, self.resume), self.resume)
        elif start is not None:
            start_from(model, start, self.recipe.data.classes, warn)
        model = model.to(self.engine.device)
        for callback in self._nodes.values():
            if hasattr(callback, "convert_model"):
                model = callback.convert_model(model, self)
        engine = self.recipe.engine
        if engine.resize == "products":
            model = use_products_for_resizes(model)
        model = checkpoint_activations(model, engine.activation_checkpointing)
        if engine.memory_format != "contiguous":
            model = apply_memory_format(model, engine.memory_format)
        return model if engine.compile is None else compile_network(model, engine.compile)

    def _check_network(self, model: nn.Module) -> None:
        data = self.recipe.data
        loss = next((callback for callback in self._nodes.values() if isinstance(callback, LossCallback)), None)
        resized = (loss and loss.resize) or resized_for_loss(model)
        aligned = align_corners_of(model) if loss is None or loss.align_corners is None else loss.align_corners
        self.resizing = Resizing(resized, aligned)
        check_sides(model, data.crop, "data.crop")
        if self.val_protocol is not None and self.val_protocol.crop != WHOLE_IMAGE:
            check_sides(model, self.val_protocol.crop, "protocol.crop")
        weights = None if loss is None else loss.weights or None
        unused = check_network(model, data.classes, data.crop, weights, self.resizing)
        if unused:
            warn(
                f"model: {len(unused)} parameter tensors of {type(model).__name__} got no gradient in a trial step "
                f"(first: {unused[0]}); what the outputs do not depend on does not train"
            )
            self.engine.allow_unused_parameters()

    def get_criterion(self) -> nn.Module:
        """The recipe's loss of one head, on the device."""
        criterion = build(self.recipe.criterion, "criterion")
        losses = [callback for callback in self._nodes.values() if isinstance(callback, LossCallback)]
        for each in (criterion, *(own for callback in losses for own in callback.criteria if own is not None)):
            check_criterion(each, self.recipe.data.classes, self.recipe.data.ignore_index)
        criterion = criterion.to(self.engine.device)
        return criterion if self.recipe.engine.compile is None else compile_loss(criterion)

    def get_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The recipe's optimiser over its parameter groups."""
        node, groups = recipe_groups(self.recipe.optimizer, model)
        grouped = {id(parameter) for group in groups for parameter in group["params"]}
        loose = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in grouped]
        if loose:
            raise OptionError(f"optimizer.groups: {len(loose)} parameters are in no group (first: {loose[0]})")
        optimizer = build(node, "optimizer", params=groups)
        if self._checkpoint is not None:
            load_optimizer_state(optimizer, self._checkpoint["optimizer"], self.resume)
        if self.engine.scaler is not None:
            start_momenta(optimizer)
        return optimizer

    def get_scheduler(self, optimizer: torch.optim.Optimizer) -> None:
        """None: schedules are callbacks, since Catalyst 22.4 never steps a scheduler of torch >= 2."""

    def get_callbacks(self) -> "OrderedDict[str, Callback]":
        """The recipe's named callbacks; Catalyst sorts them by order and keeps the recipe's order among equals."""
        return OrderedDict(self._nodes)

    # -- set-up and events ------------------------------------------------------------------------------------------
    def _setup_loaders(self) -> None:
        # Not through accelerate: it pads validation by repeating samples and shards a distributed sampler twice.
        self.loaders = self.get_loaders()
        self._copy = Copier(self.engine.device, self.recipe.engine.transfer)
        # `loaders` lacks it while an epoch is resumed in its validation.
        self.train_loader = self.loaders["train"]
        self.start_counting()

    def on_experiment_start(self, runner: dl.IRunner) -> None:
        """Sets everything up, then takes the position and the callbacks' state from the checkpoint."""
        self._checkpoint, notes = None, []
        if self.resume is not None:
            self._checkpoint, notes = read_training_state(self, self.resume, self._allow_changed)
            if self.recipe.experiment.seed is None:
                self._catalyst_seed = self._checkpoint.get("catalyst_seed", self._catalyst_seed)
        check_consistency(self.recipe)
        super().on_experiment_start(runner)
        check_smallest_batch(self.recipe, self.network, len(self.train_loader.sampler), self.engine.num_processes)
        self.consensus = Consensus(self.engine.num_processes, timedelta(minutes=self.recipe.engine.timeout_minutes))
        self.checkpoint_bytes = checkpoint_bytes(self.network, self.optimizer)
        if self._checkpoint is not None:
            self._restore_state(self._checkpoint)
            self._checkpoint = None  # weights and momenta are not needed twice
        for callback in self._with("check_before_run"):
            callback.check_before_run(self)
        for note in notes:
            warn(note)
        if self.engine.is_main_process:
            self._prepare()
            self.loggers = {"tensorboard": TensorboardLogger(str(self.logdir / "tensorboard"), log_batch_metrics=False)}
        # Until here a signal ends the process at once, since there is nothing to save.
        self.signals.install()

    def _with(self, method: str) -> list[Callback]:
        return [callback for callback in self.callbacks.values() if hasattr(callback, method)]

    def _restore_state(self, checkpoint: dict[str, Any]) -> None:
        self.restore_position(checkpoint)
        if self.engine.scaler is not None and checkpoint.get("scaler"):
            self.engine.scaler.load_state_dict(checkpoint["scaler"])
        for name, state in checkpoint.get("callbacks", {}).items():
            if name in self.callbacks and hasattr(self.callbacks[name], "load_state_dict"):
                self.callbacks[name].load_state_dict(state)

    def state_dict(self) -> dict[str, Any]:
        """Training state at the end of an epoch, beside the weights: what `resume` restores."""
        return training_state(self)

    def prepare_checkpoint(self) -> None:
        """Tells the callbacks, on all ranks, that a checkpoint is about to be written."""
        for callback in self._with("prepare_checkpoint"):
            callback.prepare_checkpoint(self)

    def on_loader_start(self, runner: dl.IRunner) -> None:
        """Starts counting steps; the training order's epoch was set by `on_epoch_start`.

        Without SyncBN each rank has its own running means; the ones that are saved and tested are the main process's.
        """
        super().on_loader_start(runner)
        self.iteration = self.batches_done - 1 if self.is_train_loader else -1
        shared = len(self.loader.dataset) // self.engine.num_processes
        self.common_batches = self.round_batches if self.is_train_loader else -(-shared // self.loader.batch_size)
        if self.val_protocol is not None and not self.is_train_loader:
            self.engine.broadcast(*self.network.buffers())

    def on_batch_start(self, runner: dl.IRunner) -> None:
        """Moves the batch to the device and seeds this step's dropout."""
        self.iteration += 1
        self.losses = {}
        image, target = self.batch
        if self.is_train_loader or self.val_protocol is None:
            image = self._copy(image, FORMATS[self.recipe.engine.memory_format])
        self.batch = [image, self._copy(target).long()]
        super().on_batch_start(runner)
        if not self.is_train_loader:
            return
        self.count_batch()
        if self.streams is not None:
            self.streams.seed_dropout(self.data_epoch, self.data_batch, self.engine.process_index)

    def handle_batch(self, batch: dict[str, Any]) -> None:
        """Forward; main logits and labels come to one size as the loss asks for it, in eval as the test does it."""
        labels = batch["targets"]
        if not self.is_train_loader:
            draws = streams_of_test(self.recipe.experiment.seed)
            index = place_in_list(self.loader, self.iteration)
        if self.val_protocol is not None and not self.is_train_loader:
            prediction, logits = predict_batch(self.network, batch["features"], self.val_protocol, draws, index)
            self.batch = {**batch, "labels": labels, "logits": logits, "outputs": (logits,), "prediction": prediction}
            return
        # Unwrapped in eval: DDP would broadcast buffers, and ranks may have unequal numbers of batches. By `forward`,
        # which is never compiled: a compiler would start again for eval mode and for a last, smaller batch.
        if self.is_train_loader:
            output = self.model(batch["features"])
        else:
            with seeded_draws(self.network, draws.seed("test", index)):
                output = self.network.forward(batch["features"])
        main, *auxiliary = outputs_of(output)
        if not self._alignment_is_known:
            self._alignment_is_known = True
            warn_of_assumed_alignment(self.network, main, labels.shape[-2:])
        resizing = self.resizing if self.is_train_loader else Resizing("logits", align_corners_of(self.network))
        logits, targets = resizing(main, labels)
        self.batch = {
            "features": batch["features"],
            "labels": labels,
            "targets": targets,
            "logits": logits,
            "outputs": (logits, *auxiliary) if self.is_train_loader else (logits,),
        }

    def on_experiment_end(self, runner: dl.IRunner) -> None:
        """Gives the signals back, closes the logs and ends loader processes that were kept between epochs."""
        self.consensus.finish()
        self.signals.remove()
        super().on_experiment_end(runner)
        self._stop_loaders()

    def _stop_loaders(self) -> None:
        for loader in (self.loaders or {}).values():
            if hasattr(loader, "stop"):  # a subclass's may be any DataLoader; an error here would hide the first one
                loader.stop()

    def on_exception(self, runner: dl.IRunner) -> None:
        """Ends loader processes and logs, then raises the error again; a lost process is told with the step."""
        self.signals.remove()
        self._stop_loaders()
        for logger in self.loggers.values():
            with contextlib.suppress(OSError):  # a full disk, which is then the error that is told
                logger.close_log()
        if isinstance(self.exception, ValueError) and TORCH_SAYS in str(self.exception):
            self.exception = OptionError(
                f"sampling.batch_size: {self.recipe.sampling.batch_size}: {self._place()} has too few images for this "
                f"network's batch norm ({self.exception}); make it larger, or set sampling.drop_last: true"
            )
        lost = lost_process(self.exception, self._place(), self.recipe.engine.timeout_minutes)
        self.exception = lost or loader_fault(self.exception, self.recipe.sampling.workers) or self.exception
        super().on_exception(runner)

    def _place(self) -> str:
        if getattr(self, "epoch_step", 0) == 0 or getattr(self, "loader_key", None) is None:
            return "before the first step"
        place = f"epoch {self.epoch_step}"
        if self.length.unit == "iteration":
            place = f"the round up to iteration {self.milestone}"
        return f"{place}, {self.loader_key} step {self.iteration + 1} of {len(self.loader)}"
