"""Settings: what is accepted and refused, and that options, environment and documentation tell the same."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from sentri_events.cli import cli
from sentri_events.errors import SettingsError
from sentri_events.settings import SETTINGS, Setting, Settings, load

OPERATING = Path(__file__).parent.parent / "docs" / "operating.md"
SECRET = "0123456789abcdef0123456789abcdef"
OTHER = {
    "host": "::1",
    "port": "9",
    "jwt_secret": SECRET,
    "cors_origin": "https://app.example.org",
    "database": "sqlite:////srv/e.db",
    "volatile_types": "frame",
    "log_level": "WARN",
    "trusted_proxies": "10.0.0.0/8",
}

DATABASE = "--database (DATABASE_URL)"


def a_setting(item: Setting) -> str:
    return item.name


def another(item: Setting) -> str:
    """A text that is right for the setting and not its default."""
    if item.name in OTHER:
        return OTHER[item.name]
    return "true" if item.kind is bool else "other" if item.kind is str else str(item.default + 1)


def from_command_line(*arguments: str) -> Settings:
    """What `serve` with these arguments, in this environment, would run with."""
    serve = cli.commands["serve"]
    return load(serve.make_context("serve", list(arguments)).params)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for item in SETTINGS:
        monkeypatch.delenv(item.env, raising=False)
        monkeypatch.delenv(f"{item.env}_FILE", raising=False)


def test_without_any_value_all_is_default() -> None:
    assert load({}) == load(dict.fromkeys(item.name for item in SETTINGS)) == Settings() == from_command_line()


@pytest.mark.parametrize("item", SETTINGS, ids=a_setting)
def test_each_setting_has_an_option_and_an_environment_variable(item: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    value = another(item)
    wanted: str | int | float = getattr(load({item.name: value}), item.name)
    assert wanted != item.default
    assert type(wanted) is item.kind
    assert load({item.name: wanted}) == load({item.name: value})

    option = [item.flag] if item.kind is bool else [item.flag, value]
    assert getattr(from_command_line(*option), item.name) == wanted
    monkeypatch.setenv(item.env, value)
    assert getattr(from_command_line(), item.name) == wanted
    if item.kind is not bool and item.default != "":
        assert getattr(from_command_line(item.flag, str(item.default)), item.name) == item.default
    monkeypatch.setenv(item.env, "")
    assert from_command_line() == Settings()


@pytest.mark.parametrize("item", SETTINGS, ids=a_setting)
def test_help_tells_option_and_environment(item: Setting) -> None:
    serve = cli.commands["serve"]
    (option,) = [one for one in serve.params if isinstance(one, click.Option) and item.flag in one.opts]
    assert option.help == item.help
    assert option.envvar == item.env
    assert option.show_envvar


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"port": "x"}, "--port (SENTRI_EVENTS_PORT) must be a whole number, not 'x'."),
        ({"port": "80.5"}, "--port (SENTRI_EVENTS_PORT) must be a whole number, not '80.5'."),
        ({"port": "-1"}, "--port (SENTRI_EVENTS_PORT) must be at least 0 and at most 65535, not -1."),
        ({"port": "65536"}, "--port (SENTRI_EVENTS_PORT) must be at least 0 and at most 65535, not 65536."),
        ({"heartbeat": "soon"}, "--heartbeat (SENTRI_EVENTS_HEARTBEAT) must be a number, not 'soon'."),
        ({"heartbeat": "0"}, "--heartbeat (SENTRI_EVENTS_HEARTBEAT) must be at least 0.1 and at most 3600, not 0."),
        ({"heartbeat": "nan"}, "--heartbeat (SENTRI_EVENTS_HEARTBEAT) must be at least 0.1 and at most 3600, not nan."),
        ({"stall_timeout": "0.5"}, "--stall-timeout (SENTRI_EVENTS_STALL_TIMEOUT) must be at least 1, not 0.5."),
        ({"run_timeout": "0"}, "--run-timeout (SENTRI_EVENTS_RUN_TIMEOUT) must be at least 1, not 0."),
        ({"grace": "-1"}, "--grace (SENTRI_EVENTS_GRACE) must be at least 0, not -1."),
        ({"insecure": "perhaps"}, "--insecure (SENTRI_EVENTS_INSECURE) must be true or false, not 'perhaps'."),
        ({"database": "events.db"}, f"{DATABASE} must be a URL that begins with sqlite:// or postgresql://, not"),
        (
            {"database": "mysql://h"},
            f"{DATABASE} must be a URL that begins with sqlite:// or postgresql://, not 'mysql'.",
        ),
        ({"cors_origin": "*"}, "--cors-origin (CORS_ORIGIN) takes origins such as https://app.example.org, not '*'."),
        (
            {"cors_origin": "https://a.b/"},
            "--cors-origin (CORS_ORIGIN) takes origins such as https://app.example.org, not",
        ),
        ({"jwt_secret": "short"}, "--jwt-secret (JWT_SECRET) must have at least 32 bytes, each of several."),
        ({"jwt_secret": f"{SECRET} short"}, "--jwt-secret (JWT_SECRET) must have at least 32 bytes, each of several."),
        ({"log_level": "loud"}, "--log-level (LOG_LEVEL) must be one of debug, info, warn, error, not 'loud'."),
        ({"run_id_prefix": "a/b"}, "--run-id-prefix (SENTRI_EVENTS_RUN_ID_PREFIX) may hold letters, digits, "),
        ({"run_id_prefix": "a" * 65}, "--run-id-prefix (SENTRI_EVENTS_RUN_ID_PREFIX) may hold letters, digits, "),
        ({"volatile_types": "frame,log"}, "--volatile-types (SENTRI_EVENTS_VOLATILE_TYPES) cannot hold 'log'."),
        ({"volatile_types": "a b"}, "--volatile-types (SENTRI_EVENTS_VOLATILE_TYPES) cannot hold 'a b'."),
    ],
)
def test_a_wrong_value_is_refused_with_a_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(values)
    assert str(refused.value).startswith(sentence)


def test_volatile_types_are_a_list_with_commas() -> None:
    assert load({"volatile_types": " frame , my.type,,"}).volatile == {"frame", "my.type"}
    assert load({"volatile_types": ""}).volatile == frozenset()


@pytest.mark.parametrize(("text", "value"), [("1", True), ("Yes", True), ("on", True), ("0", False), ("off", False)])
def test_truth_has_several_spellings(text: str, value: bool) -> None:
    assert load({"insecure": text}).insecure is value


def test_a_server_with_a_wrong_setting_does_not_start() -> None:
    command = [sys.executable, "-m", "sentri_events", "serve", "--port", "eighty"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "Error: --port (SENTRI_EVENTS_PORT) must be a whole number, not 'eighty'.\n"
    assert ended.stdout == ""


def row(item: Setting) -> str:
    """How the documentation tells a setting."""
    default = f"{item.default:g}" if item.kind is float else str(item.default)
    cell = f"`{default}`" if default and item.kind is not bool else "off" if item.kind is bool else ""
    kind = "" if item.kind in (bool, str) else _bounds(item)
    return f"| `{item.flag}` | `{item.env}` | {cell} | {item.help}{kind} |"


def _bounds(item: Setting) -> str:
    return f" {item.least:g} at least." if item.most == math.inf else f" {item.least:g} to {item.most:.10g}."


def test_the_documentation_has_a_row_for_each_setting() -> None:
    lines = OPERATING.read_text(encoding="utf-8").splitlines()
    begin = lines.index("| option | environment | default | what it is |") + 2
    end = next(number for number in range(begin, len(lines)) if not lines[number].startswith("|"))
    assert lines[begin:end] == [row(item) for item in SETTINGS]


def test_no_password_is_in_the_settings_words() -> None:
    hush = "hush" * 8
    settings = load(
        {item.name: f"sqlite:///{hush}" if item.name == "database" else hush for item in SETTINGS if item.secret}
    )
    assert "hush" not in repr(settings)


@pytest.mark.parametrize("item", [item for item in SETTINGS if item.secret], ids=a_setting)
def test_a_secret_can_stand_in_a_file(item: Setting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is said more plainly wins. An empty file must not be as good as no secret: nobody would be asked."""
    value, file = another(item), tmp_path / "secret"
    file.write_text(f"{value}\n")
    monkeypatch.setenv(f"{item.env}_FILE", str(file))
    assert getattr(from_command_line(), item.name) == value
    monkeypatch.setenv(item.env, item.default or SECRET)
    assert getattr(from_command_line(), item.name) == (item.default or SECRET)
    monkeypatch.delenv(item.env)
    file.write_text(" \n")
    with pytest.raises(SettingsError, match=rf"{item.env}_FILE names an empty file\."):
        from_command_line()
    file.unlink()
    with pytest.raises(SettingsError, match=rf"{item.env}_FILE cannot be read: No such file or directory\."):
        from_command_line()


def test_several_secrets_are_separated_by_spaces_or_lines() -> None:
    assert load({"jwt_secret": f" {SECRET}\n{SECRET}x  {SECRET}y"}).jwt_secrets == (SECRET, f"{SECRET}x", f"{SECRET}y")
