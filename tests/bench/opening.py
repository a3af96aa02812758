"""W11: how soon the page shows a long run that has ended, and what it weighs."""

import re
from pathlib import Path

from tests.bench.hour import ENDED, LAST_LINE, LINES, RESULTS, serving
from tests.bench.judge import OURS, Column, Target, Workload
from tests.bench.load import Sample
from tests.bench.tab import opened

NOW = "performance.now()"
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
LINK = re.compile(r'(?:href|src)="([^"]*static/[^"]+)"')


def opening(folder: Path) -> Sample:
    """Milliseconds from the address to what is seen; kilobytes of the page and all that it loads, compressed."""
    with serving(folder) as http:
        url = http.base_url.join(f"/runs/{ENDED}?tab=log")
        html = http.get(url)
        answers = [html, *(http.get(url.join(link)) for link in set(LINK.findall(html.text)))]
        with opened(str(url)) as tab:
            tab.page.wait_for_selector(".numbers")
            head = tab.page.evaluate(NOW)
            tab.connection("finished")
            tab.page.get_by_text(LAST_LINE).wait_for()
            last = tab.page.evaluate(NOW)
            paint = tab.page.evaluate(PAINT)
            memory = tab.megabytes()
    weight = sum(int(answer.raise_for_status().headers["Content-Length"]) for answer in answers)
    return {"paint": paint, "head": head, "last": last, "memory": memory, "weight": weight / 1000}


W11 = Workload(
    "W11",
    f"the page opens a run that has ended, with {LINES:,} lines and {RESULTS:,} results, with nothing in its cache",
    (
        Column("paint", "first paint ms"),
        Column("head", "how it stands ms"),
        Column("last", "last line ms"),
        Column("memory", "process MB"),
        Column("weight", "page KB", ",.1f"),
    ),
    {OURS: opening},
    (Target("paint", 1000), Target("last", 5000), Target("memory", 300), Target("weight", 150)),
)
