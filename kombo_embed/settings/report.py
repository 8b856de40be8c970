"""The one message about everything that is wrong with the settings. It contains no value."""

from pydantic import ValidationError

from kombo_embed.errors import ConfigurationError

PREFIX = "KOMBO_"


def problems_of(error: ValidationError, prefix: str) -> dict[str, str]:
    """Return the reason for each variable that is missing or invalid."""
    problems: dict[str, str] = {}
    for detail in error.errors(include_input=False, include_url=False):
        name = prefix + str(detail["loc"][0]).upper()
        reason = detail["msg"].removeprefix("Value error, ").replace(PREFIX, prefix)
        if detail["type"] == "missing":  # only the API key has no default
            reason = "missing; it is the API key from Kombo's dashboard, page Secrets"
        problems.setdefault(name, reason)
    return problems


def invalid(prefix: str, problems: list[str]) -> ConfigurationError:
    """Return the error with these lines."""
    count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
    lines = "\n".join(f"  {problem}" for problem in problems)
    source = f"environment variables {prefix}*, or .env"
    return ConfigurationError(f"kombo-embed cannot start, {count} missing or invalid ({source}):\n{lines}")
