"""``kombo-embed npm-pack``: the npm package of the browser half, for teams that install from PyPI only."""

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from kombo_embed._version import __version__
from kombo_embed.cli.output import AsJson, fail, print_json

PACKAGE = "web/static/kombo-embed.tgz"


def npm_pack(
    *,
    destination: Annotated[
        Path, typer.Option(help="The folder to write to.", exists=True, file_okay=False, writable=True)
    ] = Path(),
    as_json: AsJson = False,
) -> None:
    """Write the npm package of the browser half as a tarball, to install with npm, pnpm or yarn."""
    package = resources.files("kombo_embed") / PACKAGE
    if not package.is_file():
        fail(
            "kombo-embed was installed without its npm package, because npm was missing. "
            "Install Node.js, then install kombo-embed again."
        )
    file = destination / f"kombo-embed-{__version__}.tgz"
    try:
        file.write_bytes(package.read_bytes())
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}.")
    if as_json:
        print_json({"file": str(file)})
    else:
        typer.echo(file)
        typer.echo(f"Install it with: npm install {file.absolute()}", err=True)
