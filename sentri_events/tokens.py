"""Tokens: JWTs that only a holder of the secret can have made, with the original's claims (protocol, section 6)."""

import time
import uuid
from collections.abc import Sequence
from typing import Any

import jwt

from sentri_events.caller import ADMIN, LATEST, PUBLISHER, QA_LEAD, VIEWER, Caller
from sentri_events.errors import Unauthorized
from sentri_events.settings import RUN_ID, Settings

ALGORITHM = "HS256"
LEEWAY = 10.0  # seconds that another clock may be ahead of ours
MAX_TOKEN = 8 << 10
MAX_TEXT = 256


class Refused(Unauthorized):
    """Why a token says nothing. Callers are only told that they are not known; `str(error)` is for its owner."""


class Tokens:
    """Reads tokens and makes them. `clock` gives seconds since 1970."""

    def __init__(self, settings: Settings, clock: Any = time.time) -> None:
        self._secrets: Sequence[str] = settings.jwt_secrets
        self._audience = settings.jwt_audience or None
        self._issuer = settings.jwt_issuer or None
        self._clock = clock

    def read(self, token: str, ambient: bool = False, keys: Sequence[jwt.PyJWK] = ()) -> Caller:
        """Whom the token names, if it is signed by a secret or by one of `keys`, and valid now. Raises `Refused`."""
        return caller(self._claims(token, keys), ambient)

    def _claims(self, token: str, keys: Sequence[jwt.PyJWK]) -> dict[str, Any]:
        if len(token) > MAX_TOKEN:
            raise Refused("it is too long")
        refusal = Refused("nobody is known who could have signed it")
        # By what a key is for, never by what the token says of itself.
        tried: list[tuple[jwt.PyJWK | str, str]] = [(key, key.algorithm_name) for key in keys]
        for key, algorithm in [*tried, *((secret, ALGORITHM) for secret in self._secrets)]:
            try:
                return self._verified(token, key, algorithm)
            except Refused as error:
                refusal = error
        raise refusal

    def _verified(self, token: str, key: jwt.PyJWK | str, algorithm: str) -> dict[str, Any]:
        """The claims, if that key made the token by that algorithm; it ends at its `exp`, to the second."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY,
                options={"require": ["exp", *(["aud"] if self._audience else []), *(["iss"] if self._issuer else [])]},
            )
            expires = float(claims["exp"])
        except jwt.PyJWTError as error:
            raise Refused(str(error)) from None
        except (ValueError, TypeError, OverflowError, RecursionError) as error:  # what PyJWT lets through
            raise Refused(f"it cannot be read ({type(error).__name__})") from None
        if expires <= self._clock():
            raise Refused("it has expired")
        if expires >= LATEST:
            raise Refused("its exp is no time in seconds since 1970")
        return claims

    def mint(
        self,
        *,
        workspace: str,
        role: str,
        subject: str = "",
        project: str | None = None,
        lifetime: float,
    ) -> str:
        """A token, signed with the first secret. With the role `PUBLISHER` it takes a `project`."""
        now = int(self._clock())
        claims: dict[str, Any] = {"sub": subject, "jti": str(uuid.uuid4()), "workspaceId": workspace}
        if role == PUBLISHER:
            claims |= {"scope": PUBLISHER, "projectId": project}
        else:
            claims["role"] = role
        claims |= {"iat": now, "exp": now + int(lifetime)}
        if self._audience:
            claims["aud"] = self._audience
        if self._issuer:
            claims["iss"] = self._issuer
        return jwt.encode(claims, self._secrets[0], ALGORITHM)


def caller(claims: dict[str, Any], ambient: bool = False) -> Caller:
    """Whom these claims name. A role that is none of ours, such as the original's `user`, is a viewer's.

    Raises `Refused` where they name no workspace, or a scope to publish without its project.
    """
    workspace, project, jti = claims.get("workspaceId"), claims.get("projectId"), claims.get("jti")
    if not _is_id(workspace):
        raise Refused("it names no workspace (workspaceId)")
    if jti is not None and (not isinstance(jti, str) or not 1 <= len(jti) <= MAX_TEXT):
        raise Refused(f"its jti is no text of 1 to {MAX_TEXT} characters")
    role, scope = claims.get("role"), claims.get("scope")
    if role not in (QA_LEAD, ADMIN):
        role = VIEWER
    if isinstance(scope, str) and PUBLISHER in scope.split():
        if not _is_id(project):
            raise Refused("it may publish, and names no project (projectId)")
        role = PUBLISHER
    subject = claims.get("sub")
    return Caller(
        workspace=str(workspace),
        role=role,
        subject=subject[:MAX_TEXT] if isinstance(subject, str) else "",
        project=str(project) if role == PUBLISHER else None,
        expires=float(claims["exp"]),
        jti=jti,
        ambient=ambient,
    )


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and RUN_ID.fullmatch(value) is not None
