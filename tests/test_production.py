"""What docs/production has beside the proxies: the image, the whole of it under compose, and the unit for systemd."""

import json
import re
import subprocess
import sys
from pathlib import Path
from shutil import copy, copytree
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from sentri_events.database import location
from sentri_events.settings import SETTINGS
from tests.test_package import LEFT_OUT, ROOT, build, contents

FOLDER = ROOT / "docs" / "production"
VARIABLES = {item.env for item in SETTINGS} | {f"{item.env}_FILE" for item in SETTINGS if item.secret}


@pytest.fixture
def compose() -> dict[str, Any]:
    return msgspec.yaml.decode((FOLDER / "compose.yaml").read_bytes(), type=dict[str, Any])


def test_each_instance_finds_the_database_and_redis(compose: dict[str, Any]) -> None:
    """Caught: a password, a name or a variable that only one side knows."""
    services = compose["services"]
    servers = {name: service for name, service in services.items() if "build" in service}
    assert set(servers) == {"server1", "server2"}
    given = services["database"]["environment"]
    for server in servers.values():
        assert set(server["environment"]) <= VARIABLES
        assert set(server["depends_on"]) <= set(services)
        database, redis = (urlsplit(server["environment"][name]) for name in ("DATABASE_URL", "REDIS_URL"))
        assert (database.hostname, redis.hostname) == ("database", "redis")
        assert (database.username, database.password) == (given["POSTGRES_USER"], given["POSTGRES_PASSWORD"])
        assert database.path == f"/{given['POSTGRES_DB']}"
        assert location(database.geturl()) == "postgresql://database/sentri"


def test_the_proxy_finds_each_instance_and_its_files(compose: dict[str, Any]) -> None:
    """The certificate is the user's own: the head of the file says how to make one."""
    nginx = (FOLDER / "nginx.conf").read_text(encoding="utf-8")
    servers = [name for name, service in compose["services"].items() if "build" in service]
    assert re.findall(r"server (\w+):8000", nginx) == servers
    proxy = compose["services"]["proxy"]
    for volume in proxy["volumes"]:
        here, there, _ = volume.split(":")
        assert (FOLDER / here).exists() or here == "./tls.pem"
        assert there in (*re.findall(r"ssl_certificate(?:_key)? (.*?);", nginx), "/etc/nginx/nginx.conf")
    inside = {port.rpartition(":")[2] for port in proxy["ports"]}
    assert inside == set(re.findall(r"listen (\d+)", nginx))


def test_the_image_has_all_that_the_package_is_made_of(compose: dict[str, Any], tmp_path: Path) -> None:
    """From what is copied into it the same wheel is built, and its command is one of ours. Caught: a room left out."""
    build_from = compose["services"]["server1"]["build"]
    root = (FOLDER / build_from["context"]).resolve()
    assert root == ROOT
    lines = (root / build_from["dockerfile"]).read_text(encoding="utf-8").splitlines()
    image = tmp_path / "image"
    image.mkdir()
    for _, *sources, target in (line.split() for line in lines if line.startswith("COPY ")):
        for source in sources:
            if (ROOT / source).is_dir():
                copytree(ROOT / source, image / target, symlinks=True, ignore=LEFT_OUT)
            else:
                copy(ROOT / source, image / target)
    clone = copytree(ROOT, tmp_path / "clone", symlinks=True, ignore=LEFT_OUT)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "others").mkdir()
    assert contents(build(image, tmp_path / "wheels")) == contents(build(Path(clone), tmp_path / "others"))
    words = {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}
    command = [*json.loads(words["ENTRYPOINT"]), *json.loads(words["CMD"])]
    assert command[0] == "sentri-events"
    said = subprocess.run([sys.executable, "-m", "sentri_events", *command[1:], "--help"], capture_output=True)
    assert said.returncode == 0, said.stderr


@pytest.mark.debian
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """With the program where it is here. Caught: a key that is misspelt, which systemd would pass over."""
    text = (FOLDER / "sentri-events.service").read_text(encoding="utf-8")
    installed = "/opt/sentri-events/bin/sentri-events"
    assert installed in text
    unit = tmp_path / "sentri-events.service"
    unit.write_text(text.replace(installed, str(Path(sys.executable).with_name("sentri-events"))), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(re.findall(r"\b[A-Z_]{5,}(?==)", text)) <= VARIABLES
