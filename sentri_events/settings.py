"""Every setting of the server, once: its name, default, environment name and help stand in the class below.

The CLI makes its options from this table and the docs are compared with it; nothing else reads the environment.
"""

import ipaddress
import math
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, NamedTuple

from sentri_events.errors import SettingsError

LOG_LEVELS = ("debug", "info", "warn", "error")
DATABASE_SCHEMES = ("sqlite", "postgresql", "postgres")
RUN_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
EVENT_TYPE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
LEAST_SECRET = 32  # bytes: HS256 takes no less
RELOADED = ("log_level", "jwt_secret", "metrics_token", "artifact_secret")  # read again from files while it runs
ALWAYS_DURABLE = frozenset({"log", "result", "update", "done"})


def _setting(default: Any, env: str, help: str, least: float = 0, most: float = math.inf, secret: bool = False) -> Any:
    told = {"env": env, "help": help, "least": least, "most": most, "secret": secret}
    return field(default=default, repr=not secret, metadata=told)


@dataclass(frozen=True)
class Settings:
    """What a server runs with. Wrong values are refused with a `SettingsError` that says what would be right."""

    host: str = _setting("127.0.0.1", "SENTRI_EVENTS_HOST", "Address to listen on.")
    port: int = _setting(8000, "SENTRI_EVENTS_PORT", "Port to listen on; 0 takes a free one.", most=65535)
    insecure: bool = _setting(
        False,
        "SENTRI_EVENTS_INSECURE",
        "Allow an address other than loopback, and any name, although nobody is asked who they are.",
    )
    jwt_secret: str = _setting(
        "",
        "JWT_SECRET",
        "Secret of the tokens, 32 bytes or more; the first of several, by spaces, signs. Without it nobody is asked.",
        secret=True,
    )
    jwks: str = _setting(
        "",
        "SENTRI_EVENTS_JWKS",
        "Public keys (JWKS) of another issuer of tokens, RS256 or ES256: a file or an https URL (extra: jwks).",
    )
    jwt_audience: str = _setting("", "SENTRI_EVENTS_JWT_AUDIENCE", "The aud that every token must have.")
    jwt_issuer: str = _setting("", "SENTRI_EVENTS_JWT_ISSUER", "The iss that every token must have.")
    no_query_token: bool = _setting(
        False, "SENTRI_EVENTS_NO_QUERY_TOKEN", "Take no token from ?token=, where logs and histories may keep it."
    )
    artifact_secret: str = _setting(
        "", "ARTIFACT_SECRET", "Secret that signs links to artifacts, the same as the original's.", secret=True
    )
    artifact_token_ttl_ms: int = _setting(
        3_600_000, "ARTIFACT_TOKEN_TTL_MS", "Milliseconds for which a link to an artifact is good.", least=1000
    )
    artifacts: str = _setting(
        "", "SENTRI_EVENTS_ARTIFACTS", "Folder of the screenshots, videos and traces that /artifacts/ serves."
    )
    cors_origin: str = _setting(
        "", "CORS_ORIGIN", "Other origins whose pages may ask with a user's cookie, by comma: https://app.example.org."
    )
    metrics_token: str = _setting(
        "", "SENTRI_EVENTS_METRICS_TOKEN", "Bearer token for GET /metrics alone; admins may read it too.", secret=True
    )
    database: str = _setting(
        "sqlite:///sentri-events.db",
        "DATABASE_URL",
        "Where events are stored: sqlite:///FILE (sqlite:////ABSOLUTE) or postgresql://USER:PASSWORD@HOST:PORT/NAME.",
        secret=True,
    )
    redis_url: str = _setting(
        "", "REDIS_URL", "Redis between several instances; without it this is the only one.", secret=True
    )
    processes: int = _setting(
        1, "SENTRI_EVENTS_PROCESSES", "Server processes on this machine; more than one take a Redis.", least=1, most=256
    )
    standalone: bool = _setting(
        False, "SENTRI_EVENTS_STANDALONE", "Start a Valkey of our own between the processes (extra: standalone)."
    )
    heartbeat: float = _setting(
        5.0, "SENTRI_EVENTS_HEARTBEAT", "Seconds between two heartbeats on a stream.", least=0.1, most=3600
    )
    stall_timeout: float = _setting(
        60.0, "SENTRI_EVENTS_STALL_TIMEOUT", "Seconds after which a viewer that takes nothing is closed.", least=1
    )
    run_timeout: float = _setting(
        900.0, "SENTRI_EVENTS_RUN_TIMEOUT", "Seconds of a producer's silence that interrupt its run.", least=1
    )
    retention_days: float = _setting(
        0.0, "SENTRI_EVENTS_RETENTION_DAYS", "Days after its end that a run is removed with its events; 0: never."
    )
    retention_events: int = _setting(
        0, "SENTRI_EVENTS_RETENTION_EVENTS", "How many of a run's last events are kept, of each run; 0: all."
    )
    grace: float = _setting(8.0, "SENTRI_EVENTS_GRACE", "Seconds that stopping may take while streams are open.")
    max_event_bytes: int = _setting(
        1 << 20, "SENTRI_EVENTS_MAX_EVENT_BYTES", "Largest event, as stored.", least=1024, most=1 << 30
    )
    max_body_bytes: int = _setting(
        8 << 20, "SENTRI_EVENTS_MAX_BODY_BYTES", "Largest request body.", least=1024, most=1 << 30
    )
    max_batch_events: int = _setting(
        1000, "SENTRI_EVENTS_MAX_BATCH_EVENTS", "Most events of one request.", least=1, most=100_000
    )
    max_url_bytes: int = _setting(
        8 << 10, "SENTRI_EVENTS_MAX_URL_BYTES", "Longest path and query of a request.", least=1024, most=1 << 20
    )
    max_header_bytes: int = _setting(
        16 << 10, "SENTRI_EVENTS_MAX_HEADER_BYTES", "Largest headers of a request.", least=1024, most=1 << 20
    )
    request_timeout: float = _setting(
        15.0,
        "SENTRI_EVENTS_REQUEST_TIMEOUT",
        "Seconds that a request's headers, its body, and the pause before the next one may take.",
        least=0.1,
        most=3600,
    )
    max_requests_per_second: int = _setting(
        1000,
        "SENTRI_EVENTS_MAX_REQUESTS_PER_SECOND",
        "Requests that write, of one caller, or of one address where nobody is asked.",
        least=1,
        most=1_000_000,
    )
    max_streams: int = _setting(
        50_000, "SENTRI_EVENTS_MAX_STREAMS", "Streams that one process holds open.", least=1, most=10_000_000
    )
    max_streams_per_run: int = _setting(
        10_000, "SENTRI_EVENTS_MAX_STREAMS_PER_RUN", "Of these, of one run.", least=1, most=10_000_000
    )
    max_streams_per_caller: int = _setting(
        1000, "SENTRI_EVENTS_MAX_STREAMS_PER_CALLER", "Of these, of one caller.", least=1, most=10_000_000
    )
    max_streams_per_address: int = _setting(
        1000,
        "SENTRI_EVENTS_MAX_STREAMS_PER_ADDRESS",
        "Of these, of one address (IPv6: a /64) other than this machine's.",
        least=1,
        most=10_000_000,
    )
    stream_lifetime: float = _setting(
        14_400.0,
        "SENTRI_EVENTS_STREAM_LIFETIME",
        "Seconds after which a stream ends, or up to a quarter earlier; who watches comes back and misses nothing.",
        least=1,
    )
    trusted_proxies: str = _setting(
        "",
        "SENTRI_EVENTS_TRUSTED_PROXIES",
        "Addresses or networks of proxies, by comma, whose X-Forwarded-For is believed.",
    )
    volatile_types: str = _setting(
        "frame,snapshot", "SENTRI_EVENTS_VOLATILE_TYPES", "Event types that are carried but never stored, by comma."
    )
    run_id_prefix: str = _setting("RUN-", "SENTRI_EVENTS_RUN_ID_PREFIX", "What the ids of runs begin with.")
    log_level: str = _setting("info", "LOG_LEVEL", f"What is logged: {', '.join(LOG_LEVELS)}.")
    log_json: bool = _setting(False, "LOG_JSON", "Write the log as JSON, one object a line.")

    def __post_init__(self) -> None:
        for item in SETTINGS:
            value = getattr(self, item.name)
            if item.kind in (int, float) and not (item.least <= value <= item.most and math.isfinite(value)):
                bounds = f"at least {item.least}" + (f" and at most {item.most}" if item.most < math.inf else "")
                raise SettingsError(f"{item.label} must be {bounds}, not {value}.")
        scheme = self.database.partition(":")[0]
        if scheme not in DATABASE_SCHEMES or "://" not in self.database:
            known = " or ".join(f"{known}://" for known in DATABASE_SCHEMES[:2])
            raise SettingsError(f"{_label('database')} must be a URL that begins with {known}, not {scheme!r}.")
        if self.log_level.lower() not in LOG_LEVELS:
            known = ", ".join(LOG_LEVELS)
            raise SettingsError(f"{_label('log_level')} must be one of {known}, not {self.log_level!r}.")
        if not re.fullmatch(r"[A-Za-z0-9._-]{0,64}", self.run_id_prefix):
            raise SettingsError(f"{_label('run_id_prefix')} may hold letters, digits, '.', '_' and '-', 64 at most.")
        for origin in self.origins:
            if not re.fullmatch(r"https?://[a-z0-9._-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?", origin):
                raise SettingsError(
                    f"{_label('cors_origin')} takes origins such as https://app.example.org, not {origin!r}."
                )
        if self.artifacts and self.asks and not self.artifact_secret:
            raise SettingsError(f"{_label('artifacts')} needs {_label('artifact_secret')}: links are what opens them.")
        if any(len(secret.encode()) < LEAST_SECRET for secret in self.jwt_secrets):
            raise SettingsError(f"{_label('jwt_secret')} must have at least {LEAST_SECRET} bytes, each of several.")
        try:
            self.proxies  # noqa: B018
        except ValueError as error:
            raise SettingsError(f"{_label('trusted_proxies')} takes addresses and networks: {error}.") from None
        for name in self.volatile:
            if not EVENT_TYPE.fullmatch(name) or name in ALWAYS_DURABLE:
                raise SettingsError(f"{_label('volatile_types')} cannot hold {name!r}.")

    @property
    def volatile(self) -> frozenset[str]:
        """The types that are volatile by default (protocol, section 1)."""
        return frozenset(name.strip() for name in self.volatile_types.split(",") if name.strip())

    @property
    def origins(self) -> frozenset[str]:
        """The origins of other pages that may ask."""
        return frozenset(origin.strip() for origin in self.cors_origin.split(",") if origin.strip())

    @property
    def proxies(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The networks of the proxies that are trusted."""
        return tuple(map(ipaddress.ip_network, filter(None, map(str.strip, self.trusted_proxies.split(",")))))

    @property
    def asks(self) -> bool:
        """Whether callers are asked who they are."""
        return bool(self.jwt_secrets or self.jwks)

    @property
    def jwt_secrets(self) -> tuple[str, ...]:
        """The secrets of tokens: the first one signs, all of them verify."""
        return tuple(self.jwt_secret.split())


class Setting(NamedTuple):
    """One row of the table: the field's name, the type of its value, and what a user is told about it."""

    name: str
    kind: type
    default: Any
    env: str
    help: str
    least: float
    most: float
    secret: bool

    @property
    def flag(self) -> str:
        """Its option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def label(self) -> str:
        """How a sentence names it: by option and environment."""
        return f"{self.flag} ({self.env})"


def _row(item: "Field[Any]") -> Setting:
    return Setting(item.name, type(item.default), item.default, **item.metadata)


SETTINGS: tuple[Setting, ...] = tuple(_row(item) for item in fields(Settings))


def _label(name: str) -> str:
    return next(item.label for item in SETTINGS if item.name == name)


def load(values: Mapping[str, str | int | float | bool | None]) -> Settings:
    """Settings from texts, as they come from the command line or the environment; None means the default.

    Raises `SettingsError` with a sentence that names the setting.
    """
    read: dict[str, Any] = {}
    for item in SETTINGS:
        value = values.get(item.name)
        if value is None:
            continue
        if item.kind is bool and isinstance(value, str):
            if value.lower() not in ("1", "true", "yes", "on", "0", "false", "no", "off", ""):
                raise SettingsError(f"{item.label} must be true or false, not {value!r}.")
            value = value.lower() in ("1", "true", "yes", "on")
        elif item.kind in (int, float):
            try:
                value = item.kind(value)
            except (TypeError, ValueError):
                kind = "a whole number" if item.kind is int else "a number"
                raise SettingsError(f"{item.label} must be {kind}, not {value!r}.") from None
        read[item.name] = value
    return Settings(**read)
