"""The options that several commands share, and the values that only we know how to read. Imports click alone."""

import contextlib
import math
import os
import re
from collections.abc import Callable
from typing import Any

import click

from sentri_events.errors import ClientError, SettingsError
from sentri_events.settings import RELOADED, SETTINGS, Settings, load

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType[float]):
    """Seconds, written as 30d, 12h, 45m or 90s."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"([0-9]{1,6})([smhd])", value)
        if match is None:
            self.fail(f"{value!r} is no length of time such as 30d, 12h or 45m.", param, ctx)
        return int(match[1]) * UNITS[match[2]]


class Speed(click.ParamType[float]):
    """How many times faster; `max` is at once."""

    name = "speed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        with contextlib.suppress(ValueError):
            speed = math.inf if value == "max" else float(value)
            if value == "max" or 0 < speed < math.inf:
                return speed
        self.fail(f"{value!r} is no number above 0, nor max.", param, ctx)


def _check_url(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    from sentri_events.wire import server_url

    try:
        return server_url(value)
    except ClientError as error:
        raise click.UsageError(str(error)) from None


url_option = click.option(
    "--url",
    metavar="URL",
    default="http://127.0.0.1:8000",
    envvar=["SENTRI_EVENTS_URL", "SENTRI_URL"],
    show_envvar=True,
    show_default=True,
    callback=_check_url,
    help="The server.",
)
token_file_option = click.option(
    "--token-file",
    metavar="PATH",
    help="A file with the token; without one it is SENTRI_EVENTS_TOKEN, or in the file SENTRI_EVENTS_TOKEN_FILE.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
no_color_option = click.option("--no-color", is_flag=True, help="No colours, as with NO_COLOR or TERM=dumb.")
database_option = click.option(
    "--database",
    metavar="URL",
    default=next(str(item.default) for item in SETTINGS if item.name == "database"),
    envvar="DATABASE_URL",
    show_envvar=True,
    show_default=True,
    help="Where events are stored.",
)


def from_file(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Where nothing else says what a value is, the file that NAME_FILE names does. Raises `SettingsError`."""
    if ctx.get_parameter_source(str(param.name)) is not click.core.ParameterSource.DEFAULT:
        return value
    text = _file_of(str(param.envvar))
    return value if text is None else text


def environment(*names: str) -> Settings:
    """These settings as the environment says them, and the files that it names; the others are default."""
    rows = [item for item in SETTINGS if item.name in names]
    return load({item.name: os.environ.get(item.env) or _file_of(item.env) for item in rows})


def _file_of(variable: str) -> str | None:
    name = f"{variable}_FILE"
    path = os.environ.get(name)
    if not path:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name} cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}.") from None
    if not text:
        raise SettingsError(f"{name} names an empty file.")  # of a secret: as if nobody had to be asked
    return text


def read_again(ctx: click.Context) -> Settings:
    """The settings of `serve`, with what the files of `RELOADED` say now. Raises `SettingsError`."""
    values = dict(ctx.params)
    for param in ctx.command.params:
        if param.name in RELOADED:
            values[param.name] = from_file(ctx, param, values[param.name])
    return load(values)


def serve_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each setting; `settings.load` judges the values."""
    for item in reversed(SETTINGS):
        flag = item.kind is bool
        default = f"{item.default:g}" if item.kind is float else str(item.default)
        command = click.option(
            item.flag,
            item.name,
            is_flag=flag,
            type=None if flag else str,
            metavar=None if flag else "TEXT" if item.kind is str else "NUMBER",
            default=None if flag else default or None,
            envvar=item.env,
            show_envvar=True,
            show_default=not flag,
            callback=from_file if item.secret or item.name in RELOADED else None,
            help=item.help,
        )(command)
    return command
