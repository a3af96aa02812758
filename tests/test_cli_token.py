"""`sentri-events token`: what it makes is what a server believes, and no secret is an argument."""

import base64
import json
import time
from pathlib import Path

import jwt
import pytest

from sentri_events.caller import ADMIN, PUBLISHER, VIEWER
from sentri_events.settings import Settings
from sentri_events.tokens import Tokens
from tests.commands import run
from tests.tokens import OTHER_SECRET, SECRET, VECTOR, token

ENV = {"JWT_SECRET": SECRET}


def mint(*arguments: str, **env: str) -> str:
    status, out, error = run("token", "mint", *arguments, env=env or ENV)
    assert (status, error) == (0, "")
    return out.removesuffix("\n")


def test_a_token_of_ones_own() -> None:
    read = Tokens(Settings(jwt_secret=SECRET)).read(mint())
    assert (read.workspace, read.role, read.subject, read.project) == ("default", VIEWER, "", None)
    assert read.jti
    assert read.expires is not None
    assert abs(read.expires - time.time() - 8 * 3600) < 60


def test_what_a_token_can_be_made_to_say(tmp_path: Path) -> None:
    secrets = tmp_path / "secret"
    secrets.write_text(f"{OTHER_SECRET}\n{SECRET}\n")
    env = {"JWT_SECRET_FILE": str(secrets), "SENTRI_EVENTS_JWT_AUDIENCE": "events", "SENTRI_EVENTS_JWT_ISSUER": "me"}
    server = Tokens(Settings(jwt_secret=OTHER_SECRET, jwt_audience="events", jwt_issuer="me"))
    made = mint("--workspace", "WS-1", "--role", "admin", "--subject", "ann", "--expires", "45m", **env)
    read = server.read(made)
    assert (read.workspace, read.role, read.subject) == ("WS-1", ADMIN, "ann")
    assert read.expires is not None
    assert abs(read.expires - time.time() - 45 * 60) < 60
    read = server.read(mint("--scope", "publish", "--project", "web", **env))
    assert (read.role, read.project) == (PUBLISHER, "web")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--scope", "publish"], "belong together"),
        (["--project", "web"], "belong together"),
        (["--scope", "publish", "--project", "web", "--role", "admin"], "leave out --role"),
        (["--role", "root"], "'root' is not one of"),
        (["--expires", "8"], "no length of time"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], sentence: str) -> None:
    status, out, error = run("token", "mint", *arguments, env=ENV)
    assert (status, out) == (2, "")
    assert sentence in error


def test_an_id_that_no_workspace_can_have() -> None:
    status, out, error = run("token", "mint", "--workspace", "a/b", env=ENV)
    assert (status, out) == (1, "")
    assert error.startswith("Error: --workspace has 1 to 128 characters")


def test_without_a_secret_it_says_where_one_is_taken_from() -> None:
    status, out, error = run("token", "mint")
    assert (status, out) == (2, "")
    assert "JWT_SECRET_FILE" in error
    assert run("token", "mint", env={"JWT_SECRET": "short"})[2] == (
        "Error: --jwt-secret (JWT_SECRET) must have at least 32 bytes, each of several.\n"
    )


def test_a_token_is_looked_into() -> None:
    status, out, error = run("token", "inspect", given=f" {VECTOR}\n".encode(), env=ENV)
    assert (status, error) == (0, "")
    assert json.loads(out)["workspaceId"] == "WS-1"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (token(secret=OTHER_SECRET), "Signature verification failed"),
        (token(lifetime=-5), "expired"),
        (token(None), "workspace"),
    ],
)
def test_why_a_token_is_not_believed(text: str, why: str) -> None:
    status, out, error = run("token", "inspect", given=text.encode(), env=ENV)
    assert status == 1
    assert json.loads(out)["sub"] == "somebody"
    assert why in error


@pytest.mark.parametrize("command", ["inspect", "revoke"])
def test_what_is_no_token(command: str, tmp_path: Path) -> None:
    status, out, error = run("token", command, given=b"\xffnonsense", env=ENV)
    assert (status, out) == (2, "")
    assert error.startswith("Error: That is no token: ")
    assert "nonsense" not in error


@pytest.mark.parametrize("end", [1 << 70, float("inf"), float("nan"), -1, None])
def test_a_token_whose_end_makes_no_sense_can_be_taken_back(tmp_path: Path, end: float | None) -> None:
    """Mutant caught: whatever number it says is stored, in milliseconds."""
    database = ("--database", f"sqlite:///{tmp_path}/events.db")
    assert run("db", "upgrade", *database)[0] == 0
    made = jwt.encode({"jti": "j", "exp": 0}, SECRET).split(".")
    claims = json.dumps({"jti": "j", "exp": end}).encode()
    made[1] = base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
    assert run("token", "revoke", *database, given=".".join(made).encode())[:2] == (0, "j is revoked.\n")


def test_only_a_token_with_a_name_can_be_taken_back(tmp_path: Path) -> None:
    database = ("--database", f"sqlite:///{tmp_path}/events.db")
    status, _, error = run("token", "revoke", *database, given=token().encode())
    assert (status, "no jti" in error) == (2, True)
    status, _, error = run("token", "revoke", "j", *database)
    assert (status, "There is no database at" in error) == (2, True)
