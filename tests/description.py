"""`handlers/openapi.json` as tests read it: its operations with their parameters, and what its schemas allow."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema_rs

FILE = Path(__file__).parent.parent / "handlers" / "openapi.json"
DESCRIPTION: dict[str, Any] = json.loads(FILE.read_bytes())


class Operation(NamedTuple):
    """One method of one path."""

    path: str
    method: str
    parameters: list[Any]
    said: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def answer(self, status: int) -> Any:
        """What is said about the answers with that status."""
        assert str(status) in self.said["responses"], f"{self} answered {status}"
        return resolve(self.said["responses"][str(status)])

    def examples(self) -> Iterator[tuple[str, Any]]:
        """The bodies to send, each with its content type; one without both where there is none."""
        content = self.said.get("requestBody", {}).get("content", {"": {"example": None}})
        for kind, media in content.items():
            yield from ((kind, example) for example in examples(media))


def operations() -> list[Operation]:
    """All of them."""
    found = []
    for path, item in DESCRIPTION["paths"].items():
        shared = item.get("parameters", [])
        for method, said in item.items():
            if method != "parameters":
                parameters = [resolve(one) for one in (*shared, *said.get("parameters", []))]
                found.append(Operation(path, method.upper(), parameters, said))
    return found


def resolve(value: Any) -> Any:
    """What a `$ref` names; anything else as it is."""
    while "$ref" in value:
        found: Any = DESCRIPTION
        for name in value["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        value = found
    return value


def examples(described: Any) -> list[Any]:
    """Those of a parameter, a header or a media type."""
    several = [example["value"] for example in described.get("examples", {}).values()]
    return [described["example"], *several] if "example" in described else several


def faults(schema: Any, value: Any) -> list[str]:
    """What is wrong with `value`; nothing if the schema allows it."""
    return [f"{error.instance_path}: {error.message}" for error in _validator(json.dumps(schema)).iter_errors(value)]


@cache
def _validator(schema: str) -> Any:
    whole = {"components": DESCRIPTION["components"], **json.loads(schema)}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
