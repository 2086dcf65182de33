"""`catalyst-dl`: one module a subcommand. Bad input is one line on stderr and exit code 2."""

import sys
from importlib import metadata

import click

from semseg_ref.errors import InputError, one_line


class InputErrorGroup(click.Group):
    """Turns an `InputError` of a subcommand into one line and exit code 2; our own bugs keep their traceback."""

    def invoke(self, ctx: click.Context) -> object:
        """Runs the subcommand."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            click.echo(f"catalyst-dl: error: {one_line(error)}", err=True)
            sys.exit(2)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Subcommands by name."""
        return ["run", "test"]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Imports a subcommand's module only when it is asked for: torch takes seconds."""
        if name == "run":
            from catalyst_cityscapes.cli.run import run

            return run
        if name == "test":
            from catalyst_cityscapes.cli.test import test

            return test
        return None


@click.group(cls=InputErrorGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(metadata.version("catalyst-cityscapes"), prog_name="catalyst-dl")
def main() -> None:
    """Train and score PSPNet recipes through Catalyst, strictly comparable to the official semseg numbers."""
