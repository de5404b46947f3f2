"""`mwctl keys`: the keys with which clients encrypt and workers decrypt."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..roles.keyfile import new_key
from .command import Group
from .files import sync, write_all


@click.group(cls=Group, examples=["mwctl keys new --output /etc/masterworker/keys"])
def keys() -> None:
    """Make keys for the encryption of payloads."""


@keys.command(
    "new",
    examples=[
        "mwctl keys new --output /etc/masterworker/keys",
        "mwctl keys new >> /etc/masterworker/keys",
    ],
)
@click.option(
    "--id", "key_id", default="", metavar="ID", help="What to call it.  [default: made of the date]"
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A key file to make, which only its owner can read.  [default: stdout]",
)
def new(key_id: str, output: Path | None) -> None:
    """Make a new key, as a line for a key file.

    The first key of a file encrypts, all of them decrypt. To change keys, append the new one to
    every file; when all have it, put it first in the clients' files; remove the old one when no
    task is left that was encrypted with it.
    """
    line = new_key(key_id)
    if output is None:
        click.echo(line)
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise click.UsageError(
            f"--output {output} is there already: append with `mwctl keys new >> {output}`"
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
        output.unlink()  # half a key is none
        raise click.ClickException(f"cannot write {output}: {error.strerror}") from None
