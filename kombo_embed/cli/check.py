"""``kombo-embed check``: find what is wrong with an installation, with the remedies."""

import asyncio
import functools
from dataclasses import asdict
from typing import Annotated

import typer

from kombo_embed import Settings
from kombo_embed.cli.output import AsJson, print_json, print_table
from kombo_embed.clock import SystemClock
from kombo_embed.composition.deployment import Finding
from kombo_embed.composition.doctor import diagnose


def check(
    *,
    prefix: Annotated[
        str, typer.Option(help="The prefix of the variables, such as KOMBO_US_ for a second environment.")
    ] = "KOMBO_",
    as_json: AsJson = False,
) -> None:
    """Find what is wrong with the settings, the API key, the database, Redis and the rest.

    Run it where the app runs, with the app's environment. Nothing is changed. The exit code is 1 if there is
    an error, and 0 if there are only warnings.
    """
    read = functools.partial(Settings, _env_prefix=prefix)
    findings = asyncio.run(diagnose(read, clock=SystemClock()))
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        _print_findings(findings)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


def _print_findings(findings: list[Finding]) -> None:
    rows = [[finding.level, finding.id, _text(finding)] for finding in findings]
    print_table(["Level", "Check", "Finding"], rows, if_empty="")
    levels = [finding.level for finding in findings]
    typer.echo(f"Errors: {levels.count('error')}, warnings: {levels.count('warning')}.")


def _text(finding: Finding) -> str:
    return f"{finding.message}\nRemedy: {finding.remedy}" if finding.remedy else finding.message
