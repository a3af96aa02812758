"""Who asks, and what that allows. A role may what its row says; nothing is granted elsewhere."""

from dataclasses import dataclass

VIEWER, QA_LEAD, ADMIN = "viewer", "qa_lead", "admin"
PUBLISHER = "publish"  # of a runner: publishes into the runs of one project, and may nothing else
SCRAPER = "metrics"  # of a monitor: reads the metrics, and may nothing else
DEV_WORKSPACE = "default"
LONGEST_SUBJECT = 64  # in a line of the log
LATEST = 1 << 40  # seconds since 1970 that a token's end can be; of milliseconds, a time that is long ago
_MAY = {
    VIEWER: {VIEWER},
    QA_LEAD: {VIEWER, QA_LEAD, PUBLISHER},
    ADMIN: {VIEWER, QA_LEAD, ADMIN, PUBLISHER, SCRAPER},
    PUBLISHER: {PUBLISHER},
    SCRAPER: {SCRAPER},
}
_LEAST = {PUBLISHER: QA_LEAD, SCRAPER: ADMIN}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever a request's credentials name.

    `project` is the only one that a publisher may publish into. `expires` (seconds since 1970) and `jti` are the
    token's: with them ends what it began. `ambient` credentials are sent by a browser whatever page makes it ask.
    """

    workspace: str
    role: str
    subject: str = ""
    project: str | None = None
    expires: float | None = None
    jti: str | None = None
    ambient: bool = False

    def __str__(self) -> str:
        """For the log."""
        return f"{self.subject[:LONGEST_SUBJECT] or self.role}@{self.workspace}"

    def may(self, role: str) -> bool:
        """Whether that includes what `role` stands for."""
        return role in _MAY[self.role]


DEVELOPER = Caller(DEV_WORKSPACE, ADMIN, ambient=True)  # where nobody is asked


def required(role: str) -> str:
    """The least role of a person that includes `role`."""
    return _LEAST.get(role, role)
