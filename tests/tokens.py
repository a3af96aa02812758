"""Tokens for tests, made by hand: what a server accepts is not judged by what it makes itself."""

import time
from typing import Any

import jwt

SECRET = "0123456789abcdef0123456789abcdef"
IN_2100 = 4_102_444_800
OTHER_SECRET = "fedcba9876543210fedcba9876543210"
# The original's own: HS256 by SECRET, sub USR-1, role user, jti j-1, workspaceId WS-1, exp IN_2100.
VECTOR = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJVU1ItMSIsImVtYWlsIjoiYUBiLmMiLCJuYW1lIjoiQSIsInJvbGUiOiJ1c2VyIiwia"
    "nRpIjoiai0xIiwid29ya3NwYWNlSWQiOiJXUy0xIiwiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjQxMDI0NDQ4MDB9.qWmZGaJsizcLsHs-y7frxqTmXb"
    "NHwGcHSJhFgmIl1Yk"
)


def token(
    workspace: str | None = "WS-1",
    role: str | None = "viewer",
    secret: str = SECRET,
    lifetime: float = 86400,
    **more: Any,
) -> str:
    """A token, for longer than all tests take; None leaves a claim out."""
    claims = {"sub": "somebody", "workspaceId": workspace, "role": role, "exp": int(time.time() + lifetime), **more}
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, secret, "HS256")


def runner(project: str, workspace: str = "WS-1", **more: Any) -> str:
    """A token that may publish into one project."""
    return token(workspace, None, scope="publish", projectId=project, **more)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}
