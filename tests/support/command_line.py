"""The one way to call the command line in this process."""

from click.testing import CliRunner, Result

from catalyst_cityscapes.cli import main


def dl(*arguments: object) -> Result:
    """Runs `catalyst-dl` in this process; an exception other than an exit is the test's failure."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
