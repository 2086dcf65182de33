"""Completion in the shell: file names wherever a command has no better proposal; see also `arguments.complete_recipe`.

The shell runs the program at each press of the tabulator key, so nothing here may import more than click does.
"""

from click.shell_completion import BashComplete, CompletionItem, ZshComplete, add_completion_class


class _OrFiles:
    """A shell's completion that proposes files where click proposes nothing, as the shell itself would."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Proposals for `incomplete` after `args`."""
        return super().get_completions(args, incomplete) or [CompletionItem(incomplete, type="file")]


@add_completion_class
class BashOrFiles(_OrFiles, BashComplete):
    """Of bash."""


@add_completion_class
class ZshOrFiles(_OrFiles, ZshComplete):
    """Of zsh."""
