"""Tokens: which are believed, and whom they name."""

import base64
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentri_events.caller import ADMIN, PUBLISHER, QA_LEAD, VIEWER, Caller
from sentri_events.settings import Settings
from sentri_events.tokens import LEEWAY, MAX_TOKEN, Refused, Tokens, caller
from tests.tokens import IN_2100, OTHER_SECRET, SECRET, VECTOR, runner, token


def tokens(secrets: str = SECRET, **settings: Any) -> Tokens:
    return Tokens(Settings(jwt_secret=secrets, **settings))


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def refusal(text: str, by: Tokens | None = None) -> str:
    with pytest.raises(Refused) as refused:
        (by or tokens()).read(text)
    return str(refused.value)


def test_the_originals_token_is_read() -> None:
    """Its role is one of the whole original system, and no role here: that is a viewer's."""
    assert tokens().read(VECTOR) == Caller("WS-1", VIEWER, "USR-1", None, IN_2100, "j-1")


def test_a_token_names_workspace_role_and_end() -> None:
    before = time.time()
    read = tokens().read(token("WS-2", "admin", lifetime=60, jti="j"), ambient=True)
    assert (read.workspace, read.role, read.subject, read.jti, read.ambient) == ("WS-2", ADMIN, "somebody", "j", True)
    assert read.expires is not None
    assert before + 58 < read.expires < before + 62


@pytest.mark.parametrize("role", ["root", "ADMIN", "", 7, None, ["admin"], PUBLISHER, "metrics"])
def test_an_unknown_role_is_a_viewers(role: Any) -> None:
    """Mutant: the token's word taken as it is gave "publish" the right to publish anywhere."""
    claims = {"workspaceId": "WS-1", "role": role, "exp": IN_2100}
    assert caller(claims).role == VIEWER


def test_a_scope_to_publish_takes_all_else_away() -> None:
    read = tokens().read(token(role="admin", scope="openid publish", projectId="web"))
    assert (read.role, read.project) == (PUBLISHER, "web")
    assert [read.may(role) for role in (VIEWER, QA_LEAD, ADMIN, PUBLISHER)] == [False, False, False, True]
    assert tokens().read(token(role="admin", scope="openid", projectId="web")).project is None


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"workspaceId": None}, "workspace"),
        ({"workspaceId": "a/b"}, "workspace"),
        ({"workspaceId": 7}, "workspace"),
        ({"scope": "publish"}, "project"),
        ({"scope": "publish", "projectId": "a b"}, "project"),
        ({"jti": ""}, "jti"),
        ({"jti": "j" * 257}, "jti"),
        ({"jti": 7}, "JWT ID must be a string"),
        ({"exp": None}, "exp"),
        ({"exp": "soon"}, "exp"),
        ({"exp": float("inf")}, "exp"),
        ({"exp": 1}, "expired"),
        ({"exp": 1000 * IN_2100}, "no time in seconds"),
        ({"nbf": IN_2100}, "not yet valid"),
        ({"iat": IN_2100}, "not yet valid"),
        ({"aud": "another"}, "udience"),
        ({"sub": 7}, "ubject"),
    ],
)
def test_what_a_token_must_say(more: dict[str, Any], why: str) -> None:
    assert why in refusal(token(**{"workspace": more.get("workspaceId", "WS-1"), **more}))


def test_another_clock_may_be_a_little_ahead() -> None:
    tokens().read(token(nbf=time.time() + LEEWAY / 2, iat=time.time() + LEEWAY / 2))


def test_a_token_ends_at_its_exp() -> None:
    """Mutant: the leeway of PyJWT held for `exp` too."""
    later = time.time() + 60
    read = Tokens(Settings(jwt_secret=SECRET), lambda: later)
    assert refusal(token(lifetime=59), read) == "it has expired"
    read.read(token(lifetime=62))


def test_the_algorithm_is_pinned() -> None:
    """CWE-347. Mutant: `algorithms` of all that PyJWT knows let HS512 through."""
    claims = {"workspaceId": "WS-1", "role": "admin", "exp": IN_2100}
    head, body = part({"alg": "none", "typ": "JWT"}), part(claims)
    for forged in (f"{head}.{body}.", f"{head}.{body}.AA", jwt.encode(claims, SECRET * 2, "HS512")):
        assert "alg" in refusal(forged)
    good = token(role="admin")
    assert "alg" in refusal(f"{head}.{good.split('.')[1]}.{good.split('.')[2]}")


def test_every_secret_verifies_and_the_first_signs() -> None:
    both = tokens(f"{OTHER_SECRET} {SECRET}")
    assert both.read(token()).workspace == "WS-1"
    made = both.mint(workspace="WS-1", role=ADMIN, lifetime=60)
    assert tokens(OTHER_SECRET).read(made).role == ADMIN
    assert refusal(made) == "Signature verification failed"


def test_audience_and_issuer_are_asked_for_if_they_are_set() -> None:
    strict = tokens(jwt_audience="events", jwt_issuer="https://id")
    wrong: list[dict[str, Any]] = [{}, {"aud": "events"}, {"iss": "https://id"}, {"aud": "other", "iss": "https://id"}]
    for more in wrong:
        refusal(token(**more), strict)
    strict.read(token(aud=["x", "events"], iss="https://id"))
    strict.read(strict.mint(workspace="WS-1", role=VIEWER, lifetime=60))


def test_what_is_minted_is_read_again() -> None:
    made = tokens().read(tokens().mint(workspace="WS-9", role=PUBLISHER, project="web", subject="ci", lifetime=60))
    assert (made.workspace, made.role, made.project, made.subject) == ("WS-9", PUBLISHER, "web", "ci")
    assert made.jti
    assert tokens().read(runner("web")).project == "web"


def test_without_a_secret_nothing_is_believed() -> None:
    """Mutant: an empty secret verified what was signed with one."""
    for secret in ("", " "):
        refusal(token(), tokens(secret))


@given(
    st.one_of(st.text(), st.binary().map(lambda data: data.decode("latin-1")), st.text(alphabet="ab.-_=", max_size=40))
)
def test_no_text_is_more_than_refused(text: str) -> None:
    refusal(text)


def test_hostile_tokens_are_refused() -> None:
    deep = base64.urlsafe_b64encode(b"[" * 5000).decode()
    good = token()
    for text in (
        "x" * (MAX_TOKEN + 1),
        f"{deep}.{deep}.{deep}",
        f"{part({'alg': 'HS256', 'crit': ['x']})}.{part({})}.AA",
        f"{part({'alg': 'HS256', 'b64': False})}..AA",
        f"{good}.{good}",
        good[:-2],
        "\ud800.a.b",
        "",
    ):
        refusal(text)
