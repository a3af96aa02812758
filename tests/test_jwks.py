"""Tokens of another issuer: by its public keys, which come and go, and are out of reach at times."""

import base64
import hashlib
import hmac
import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sentri_events import jwks
from sentri_events.access import Access, Credential, check_exposure
from sentri_events.caller import ADMIN, Caller
from sentri_events.errors import SettingsError, Unauthorized
from sentri_events.jwks import Keys, read_keys
from sentri_events.settings import Settings
from sentri_events.store import Store
from tests.chaos.parts import until
from tests.commands import run
from tests.raw import ask
from tests.scripted import Request, answer, scripted
from tests.server_process import ServerProcess
from tests.test_terms import serving
from tests.tokens import SECRET, bearer, token


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key(name: str, curve: ec.EllipticCurve = ec.SECP256R1()) -> ec.EllipticCurvePrivateKey:  # noqa: B008
    return ec.generate_private_key(curve)


def public(key: Any, **more: Any) -> dict[str, Any]:
    algorithm = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "key_ops": ["verify"], **more}


def key_set(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"keys": rows}).encode()


def signed(key: Any, kid: str | None = None, **more: Any) -> str:
    claims = {"sub": "ann", "workspaceId": "WS-1", "role": "admin", "exp": int(time.time()) + 600, **more}
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    return jwt.encode(claims, key, algorithm, headers={} if kid is None else {"kid": kid})


def access(folder: Path, source: str, **more: Any) -> Access:
    return Access(Settings(jwks=source, **more), Store(f"sqlite:///{folder}/none.db"))


async def believed(by: Access, text: str) -> Caller | None:
    try:
        return await by.caller([Credential(text)])
    except Unauthorized:
        return None


async def test_both_algorithms_by_their_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(key_set(public(rsa_key("a"), kid="r", use="sig", alg="RS256"), public(ec_key("a"), kid="e")))
    by = access(tmp_path, str(file), jwt_secret=SECRET)
    for text in (signed(rsa_key("a"), "r"), signed(ec_key("a"), "e"), signed(rsa_key("a")), signed(ec_key("a"))):
        found = await believed(by, text)
        assert found is not None
        assert (found.workspace, found.role, found.subject) == ("WS-1", ADMIN, "ann")
    assert await believed(by, token()) is not None
    for text in (
        signed(rsa_key("b"), "r"),
        signed(ec_key("b"), "e"),
        signed(rsa_key("a"), "e"),
        signed(ec_key("a"), "r"),
    ):
        assert await believed(by, text) is None
    assert await believed(by, signed(rsa_key("a"), "r", exp=int(time.time()) - 1)) is None


async def test_a_public_key_is_no_secret(tmp_path: Path) -> None:
    """CWE-347, algorithm confusion: by PyJWT's own refusal and without it. Mutant: `alg` taken from the token."""
    file = tmp_path / "keys.json"
    row = public(rsa_key("a"), kid="r")
    file.write_bytes(key_set(row))
    by = access(tmp_path, str(file), jwt_secret=SECRET)
    pem = (
        rsa_key("a")
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    head, body, _ = signed(rsa_key("a"), "r").split(".")
    forged_head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"r"}').decode().rstrip("=")
    for secret in (pem, pem.strip(), json.dumps(row).encode(), row["n"].encode()):
        digest = hmac.digest(secret, f"{forged_head}.{body}".encode(), hashlib.sha256)
        signature = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        assert await believed(by, f"{forged_head}.{body}.{signature}") is None
    assert await believed(by, f"{head}.{body}.") is None
    none = base64.urlsafe_b64encode(b'{"alg":"none","kid":"r"}').decode().rstrip("=")
    assert await believed(by, f"{none}.{body}.") is None


def test_keys_that_do_not_sign_are_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    """CWE-326: a short one too."""
    good = public(rsa_key("a"), kid="good")
    rows = [
        public(rsa_key("a"), use="enc"), public(rsa_key("a"), alg="RS512"), public(rsa_key("a"), key_ops=["encrypt"]),
        public(rsa_key("short", 1024)), public(ec_key("384", ec.SECP384R1())), {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "RSA"}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, {"kty": "OKP"}, good,
    ]  # fmt: skip
    assert [key.key_id for key in read_keys(key_set(*rows))] == ["good"]
    assert "below the minimum" in caplog.text


