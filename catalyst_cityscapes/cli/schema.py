"""`catalyst-dl schema`: the JSON schema of recipes, for editors."""

from pathlib import Path

import click

from semseg_ref.base.errors import InputError
from semseg_ref.base.files import create_folder, replace_atomically


@click.command()
@click.option("--to", "target", type=click.Path(path_type=Path), metavar="FILE", help="Default: standard output.")
def schema(target: Path | None) -> None:
    """Write the JSON schema of recipes, from which editors complete and check.

    \b
    catalyst-dl schema --to recipe.schema.json

    An editor with yaml-language-server, as VS Code with its YAML extension, follows a recipe's first line:

    \b
    # yaml-language-server: $schema=recipe.schema.json
    """
    if target is not None:
        create_folder(target.parent)
        if target.is_dir():
            raise InputError(f"--to {target}: this is a folder; expected a file, as {target / 'recipe.schema.json'}")
    from catalyst_cityscapes.recipe.json_schema import schema_text

    text = schema_text()
    if target is None:
        click.echo(text, nl=False)
        return
    replace_atomically(target, lambda file: file.write(text.encode()))
    click.echo(f"{target}: {len(text) // 1000} kB")
