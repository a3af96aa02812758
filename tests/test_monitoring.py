"""What an operator is given to watch with: the dashboard, the alert rules and the table name metrics that there are."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sentri_events.metric_table import FAMILIES, PREFIX
from tests.raw import ask
from tests.server_process import ServerProcess

DOCS = Path(__file__).parent.parent / "docs"
DASHBOARD, RULES = DOCS / "production" / "grafana.json", DOCS / "production" / "alerts.yml"
METRIC = re.compile(r"\b(?:sentri_events|process)_[a-z_]+\b")
SELECTOR = re.compile(r"(\w+)\{([^}]*)\}")


def samples(server: ServerProcess) -> dict[str, set[str]]:
    """Every name of /metrics, with the labels that it has."""
    found: dict[str, set[str]] = {}
    for line in ask(server.port, "GET", "/metrics").body.decode().splitlines():
        if not line.startswith("#"):
            name, labels = re.match(r"(\w+)(?:\{(.*)\})? ", line).groups()  # type: ignore[union-attr]
            found.setdefault(name, set()).update(re.findall(r'\w+="[^"]*"', labels or ""))
    return found


def panels() -> list[dict[str, Any]]:
    return list(json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"])


@pytest.mark.parametrize("path", [DASHBOARD, RULES], ids=lambda path: path.name)
def test_what_is_watched_is_there(server: ServerProcess, path: Path) -> None:
    """Names and the values of labels. Caught: a counter without its _total; a reason that there is not."""
    there = samples(server)
    text = path.read_text(encoding="utf-8").replace('\\"', '"')
    names = set(METRIC.findall(text))
    assert len(names) > 5
    assert names <= set(there)
    for name, selected in SELECTOR.findall(text):
        for label in re.findall(r'(?:status|reason|cause|kind)="[^"]*"', selected):
            assert label in there[name]


def test_the_dashboard_shows_every_metric_of_ours() -> None:
    """But what nobody draws: the version, and what is the same as another one."""
    drawn = set(METRIC.findall(json.dumps([panel["targets"] for panel in panels()])))
    wanted = {f"{PREFIX}{family.name}" for family in FAMILIES}
    missing = {name for name in wanted if not any(one.startswith(name) for one in drawn)}
    assert missing == {f"{PREFIX}viewers", f"{PREFIX}store_failures"}


def test_the_panels_lie_beside_each_other() -> None:
    cells = [
        (x, y)
        for panel in panels()
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_the_documentation_tells_every_metric() -> None:
    """Caught: one that is not in the table."""
    text = (DOCS / "operating.md").read_text(encoding="utf-8")
    table = text[text.index("| name | what it tells |") : text.index("No label holds")]
    told = set(
        re.findall(r"[a-z_]+", " ".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `")))
    )
    for family in FAMILIES:
        name = family.name + "_total" * (family.kind == "counter")
        assert name in told or name.startswith("backend_") or name == "processes"


@pytest.mark.debian
def test_prometheus_takes_the_metrics_and_the_rules(server: ServerProcess) -> None:
    """By its own program. Caught: a rule with a bracket too few."""
    body = ask(server.port, "GET", "/metrics").body
    metrics = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, check=False)
    assert (metrics.returncode, metrics.stdout, metrics.stderr) == (0, b"", b"")
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    rules = [
        {"record": f"drawn:{number}", "expr": expression.replace("$__rate_interval", "1m")}
        for number, expression in enumerate(expressions)
    ]
    drawn = server.database.parent / "drawn.yml"
    drawn.write_text(json.dumps({"groups": [{"name": "drawn", "rules": rules}]}))
    for path in (RULES, drawn):
        checked = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr
