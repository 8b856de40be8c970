"""``kombo-embed sign-webhook``: sign a body as Kombo does, to try a receiver by hand."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from kombo_embed.cli.output import AsJson, exit_on_error, fail, print_json
from kombo_embed.kombo.webhooks import SIGNATURE_HEADER, sign
from kombo_embed.settings import RecordSettings


def sign_webhook(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file with the body, or - for stdin.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Print the signature of a body with KOMBO_WEBHOOK_SECRET, the first if there are several.

    Send exactly the bytes of the file: curl -H "X-Kombo-Signature: $(kombo-embed sign-webhook event.json)"
    --data-binary @event.json http://localhost:8000/kombo/webhooks
    """
    with exit_on_error():
        secrets = RecordSettings().webhook_secret
    if not secrets:
        fail("KOMBO_WEBHOOK_SECRET is not set. Set it to the secret of the app that receives the webhook.")
    signature = sign(_read(file), secrets[0].get_secret_value())
    if as_json:
        print_json({"header": SIGNATURE_HEADER, "signature": signature})
    else:
        typer.echo(signature)


def _read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        fail(f"{file} cannot be read ({error.strerror}).")
