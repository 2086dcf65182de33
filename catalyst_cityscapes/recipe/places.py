"""Where recipes lie: the shipped ones, and that of a run folder. Imports nothing: shell completion has to be quick."""

from pathlib import Path

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
PARTS = CONFIGS / "_base_"
"""Files that are no recipes by themselves, but that recipes are put together from by `base:`."""
RECIPE_FILE = "recipe.yml"
RENAMED_CONFIGS = {
    "swap/augmentation_earlier_attempt": "swap/augmentation_catalyst_2020",
    "swap/earlier_attempt": "swap/catalyst_2020",
}
"""Old to new names of shipped configs, for recipes, ladder plans and command lines from before."""


def shipped_config(name: str) -> Path:
    """Where the shipped config of a name, with or without `.yml`, lies or would lie; old names are known."""
    plain = name.removesuffix(".yml")
    return CONFIGS / f"{RENAMED_CONFIGS.get(plain, plain)}.yml"


def shipped_configs() -> list[str]:
    """Names of all shipped configs, with their ending: `toy/pspnet50.yml`; those in `_base_` are not among them."""
    return sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yml") if PARTS not in path.parents)


def shipped_parts() -> list[str]:
    """Names of all files in `_base_`, with their ending: `_base_/models/pspnet50.yml`."""
    return sorted(str(path.relative_to(CONFIGS)) for path in PARTS.rglob("*.yml"))