@pytest.mark.parametrize("text", [b"", b"no", b"[]", b"{}", b'{"keys":7}', b'{"keys":[7]}', b'{"keys":[{}]}', b"\xff"])
def test_what_is_no_set_of_keys(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(text)
    with pytest.raises(SettingsError, match="holds no set of keys"):
        Keys(str(tmp_path / "keys.json"))


def test_where_keys_may_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Keys("https://id.example.org/keys")
    Keys("http://127.0.0.1:1/keys")
    with pytest.raises(SettingsError, match="https://"):
        Keys("http://id.example.org/keys")
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        Keys(str(tmp_path / "none"))
    check_exposure(Settings(host="0.0.0.0", jwks="https://id.example.org/keys"))
    monkeypatch.setattr(jwt.algorithms, "has_crypto", False)
    with pytest.raises(SettingsError, match=r"sentri-events\[jwks\]"):
        Keys("https://id.example.org/keys")


async def test_keys_are_rotated_and_an_outage_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    """Mutants: a reading for every strange token; the known keys thrown away with a failed reading."""
    sets: list[bytes | int] = [key_set(public(rsa_key("a"), kid="a"))]

    def respond(request: Request) -> bytes:
        now = sets[-1]
        return answer(now, {}) if isinstance(now, int) else answer(200, now)

    async with scripted(otherwise=respond) as issuer:
        patient = Keys(f"{issuer.url}/keys", pause=60)
        for number in range(50):
            assert not await patient.find(signed(ec_key("b"), f"strange-{number}"))
        assert await patient.find(signed(rsa_key("a"), "a"))
        assert len(issuer.requests) == 1
        keys = Keys(f"{issuer.url}/keys", pause=0.05)

        async def known(text: str) -> bool:
            return bool(await keys.find(text))

        first, second = signed(rsa_key("a"), "a"), signed(ec_key("b"), "b")
        assert await known(first)
        assert not await known(second)
        sets.append(key_set(public(ec_key("b"), kid="b")))
        await until(lambda: known(second), "the new key is known")
        assert not await known(first), "what its issuer withdrew is not believed"
        for broken in (503, key_set()[:-1], b"x" * (jwks.MAX_BYTES + 1)):
            sets.append(broken)
            asked = len(issuer.requests)

            async def asked_again(before: int = asked) -> bool:
                return not await known(first) and len(issuer.requests) > before

            await until(asked_again, "it is tried again")
            assert await known(second)
    assert await known(second), "its issuer is gone"
    assert "cannot be read anew" in caplog.text


async def test_withdrawn_keys_are_noticed_without_a_strange_token() -> None:
    """In the background: nobody who is known waits."""
    sets = [key_set(public(rsa_key("a"), kid="a"))]
    async with scripted(otherwise=lambda request: answer(200, sets[-1])) as issuer:
        keys = Keys(f"{issuer.url}/keys", pause=0, max_age=0.05)
        text = signed(rsa_key("a"), "a")
        assert await keys.find(text)
        sets.append(key_set())

        async def gone() -> bool:
            return not await keys.find(text)

        await until(gone, "the withdrawn key is not known")


async def test_no_token_is_more_than_unknown() -> None:
    keys = Keys("http://127.0.0.1:1/keys")
    for text in ("", "x", "a.b.c", "é", "\ud800.x.y", token()):
        assert await keys.find(text) == []
    odd = base64.urlsafe_b64encode(b'{"alg":["RS256"]}').decode().rstrip("=")
    assert await keys.find(f"{odd}.e30.AA") == []


def test_the_command_judges_as_a_server_does(tmp_path: Path) -> None:
    """Mutant caught: the secret alone is looked at."""
    file = tmp_path / "keys.json"
    file.write_bytes(key_set(public(ec_key("a"), kid="e")))
    env = {"SENTRI_EVENTS_JWKS": str(file), "SENTRI_EVENTS_JWT_AUDIENCE": "events"}
    for text, status in (
        (signed(ec_key("a"), "e", aud="events"), 0),
        (signed(ec_key("a"), "e"), 1),
        (signed(ec_key("b"), "e", aud="events"), 1),
    ):
        assert run("token", "inspect", given=text.encode(), env=env)[0] == status


def test_a_server_by_its_issuers_keys(tmp_path: Path) -> None:
    """Without a secret of its own: whoever has none of those tokens is asked."""
    file = tmp_path / "keys.json"
    file.write_bytes(key_set(public(ec_key("a"), kid="e")))
    server = ServerProcess(tmp_path, env={"SENTRI_EVENTS_JWKS": str(file), "SENTRI_EVENTS_JWT_AUDIENCE": "events"})
    with serving(server):
        good = bearer(signed(ec_key("a"), "e", aud="events"))
        assert ask(server.port, "GET", "/api/v1/runs", headers=good).status == 200
        for headers in ({}, bearer(signed(ec_key("a"), "e")), bearer(token(aud="events"))):
            assert ask(server.port, "GET", "/api/v1/runs", headers=headers).status == 401
        bought = ask(server.port, "POST", "/api/v1/tickets", {"path": "/api/v1/runs/r/events"}, good)
        assert bought.status == 409
        assert "JWT_SECRET" in bought.error
