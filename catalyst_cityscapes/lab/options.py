"""What a person may choose about the runs of a lab."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LabOptions:
    """Options of a command that trains a lab; see `cli.lab.options.lab_options`."""

    seeds: int
    first_seed: int
    folder: str | None
    jobs: int | None
    threads: int | None
    dry_run: bool
    keep_checkpoints: bool
    report_only: bool

    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds."""
        return tuple(range(self.first_seed, self.first_seed + self.seeds))
