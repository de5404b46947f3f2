"""`mwctl keys`: keys for payload encryption."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..roles.keyfile import new_key
from .command import Group
from .files import sync, write_all


@click.group(cls=Group, examples=["mwctl keys new --output /etc/masterworker/keys"])
def keys() -> None:
    """Create keys for payload encryption."""


@keys.command(
    "new",
    examples=[
        "mwctl keys new --output /etc/masterworker/keys",
        "mwctl keys new >> /etc/masterworker/keys",
    ],
)
@click.option(
    "--id",
    "key_id",
    default="",
    metavar="ID",
    help="Id of the key.  [default: derived from the date]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Key file to create, readable only by its owner.  [default: stdout]",
)
def new(key_id: str, output: Path | None) -> None:
    """Create a key and print it as a line for a key file.

    The first key of a file encrypts; all keys decrypt. To rotate keys, append the new key to every
    key file. Then move it to the top of the clients' files. Remove the old key when no task
    encrypted with it is left.
    """
    line = new_key(key_id)
    if output is None:
        click.echo(line)
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise click.UsageError(
            f"--output {output} already exists. To append a key, run `mwctl keys new >> {output}`"
        ) from None
    except OSError as error:
        raise click.UsageError(f"--output {output}: {error.strerror}") from None
    text = f"# masterworker keys: the first encrypts, all decrypt\n{line}\n"
    try:
        try:
            write_all(descriptor, text.encode())
            sync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        output.unlink()  # never leave a partial key behind
        raise click.ClickException(f"cannot write {output}: {error.strerror}") from None
