"""Options, settings and the switch: a pytest run is published once a URL is given (docs/pytest.md).

Every test run of whoever installed the package imports this, so it imports next to nothing.
"""

import os
import re
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sentri-events", "publish the test run, live, to a sentri-events server")
    group.addoption("--sentri-url", metavar="URL", help="server to publish to; without one nothing is published")
    group.addoption("--sentri-project", metavar="NAME", help="project of the run (default: the root directory's name)")
    group.addoption(
        "--sentri-strict",
        action="store_true",
        default=None,
        help="exit with status 1 when the tests passed but the run could not be published whole",
    )
    parser.addini("sentri_url", "server to publish the test run to (environment: SENTRI_URL)", default=None)
    parser.addini("sentri_project", "project of the published run (environment: SENTRI_PROJECT)", default=None)
    parser.addini("sentri_strict", "failing to publish is an error (environment: SENTRI_STRICT)", "bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    # Under xdist every worker's reports reach the controller, which alone publishes.
    if hasattr(config, "workerinput") or config.getoption("collectonly", False):
        return
    # A pytest that a test starts (pytester, subprocess) inherits the environment: it is part of a test, not a run.
    if config.getoption("sentri_url") is None and "PYTEST_CURRENT_TEST" in os.environ:
        return
    url = _setting(config, "sentri_url")
    if not url:
        return
    strict = _truth(_setting(config, "sentri_strict"))
    project = _setting(config, "sentri_project") or re.sub(r"[^A-Za-z0-9._-]+", "-", config.rootpath.name) or "pytest"

    from sentri_events.errors import ClientError
    from sentri_events.publisher import server_url
    from sentri_events.pytest_reporter import Reporter
    from sentri_events.wire import Credentials

    try:
        url = server_url(url)
        Credentials()  # what is wrong with them shows before the tests
    except ClientError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(Reporter(config, url, project, strict), "sentri_events_reporter")


def _setting(config: pytest.Config, name: str) -> Any:
    """Command line before environment before configuration file. An empty variable counts as unset."""
    given = config.getoption(name)
    return given if given is not None else os.environ.get(name.upper()) or config.getini(name)


def _truth(value: str | bool) -> bool:
    text = str(value).lower()
    if text not in ("1", "true", "yes", "on", "0", "false", "no", "off", ""):
        raise pytest.UsageError(f"SENTRI_STRICT must be true or false, not {value!r}.")
    return text in ("1", "true", "yes", "on")
