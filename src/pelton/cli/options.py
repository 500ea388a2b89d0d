"""Options shared by several commands, and the options of `serve`, which are generated from the settings table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from pelton.server.config import OPTIONS, Option

F = TypeVar("F", bound=Callable[..., Any])

SERVER = click.option(
    "--server", default="http://127.0.0.1:8080", envvar="PELTON_SERVER", show_envvar=True, show_default=True, metavar="URL",
    help="URL of the server.",
)  # fmt: skip
KEY = click.option(
    "--key", default="", envvar="PELTON_API_KEY", show_envvar=True, metavar="KEY", help="Access key, if the server requires one."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def remote(command: F) -> F:
    """Adds the options of commands that talk to a running server."""
    return SERVER(KEY(JSON(command)))


def settings(command: F) -> F:
    """Adds every option of the table, in its order. An option not given stays None, so that the environment or the file can set
    it."""
    for option in reversed(OPTIONS):
        command = _click_option(option)(command)
    return command


def _click_option(option: Option) -> Callable[[F], F]:
    default = "" if option.default in {"", ()} or option.kind == "flag" else f"  [default: {option.default}]"
    help_text = f"{option.help}  [env: {option.variable}]{default}"
    declared = [option.switch, option.name]
    if option.kind == "flag":
        return click.option(*declared, is_flag=True, default=None, help=help_text)
    if option.kind == "list":
        return click.option(*declared, multiple=True, metavar=option.metavar, help=help_text)
    metavar = option.metavar or "|".join(option.choices)
    return click.option(*declared, default=None, metavar=metavar, help=help_text)
