"""Scoring a run's checkpoint, and score files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalyst_cityscapes.api.arguments import DEVICES, check_choice, check_count
from catalyst_cityscapes.api.run import Run
from semseg_ref.base.errors import InputError
from semseg_ref.base.safe.torch_load import no_pickled_code

if TYPE_CHECKING:
    from catalyst_cityscapes.evaluation.score_run import ScoredRun
    from catalyst_cityscapes.recipe.schema import Recipe

NEEDED = ("mIoU", "mAcc", "allAcc", "images", "protocol")


@dataclass(frozen=True)
class Score:
    """What a test found: the content of a score file. A notebook shows it as a table.

    Attributes:
        file: the score file; the predictions lie beside it, in `gray/` and `color/`.
        content: its entries, among them `protocol`, `checkpoint` and `classes`.
        scored: what a picture of it needs; None for a score that was read from its file.
    """

    file: Path
    content: dict[str, Any]
    scored: ScoredRun | None = field(default=None, repr=False, compare=False)

    @classmethod
    def open(cls, file: str | Path) -> Score:
        """Reads a score file.

        Raises:
            InputError: it is none.
        """
        return cls(Path(file), read_score(Path(file)))

    @property
    def folder(self) -> Path:
        """Where the score and the predictions lie."""
        return self.file.parent

    @property
    def mIoU(self) -> float:  # noqa: N802 - the field's name
        """Mean IoU over all classes, 0..1."""
        return self.content["mIoU"]

    @property
    def mAcc(self) -> float:  # noqa: N802
        """Mean accuracy over all classes, 0..1."""
        return self.content["mAcc"]

    @property
    def allAcc(self) -> float:  # noqa: N802
        """Share of correct pixels, 0..1."""
        return self.content["allAcc"]

    @property
    def classes(self) -> dict[str, dict[str, Any]]:
        """By a class's name its `iou`, `accuracy` (both 0..1) and `pixels`, the number of labelled ones."""
        rows = self.content.get("classes", ())
        return {row["name"]: {key: value for key, value in row.items() if key != "name"} for row in rows}

    def __str__(self) -> str:
        from catalyst_cityscapes.report.table import print_score, text_of

        return text_of(lambda console: print_score(self.content, console=console))

    def _repr_html_(self) -> str:
        from catalyst_cityscapes.report.table import score_html

        return score_html(self.content)


def read_score(path: Path) -> dict[str, Any]:
    """A score file's content.

    Raises:
        InputError: it is none.
    """
    try:
        score = json.loads(path.read_text())
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path}: no score file ({error})") from error
    missing = [key for key in NEEDED if not isinstance(score, dict) or key not in score]
    if missing:
        raise InputError(f"{path}: no score file of catalyst-dl test; it lacks {', '.join(missing)}")
    shapes = {"mIoU": float | int, "mAcc": float | int, "allAcc": float | int, "images": int, "protocol": dict | None}
    for key, shape in shapes.items():
        if not isinstance(score[key], shape):
            raise InputError(f"{path}: no score file of catalyst-dl test; {key}: {score[key]!r}")
    protocol = score["protocol"]
    if protocol is not None and not {"name", "hash"} <= protocol.keys():
        raise InputError(f"{path}: no score file of catalyst-dl test; protocol: lacks its name or its hash")
    return score


@no_pickled_code()
def test(
    run: Run,
    protocol: str | None = None,
    device: str = "auto",
    limit: int | None = None,
    tester: str = "exact",
    batch: int | None = None,
    precision: str = "fp32",
    checkpoint: str | Path | None = None,
    output: str | Path | None = None,
    say: Callable[[str], Any] = print,
) -> Score:
    """Scores a run's checkpoint on the recipe's validation list, as `catalyst-dl test` does.

    Args:
        run: whose recipe and checkpoint are taken.
        protocol: name of another protocol than the recipe's, see `recipe.named_protocols`.
        device: `auto` (a GPU when there is one), `cpu` or `cuda`.
        limit: only the first images of the list; such a score is compared with no published one.
        tester: `exact`, `fast` or `reference`, see `inference.folder.test_images`; `batch` and `precision` are fast's.
        checkpoint: another file than the run's.
        output: where predictions and score go; default: the checkpoint's run folder, below `result/`.
        say: takes the lines that tell the progress.

    Raises:
        InputError: as on the command line.
    """
    check_choice("device", device, DEVICES)
    check_count("limit", limit)
    recipe = with_protocol(run.recipe, protocol)
    run.use_code()
    from catalyst_cityscapes.inference.folder import check_tester

    check_tester(tester, batch, precision)
    path = Path(checkpoint) if checkpoint else run.checkpoint
    from catalyst_cityscapes.evaluation.score_run import score_checkpoint

    target = None if output is None else Path(output)
    scored = score_checkpoint(recipe, path, target, device, limit, tester, batch, precision, say)
    return Score(scored.folder / "score.json", scored.score, scored)


def with_protocol(recipe: Recipe, name: str | None) -> Recipe:
    """The recipe with another protocol, by the rules of an overlay that names it."""
    if name is None:
        return recipe
    from catalyst_cityscapes.recipe.loading import Layers, Source
    from catalyst_cityscapes.recipe.named_protocols import NAMED
    from catalyst_cityscapes.recipe.protocols import complete_protocol
    from catalyst_cityscapes.recipe.schema import Recipe

    check_choice("protocol", name, NAMED)
    layers = Layers([Source("recipe", recipe.plain()), Source("protocol", {"protocol": {"name": name}})])
    content = layers.merged()
    complete_protocol(content, layers.origin, layers.error)
    return Recipe.model_validate(content)
