"""The reference of the commands, from their functions: names, arguments and options as Typer reads them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Annotated, Any, get_args, get_origin

import typer
from typer.models import ArgumentInfo, OptionInfo

from kombo_embed.cli.app import app

INTRODUCTION = """\
# Commands

The command `kombo-embed` is part of `kombo-embed[cli]`. It reads the same [settings](settings.md) as your app, so run it with the
app's environment. Every command has `--help`, and those that print records have `--json`. Errors are printed to stderr as one
sentence, also with `--json`; the exit code is then 1, or 2 for wrong usage.
"""
Command = Callable[..., Any]


def page() -> str:
    """Return the page."""
    commands = sorted(_walk(app, "kombo-embed"), key=lambda one: one[0])
    table = ["| command | does |", "|---|---|"]
    for name, function in commands:
        table.append(f"| [`{name}`](#{name.replace(' ', '-')}) | {_in_a_cell(_summary(function))} |")
    return "\n".join([INTRODUCTION, *table, "", *(_section(*one) for one in commands)])


def _walk(group: typer.Typer, name: str) -> Iterator[tuple[str, Command]]:
    for command in group.registered_commands:
        if command.callback is not None:
            yield f"{name} {command.name or command.callback.__name__.replace('_', '-')}", command.callback
    for sub in group.registered_groups:
        if sub.typer_instance is None:
            continue
        callback = sub.typer_instance.registered_callback
        if callback is not None and callback.callback is not None and callback.invoke_without_command is True:
            yield f"{name} {sub.name}", callback.callback
        yield from _walk(sub.typer_instance, f"{name} {sub.name}")


def _section(name: str, function: Command) -> str:
    arguments: list[str] = []
    options: list[str] = []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if get_origin(parameter.annotation) is not Annotated:
            continue
        kind, info, *_ = get_args(parameter.annotation)
        row = _row(parameter, kind, info)
        (arguments if isinstance(info, ArgumentInfo) else options).append(row)
    rows = [*arguments, *options]
    table = ["", "| argument or option | default | meaning |", "|---|---|---|", *rows] if rows else []
    return "\n".join([f"## {name}", "", _markdown(function), *table, ""])


def _row(parameter: inspect.Parameter, kind: Any, info: Any) -> str:  # noqa: ANN401 - any annotation
    default = parameter.default
    meaning = _in_a_cell(info.help or "")
    if isinstance(info, OptionInfo) and default in (inspect.Parameter.empty, ...):
        meaning += " Required."
    is_shown = isinstance(default, str | int) and not isinstance(default, bool) and default != ""
    shown = f"`{default}`" if is_shown else ""
    return f"| {_names(parameter.name, kind, info)} | {shown} | {meaning} |"


def _names(name: str, kind: Any, info: Any) -> str:  # noqa: ANN401 - as above
    if isinstance(info, ArgumentInfo):
        return f"`{info.metavar or name.upper()}`"
    # In an annotation, Typer takes the first name for the default.
    declared = [one for one in (info.default, *(info.param_decls or ())) if str(one).startswith("-")]
    if not declared and kind is bool:
        declared = [f"--{name.replace('_', '-')}/--no-{name.replace('_', '-')}"]
    names = declared or [f"--{name.replace('_', '-')}"]
    value = "" if kind is bool else f" {info.metavar or _values(kind)}"
    return ", ".join(f"`{one}{value}`" for one in names)


def _values(kind: Any) -> str:  # noqa: ANN401 - as above
    [first, *_] = [one for one in get_args(kind) if one is not type(None)] or [kind]
    if isinstance(first, type) and issubclass(first, Enum):
        return ", ".join(str(one.value) for one in first)
    return {"str": "TEXT", "int": "NUMBER", "float": "NUMBER"}.get(getattr(first, "__name__", ""), "VALUE")


def _summary(function: Command) -> str:
    return _markdown(function).split("\n\n")[0]


def _markdown(function: Command) -> str:
    return (inspect.getdoc(function) or "").replace("``", "`")


def _in_a_cell(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")
