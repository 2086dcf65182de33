"""Where recipes lie: the shipped ones, and that of a run folder. Imports nothing: shell completion has to be quick."""

from pathlib import Path

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
RECIPE_FILE = "recipe.yml"


def shipped_configs() -> list[str]:
    """Names of all shipped configs, with their ending: `toy/pspnet50.yml`."""
    return sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yml"))
