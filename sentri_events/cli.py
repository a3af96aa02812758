"""The command line: options in, exit status out. What the commands do stands in the modules that they import.

Only click is imported before a command is known, so that completion and --help are quick.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from sentri_events import __version__
from sentri_events.cli_db import db
from sentri_events.cli_token import token
from sentri_events.errors import ClientError, SentriEventsError, SettingsError
from sentri_events.options import (
    Speed,
    json_option,
    no_color_option,
    read_again,
    serve_options,
    token_file_option,
    url_option,
)
from sentri_events.settings import load

PROGRAM = "sentri-events"
STATUSES = ("running", "completed", "completed_empty", "failed", "aborted", "interrupted")
BROKEN_PIPE, INTERRUPTED = 141, 130  # 128 + SIGPIPE, 128 + SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit status; every error of ours is one sentence on standard error."""
    try:
        status = cli.main(arguments, prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except SentriEventsError as error:
        if error.status == 401:
            return _fail(f"{error} Say who you are: SENTRI_EVENTS_TOKEN, or --token-file.", 1)
        return _fail(str(error), 2 if isinstance(error, SettingsError) or error.status == 404 else 1)
    except OSError as error:
        return _fail(f"{error.strerror or error}.", 1)
    except click.Abort:
        return INTERRUPTED
    return status if isinstance(status, int) else 0


def _warn(sentence: str) -> None:
    click.echo(sentence, err=True)


def _fail(sentence: str, status: int) -> int:
    _warn(f"Error: {sentence}")
    return status


class Commands(click.Group):
    """Ends quietly, as if by SIGPIPE, when nobody reads standard output any more."""

    def invoke(self, ctx: click.Context) -> Any:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a character shows a ? for it
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
            return status
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
            ctx.exit(BROKEN_PIPE)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """What happens in a test run, stored, numbered and watched live."""


cli.add_command(db)
cli.add_command(token)


@cli.command()
@serve_options
@click.pass_context
def serve(ctx: click.Context, /, **values: Any) -> int:
    """Run the server until SIGTERM or Ctrl-C."""
    settings = load(values)
    from sentri_events.server import serve

    return serve(settings, click.echo, lambda: read_again(ctx))


@cli.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("--project", required=True, help="The project of the run.")
@click.option("--name", help="The run's name.  [default: the command]")
@url_option
@token_file_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(project: str, name: str | None, url: str, token_file: str | None, command: tuple[str, ...]) -> int:
    """Run COMMAND as a run of a project.

    Every line that it prints is a log event, of level info where it went to standard output and error where it went
    to standard error, and is still shown here. Signals are passed on. A server that is away changes nothing.

    Exits with the command's own exit status, 128 + n where signal n ended it.
    """
    from sentri_events.execute import execute

    return execute(command, project=project, name=name, url=url, token_file=token_file, say=_warn)


@cli.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("--since", metavar="SEQ", type=click.IntRange(min=0), default=0, help="Only events after this seq.")
@click.option("--types", metavar="TYPE,...", default="", help="Only these types of events, and done.")
@json_option
@no_color_option
@url_option
@token_file_option
def tail(
    runs: tuple[str, ...], since: int, types: str, as_json: bool, no_color: bool, url: str, token_file: str | None
) -> int:
    """Show runs live, from their beginning, until all have ended.

    Exits with 0 for completed and completed_empty, 1 for failed, 3 for aborted and interrupted, 2 for an unknown run;
    of several, with the highest.
    """
    import asyncio

    from sentri_events.client import Client
    from sentri_events.screen import open_view
    from sentri_events.tail import tail

    wanted = [kind.strip() for kind in types.split(",") if kind.strip()]

    async def follow() -> int:
        async with Client(url, token_file=token_file) as client:
            documents = {}
            for run in runs:
                with _known(f"run {run}", url):
                    documents[run] = await client.run(run)
            view = open_view(documents, as_json=as_json, no_color=no_color, types=wanted, begun=since > 0)
            # The status line counts results, also where they are not shown.
            asked = wanted if as_json or not wanted else [*wanted, "result", "update"]
            return await tail(client, list(documents), view, since=since, types=asked)

    return asyncio.run(follow())


@cli.command()
@click.argument("run")
@click.option("--speed", type=Speed(), default="1", show_default=True, help="Times faster than it was; max: at once.")
@click.option("--from", "first", metavar="SEQ", type=click.IntRange(min=1), default=1, help="The first event.")
@click.option("--to", "last", metavar="SEQ", type=click.IntRange(min=1), help="The last event.")
@click.option("--into", metavar="[PROJECT]", is_flag=False, flag_value="", help="Publish it as a new run instead.")
@json_option
@no_color_option
@url_option
@token_file_option
def replay(
    run: str,
    speed: float,
    first: int,
    last: int | None,
    into: str | None,
    as_json: bool,
    no_color: bool,
    url: str,
    token_file: str | None,
) -> int:
    """Play a stored run again, with its original timing.

    Exits as tail does, with 0 where --to stops before the end.

    With --into it happens again in a new run, of the same project unless another is named, whose id is printed.
    """
    if last is not None and last < first:
        raise click.UsageError(f"--to {last} lies before --from {first}.")
    import asyncio

    from sentri_events.client import Client
    from sentri_events.replay import copy, in_time, show, stored
    from sentri_events.screen import open_view

    async def play() -> int:
        async with Client(url, token_file=token_file) as client:
            with _known(f"run {run}", url):
                document = await client.run(run)
            batches = in_time(stored(client, run, first, last), speed)
            if into is not None:
                return await copy(client, document, batches, project=into, say=click.echo, warn=_warn)
            return await show(batches, open_view({run: document}, as_json=as_json, no_color=no_color))

    return asyncio.run(play())


@cli.command()
@click.argument("run")
@click.argument("kind", metavar="TYPE")
@click.argument("payload", metavar="[JSON | -]", default="{}")
@url_option
@token_file_option
def emit(run: str, kind: str, payload: str, url: str, token_file: str | None) -> int:
    """Publish an event of TYPE into a run.

    Its fields are those of JSON, an object; its seq is printed.

    With - there is one object a line on standard input, each of TYPE unless it has a type of its own; they are
    published as they come, and the range of their seqs is printed.
    """
    from sentri_events.client import Client
    from sentri_events.emit import Batch, batches, publish_all, read_payload
    from sentri_events.errors import BadRequest

    try:
        given: Iterable[Batch] = (
            batches(0, kind) if payload == "-" else [[(1, {"type": kind, **read_payload(payload)})]]
        )
        with _known(f"run {run}", url):
            publish_all(Client(url, token_file=token_file), run, given, click.echo)
    except BadRequest as error:
        raise click.UsageError(str(error)) from None
    return 0


@cli.command()
@click.option("--project", help="Only runs of this project.")
@click.option("--status", type=click.Choice(STATUSES), help="Only runs in this status.")
@click.option(
    "--limit", metavar="NUMBER", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many."
)
@click.option("--watch", "live", is_flag=True, help="Go on with each run that starts or ends, oldest first.")
@json_option
@no_color_option
@url_option
@token_file_option
def runs(
    project: str | None,
    status: str | None,
    limit: int,
    live: bool,
    as_json: bool,
    no_color: bool,
    url: str,
    token_file: str | None,
) -> int:
    """List runs, newest first."""
    import asyncio

    from sentri_events.client import Client
    from sentri_events.render import colour_wanted, compact, table
    from sentri_events.watch import watch

    async def follow() -> None:
        with _known(f"project {project}", url):
            async with Client(url, token_file=token_file) as client:
                options = {"as_json": as_json, "colour": colour_wanted(no_color)}
                await watch(client, click.echo, project=project, status=status, limit=limit, **options)

    if live:
        asyncio.run(follow())
        return 0

    async def read() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with (
            Client(url, token_file=token_file) as client,
            contextlib.aclosing(client.runs(project=project, status=status)) as listed,
        ):
            async for document in listed:
                found.append(document)
                if len(found) == limit:
                    break
        return found

    found = asyncio.run(read())
    lines = map(compact, found) if as_json else table(found, colour_wanted(no_color))
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


@contextlib.contextmanager
def _known(what: str, url: str) -> Iterator[None]:
    """Says what it was that the server does not know; that is wrong use."""
    try:
        yield
    except ClientError as error:
        if error.status != 404:
            raise
        raise ClientError(f"There is no {what} on {url}.", 404) from None
