"""mIoU, mAcc and allAcc over a whole loader, from one confusion matrix on the device."""

import torch
from catalyst.core.callback import IMetricCallback

from catalyst_cityscapes.recipe.role import Role
from catalyst_cityscapes.train.context import MetricRun, Place, PlacedCallback
from semseg_ref.catalog import load_names
from semseg_ref.metric import areas_from_matrix, scores_from_areas


def count_confusion(prediction: torch.Tensor, target: torch.Tensor, classes: int, ignore_index: int) -> torch.Tensor:
    """Confusion counts of one batch.

    Args:
        prediction: int64 [...], class ids 0..classes-1.
        target: int64 [...], class ids; pixels equal to `ignore_index` do not count.
        classes: K.
        ignore_index: e.g. 255.

    Returns:
        int64 [K, K] on the same device, rows are targets, columns are predictions.
    """
    cells = torch.where(target == ignore_index, classes * classes, target * classes + prediction).flatten()
    size = classes * classes + 1
    counts = count_by_histogram(cells, size) if cells.is_cuda else torch.bincount(cells, minlength=size)
    return counts[:-1].reshape(classes, classes)


def count_by_histogram(cells: torch.Tensor, size: int) -> torch.Tensor:
    """How often each of 0..size-1 occurs, int64 [size]: for a GPU.

    `bincount` would wait for the host there, and `scatter_add_` sends a street's pixels to few addresses. The histogram
    counts in each block's own memory; with whole numbers its bins and its sums are exact, in any order.

    Args:
        cells: [n], whole numbers 0..size-1; integers on a GPU (a CPU's histogram takes floats only, and is the slowest
            of the three).
        size: number of bins.
    """
    return torch.histc(cells, bins=size, min=0, max=size).to(torch.int64)


def prediction_of(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """int64 [N, H, W]: what the test's protocol decided, where it made the batch, else the logits' arg-max."""
    return batch["prediction"] if "prediction" in batch else batch["logits"].detach().argmax(1)


class MeanIoU(PlacedCallback, IMetricCallback):
    """Data-set level scores: areas are summed over the loader and over all ranks before any ratio is taken.

    As in the reference, the means run over all K classes; a class that never occurs counts as 0. Nothing leaves the
    device until the loader ends.

    Args:
        classes: K.
        ignore_index: label that does not count.
        names: class names file, one a line; adds one `iou/NAME` per class on validation loaders.
    """

    place = Place.LOSS

    ROLE = Role(
        "model_selection",
        affects="metrics",
        resume="the log's scores are counted otherwise from here on",
        control=True,
    )

    def __init__(self, classes: int, ignore_index: int = 255, names: str | None = None) -> None:
        super().__init__()
        self.classes, self.ignore_index = classes, ignore_index
        self.names = None if names is None else load_names(names, classes)

    def reported(self, is_train: bool) -> tuple[str, ...]:
        """Names of the metrics of a loader."""
        per_class = () if is_train or self.names is None else tuple(f"iou/{name}" for name in self.names)
        return ("mIoU", "mAcc", "allAcc", *per_class)

    def on_loader_start(self, runner: MetricRun) -> None:
        """Empties the matrix."""
        self.matrix = torch.zeros(self.classes, self.classes, dtype=torch.int64, device=runner.engine.device)

    def loader_state(self) -> dict[str, torch.Tensor]:
        """This process's counts."""
        return {"matrix": self.matrix}

    def load_loader_state(self, state: dict[str, torch.Tensor]) -> None:
        """Restores `loader_state`."""
        self.matrix = state["matrix"]

    def on_batch_end(self, runner: MetricRun) -> None:
        """Adds the batch's arg-max map."""
        prediction = prediction_of(runner.batch)
        self.matrix += count_confusion(prediction, runner.batch["targets"], self.classes, self.ignore_index)

    def on_loader_end(self, runner: MetricRun) -> None:
        """Sums over ranks and reports."""
        runner.engine.sum_reduce(self.matrix)
        scores = scores_from_areas(*areas_from_matrix(self.matrix.cpu().numpy()))
        runner.loader_metrics.update(mIoU=scores.mIoU, mAcc=scores.mAcc, allAcc=scores.allAcc)
        if self.names is not None and runner.is_valid_loader:
            pairs = zip(self.names, scores.iou_class, strict=True)
            runner.loader_metrics.update({f"iou/{name}": float(iou) for name, iou in pairs})


class BatchMeanIoU(PlacedCallback, IMetricCallback):
    """The 2020 Catalyst attempt's validation metric: the mean over batches of each batch's mean IoU; an absent class
    scores 1.

    Biased upwards and not comparable with mIoU; here so that its effect on model selection can be measured.

    Args:
        classes: K.
        ignore_index: label that does not count.
    """

    ROLE = Role("model_selection", affects="metrics")
    place = Place.LOSS

    def __init__(self, classes: int, ignore_index: int = 255) -> None:
        super().__init__()
        self.classes, self.ignore_index = classes, ignore_index

    def reported(self, is_train: bool) -> tuple[str, ...]:
        """Names of the metrics of a loader."""
        return ("batch_mIoU",)

    def on_loader_start(self, runner: MetricRun) -> None:
        """Empties the sum."""
        self._sum = torch.zeros(2, dtype=torch.float64, device=runner.engine.device)

    def loader_state(self) -> dict[str, torch.Tensor]:
        """This process's sum."""
        return {"sum": self._sum}

    def load_loader_state(self, state: dict[str, torch.Tensor]) -> None:
        """Restores `loader_state`."""
        self._sum = state["sum"]

    def on_batch_end(self, runner: MetricRun) -> None:
        """Adds this batch's own mean IoU."""
        prediction = prediction_of(runner.batch)
        matrix = count_confusion(prediction, runner.batch["targets"], self.classes, self.ignore_index).double()
        intersection = matrix.diagonal()
        union = matrix.sum(0) + matrix.sum(1) - intersection
        self._sum[0] += ((intersection + 1e-7) / (union + 1e-7)).mean()
        self._sum[1] += 1

    def on_loader_end(self, runner: MetricRun) -> None:
        """Reports `batch_mIoU`."""
        runner.engine.sum_reduce(self._sum)
        runner.loader_metrics["batch_mIoU"] = float(self._sum[0] / self._sum[1])
