"""`sentri-events token`: making tokens, looking into them, taking them back. No secret is ever an argument."""

import sys
import time
from typing import Any

import click

from sentri_events.caller import ADMIN, DEV_WORKSPACE, LATEST, PUBLISHER, QA_LEAD, VIEWER
from sentri_events.cli_db import check_exists
from sentri_events.errors import SettingsError
from sentri_events.options import Duration, database_option, environment
from sentri_events.settings import Settings, load

A_YEAR = 365 * 86400.0


@click.group()
def token() -> None:
    """Make tokens, look into them, take them back.

    The secret is the server's, from JWT_SECRET or the file that JWT_SECRET_FILE names. A token is read from standard
    input.
    """


@token.command()
@click.option("--workspace", default=DEV_WORKSPACE, show_default=True, help="Whose runs it opens.")
@click.option("--role", type=click.Choice([VIEWER, QA_LEAD, ADMIN]), help="What it may.  [default: viewer]")
@click.option("--scope", type=click.Choice([PUBLISHER]), help="For a runner: it may publish, and nothing else.")
@click.option("--project", help="The only project that such a one may publish into.")
@click.option("--expires", type=Duration(), default="8h", show_default=True, help="After 8h, 30d, 45m.")
@click.option("--subject", default="", help="Who it is for.")
def mint(workspace: str, role: str | None, scope: str | None, project: str | None, expires: float, subject: str) -> int:
    """Make a token, and print it."""
    if (scope is None) != (project is None):
        raise click.UsageError("--scope publish and --project belong together.")
    if scope is not None and role is not None:
        raise click.UsageError("--scope publish is all that such a token may: leave out --role.")
    from sentri_events.event import check_id
    from sentri_events.tokens import Tokens

    check_id(workspace, "--workspace")
    if project is not None:
        check_id(project, "--project")
    settings = _settings()
    if not settings.jwt_secrets:
        raise SettingsError("Say the server's secret: JWT_SECRET, or JWT_SECRET_FILE for the file that holds it.")
    made = Tokens(settings).mint(
        workspace=workspace, role=scope or role or VIEWER, subject=subject, project=project, lifetime=expires
    )
    click.echo(made)
    return 0


@token.command()
def inspect() -> int:
    """Show what a token says, and whether the server would believe it.

    By JWT_SECRET, SENTRI_EVENTS_JWKS and what else the server goes by. Exits with 1 if it would not. That it was
    revoked is not looked at.
    """
    import asyncio

    from sentri_events.errors import Unauthorized
    from sentri_events.jwks import Keys
    from sentri_events.render import compact
    from sentri_events.tokens import Tokens

    text = _read()
    click.echo(compact(_unverified(text)))
    settings = _settings()
    try:
        Tokens(settings).read(text, keys=asyncio.run(Keys(settings.jwks).find(text)) if settings.jwks else ())
    except Unauthorized as error:
        click.echo(f"It is not believed: {error}.", err=True)
        return 1
    return 0


@token.command()
@click.argument("jti", required=False)
@click.option("--for", "duration", type=Duration(), default="365d", show_default=True, help="How long, with a JTI.")
@click.option("--redis-url", envvar="REDIS_URL", show_envvar=True, default="", help="Where the original is told, too.")
@database_option
def revoke(jti: str | None, duration: float, redis_url: str, database: str) -> int:
    """Take a token back.

    The one on standard input, or the one with this JTI. Streams that it opened end within two seconds. It is known
    until the token would have ended.
    """
    until = time.time() + duration
    if jti is None:
        claims = _unverified(_read())
        jti, expires = claims.get("jti"), claims.get("exp")
        if not isinstance(jti, str) or not jti:
            raise SettingsError("The token has no jti, so that it cannot be told from others: change the secret.")
        until = float(expires) if isinstance(expires, int | float) and 0 <= expires < LATEST else time.time() + A_YEAR
    import asyncio

    from sentri_events.server import revoke

    settings = load({"database": database, "redis_url": redis_url})
    check_exists(settings.database)
    asyncio.run(revoke(settings, jti, until))
    click.echo(f"{jti} is revoked.")
    return 0


def _settings() -> Settings:
    return environment("jwt_secret", "jwks", "jwt_audience", "jwt_issuer")


def _read() -> str:
    return sys.stdin.buffer.read().decode(errors="replace").strip()


def _unverified(text: str) -> dict[str, Any]:
    import jwt

    try:
        return dict(jwt.decode(text, options={"verify_signature": False}))
    except jwt.PyJWTError as error:
        raise SettingsError(f"That is no token: {error}.") from None
