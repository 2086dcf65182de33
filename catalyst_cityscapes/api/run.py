"""Recipes, and the folders of their runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from catalyst_cityscapes.api.arguments import listed
from semseg_ref.base.errors import InputError
from semseg_ref.base.safe.torch_load import no_pickled_code

if TYPE_CHECKING:
    from catalyst_cityscapes.recipe.schema import Recipe


@no_pickled_code()
def load_recipe(
    config: str | Path,
    overlays: Sequence[str | Path] = (),
    settings: Sequence[str] = (),
    trusted: Sequence[str] = (),
) -> Recipe:
    """A merged and checked recipe, as `catalyst-dl run --config CONFIG OVERLAYS --set SETTINGS --trust TRUSTED` has it.

    Args:
        config: a recipe file, the name of a shipped one, or an official semseg config, which is translated.
        overlays: files or names that are laid on it, in order.
        settings: single values on top, each `key.path=value`.
        trusted: packages, or modules beside the recipe, that `_target_` may name too.

    Raises:
        InputError: naming file, key path and the nearest valid name; a plain Catalyst config, which is no recipe.
    """
    files = [str(config), *listed("overlays", overlays)]
    assignments, packages = listed("settings", settings), listed("trusted", trusted)
    from catalyst_cityscapes.recipe.loading import find_config, load_layers, read_yaml, resolve_recipe
    from catalyst_cityscapes.recipe.translation import is_official

    first = read_yaml(find_config(files[0]))
    if is_plain_catalyst(first):
        raise InputError(f"{config}: a plain Catalyst config and no recipe; catalyst-dl run --config trains it")
    if is_official(first):
        return _translated(files, assignments)
    return resolve_recipe(load_layers(files, assignments), packages)


def is_plain_catalyst(content: dict) -> bool:
    """Whether a config is one of Catalyst 22's own, which calls a runner."""
    return "runner" in content and "run" in content


def _translated(files: list[str], assignments: list[str]) -> Recipe:
    if len(files) > 1:
        raise InputError(
            f"{files[1]}: an official config takes no overlays; run --show, save the recipe, and overlay that"
        )
    from catalyst_cityscapes.recipe.loading import find_config
    from catalyst_cityscapes.recipe.translation import official_to_recipe
    from semseg_ref.config import load_cfg_from_cfg_file, merge_cfg_from_list

    pairs = [part for assignment in assignments for part in assignment.split("=", 1)]
    path = find_config(files[0])
    cfg = merge_cfg_from_list(load_cfg_from_cfg_file(path), pairs)
    return official_to_recipe(cfg, path.stem, f"exp/{path.stem}")


@dataclass(frozen=True)
class Run:
    """A training's folder and its recipe.

    Attributes:
        folder: with `recipe.yml`, `model/`, the logs and, once scored, `result/`.
        recipe: what was trained.
    """

    folder: Path
    recipe: Recipe

    @classmethod
    def open(cls, folder: str | Path, settings: Sequence[str] = (), trusted: Sequence[str] = ()) -> Run:
        """A run that lies on disk, of either arm.

        Args:
            folder: the run folder.
            settings: `key.path=value`, laid on its recipe, e.g. another `data.root`.
            trusted: see `load_recipe`.

        Raises:
            InputError: no such run (names those beside it), or its recipe is refused.
        """
        from catalyst_cityscapes.evaluation.predictions import check_run_folder
        from catalyst_cityscapes.recipe.places import RECIPE_FILE

        path = check_run_folder(Path(folder))
        return cls(path, load_recipe(path / RECIPE_FILE, settings=settings, trusted=trusted))

    @property
    def checkpoint(self) -> Path:
        """The checkpoint that is scored: `last.pth`, or `best.pth` where the recipe selects the best.

        Raises:
            CheckpointError: there is none (yet).
        """
        from catalyst_cityscapes.runs.find import chosen_checkpoint

        return chosen_checkpoint(self.recipe, self.folder)

    def use_code(self) -> None:
        """Lets the recipe's targets be found in the run's own copies of a user's modules, as a new process would."""
        from catalyst_cityscapes.recipe.nodes.targets import target_names
        from catalyst_cityscapes.recipe.nodes.user_code import use_code_of

        use_code_of(self.folder, target_names(self.recipe))
