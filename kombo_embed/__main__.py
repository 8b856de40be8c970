"""The command ``kombo-embed``, also available as ``python -m kombo_embed``."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line, or exit with the name of the missing extra."""
    try:
        from kombo_embed.cli.app import app  # noqa: PLC0415 - its packages are an extra
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"typer", "rich", "uvicorn"}:
            raise
        sys.exit("The command line needs more packages: install kombo-embed with its extra 'cli'.")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of customers, and the frames of the help, may not fit the terminal's encoding.
            stream.reconfigure(errors="replace")
    app()


if __name__ == "__main__":
    main()
