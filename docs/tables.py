"""Makes tables of the documents, `.env.example`, dashboards and the cluster's alerts from what each describes.

`python -m docs.tables` writes the tables between their markers, and the files; `python -m docs.tables --check` only compares.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

from pydantic.alias_generators import to_camel
from typing_extensions import override

from devnet.parts import SUPPLIES
from devnet.supply import CACHE_VARIABLE
from docs import dashboards
from docs.alert_rules import (
    ANCHOR_RULES,
    JOB_RULES,
    MAINTENANCE_RULES,
    cluster_place,
    cluster_rules,
)
from vaultmesh.api.openapi import summary
from vaultmesh.api.routes import ROUTES, Route
from vaultmesh.domain.failures import ADVICE, WEIGHT, FailureKind
from vaultmesh.domain.jobs.job import SERVICES_VARIABLE
from vaultmesh.domain.log_events import LOG_EVENTS
from vaultmesh.domain.messages import Backoff
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.targets import settings_model
from vaultmesh.process.logs import word_of
from vaultmesh.process.settings import Settings

DOCS = Path(__file__).resolve().parent
EXAMPLE = DOCS.with_name(".env.example")
RULES = (JOB_RULES, MAINTENANCE_RULES, ANCHOR_RULES)
"""Alerts as Prometheus reads them, of which those for its operator are made."""
_EXAMPLE_HEAD = """\
# Variables of `make scheduler`, `make dev` and `make demo`: cp .env.example .env, then take the # away before what you set.
# What the shell sets already counts more. Written by docs/tables.py; a shell reads it: a value with blanks or any of $ & ; # ( needs single quotes.
# Keep a .env that holds a key to yourself (chmod 600); better, name a file that holds it with keyFile in anchors.yaml.
"""

_PRODUCTS = {
    "node_modules": "folder `node_modules` with",
    "base.tar": "archive of files that is",
    "wheels": "folder of wheels that is",
}
"""What a part is, unless a program."""
COVERS = {
    FailureKind.NETWORK: "transport, time-outs, 408/429/5xx, 403 with a web page, rate limits, storage, a node that is still syncing",
    FailureKind.AUTH: "401/403, wallet locked, no funds, fee above the node's or our cap",
    FailureKind.VALIDATION: "revert, wrong chain id, contract or network, refused reply, bad batch",
    FailureKind.UNKNOWN: "everything else",
}
MEANING = {
    "VMSH_ROOT": ("the repository", "folder of batches, rounds, receipts and the Remembrancer"),
    "VMSH_NAMESPACES": (
        "`vmsh/config/namespaces.yaml`",
        "file of namespaces: below the root if present there, else in the repository",
    ),
    "VMSH_ANCHORS": (
        "`vmsh/config/anchors.yaml`",
        "file of targets: below the root if present there, else in the repository",
    ),
    "VMSH_MAINTENANCE": (
        "`vmsh/config/maintenance.yaml`",
        "file of maintenance tasks: below the root if present there, else in the repository",
    ),
    "VMSH_STATE": (
        "`out/state/scheduler.json`",
        "state file of the earlier scheduler; only read, for `register --import-state`",
    ),
    "VMSH_BASE_BACKOFF": ("", "seconds; the backoff's base"),
    "VMSH_MAX_BACKOFF": ("", "level at which the backoff ends"),
    "METRICS_PORT": ("", "port of `/metrics`, `/health`, `/livez`, `/readyz`"),
    "METRICS_PREFIX": ("", "first part of every metric's name; `vmsh` gives the earlier names"),
    "LOG_LEVEL": (
        "",
        "`trace`, `debug`, `info`, `warn`, `error`, `fatal` or `silent`; `debug` shows each request to an endpoint, `trace` also what libraries say",
    ),
    "VMSH_REGISTER": (
        "",
        "`auto`: workers start and update what `namespaces.yaml` says; `report`: they only show what differs",
    ),
    "HEARTBEAT_URL": (
        "–",
        "URL that each worker calls once a minute while every deadline holds; whoever waits for the calls pages when they stay out",
    ),
    "VMSH_ANCHOR_TIMEOUT": ("", "one attempt of `anchor`; `1s` to `1d`"),
    "VMSH_CONTINUE_AFTER_EVENTS": ("", "length at which a workflow's history is begun anew"),
    "VMSH_TICK_MS": ("–", "accepted and reported as no longer needed"),
}
"""Default (where it is no number or word of `Settings`) and meaning of what a process reads."""
PLACE: Mapping[str, Callable[[Settings], object]] = {
    "VMSH_BASE_BACKOFF": lambda settings: settings.backoff.base_seconds,
    "VMSH_MAX_BACKOFF": lambda settings: settings.backoff.cap,
    "METRICS_PORT": lambda settings: settings.metrics_port,
    "METRICS_PREFIX": lambda settings: settings.metrics_prefix,
    "LOG_LEVEL": lambda settings: settings.log_level,
    "VMSH_REGISTER": lambda settings: settings.registering,
    "VMSH_ANCHOR_TIMEOUT": lambda settings: settings.anchor_timeout,
    "VMSH_CONTINUE_AFTER_EVENTS": lambda settings: settings.continue_after_events,
}
API = {
    "API_PORT": ("`7007`", "port of the job API; `PORT` does as well"),
    "API_HOST": ("`0.0.0.0`", "address that the job API listens on; `HOST` does as well"),
    "SERVICE_TOKEN": (
        "–",
        "what services send as `X-Service-Token` to register jobs; unset, no service can",
    ),
    "ALLOW_ANONYMOUS_REGISTRATION": (
        "`false`",
        "`true`: while SERVICE_TOKEN is not set, anybody may register jobs",
    ),
    "ADMIN_TOKEN": (
        "–",
        "what administrators send as `Authorization: Bearer`; unset, and without an issuer of JWTs, their routes answer 403",
    ),
    "CLERK_PUBLISHABLE_KEY": (
        "–",
        "`pk_test_…` or `pk_live_…`: administrators send session tokens of this instance of Clerk",
    ),
    "ADMIN_JWT_ISSUER": (
        "that of Clerk's key",
        "what their JWTs have as `iss`, letter for letter; of any issuer that signs by RS256 or ES256",
    ),
    "ADMIN_JWT_JWKS_URL": (
        "`/.well-known/jwks.json` of the issuer",
        "where the issuer's public keys are; `ADMIN_JWKS_URL` does as well",
    ),
    "ADMIN_JWT_AUDIENCE": (
        "–",
        "what their `aud` must hold; unset, they must have none, and an `azp` must be among `ALLOWED_ORIGINS`",
    ),
    "ADMIN_ROLE_CLAIM": (
        "–",
        "claim that holds the role, such as `metadata.role`; unset, it is looked up in the table `users`",
    ),
    "USERS_DATABASE_URL": (
        "the database of the jobs",
        "has the table `users` with `clerk_user_id` and `role`; a URL of PostgreSQL, or `sqlite:////folder/file`",
    ),
    "ALLOWED_ORIGINS": (
        "`http://localhost:3000`",
        "comma list of origins whose pages may call the job API from a browser",
    ),
    "RATE_LIMIT_MAX": ("`100`", "requests of one client in each window; 127.0.0.1 has no limit"),
    "RATE_LIMIT_WINDOW": ("`60000`", "milliseconds of that window"),
    "TRUSTED_PROXIES": (
        "–",
        "comma list of addresses or networks whose `X-Forwarded-For` is believed; behind an ingress all clients share one limit without it",
    ),
}
"""Default and meaning of what `ApiSettings` reads."""
JOBS = {
    "JOBS_DATABASE_URL": (
        "–",
        "PostgreSQL that keeps the jobs, `postgresql://user:password@host:5432/database`; unset or `sqlite`, a file below `VMSH_ROOT`",
    ),
    "JOBS_KEEP_DAYS": (
        "`400`",
        "days for which ended runs and lines of audit are kept; `0` keeps all, as is the default in a database that others made",
    ),
    "JOBS_DRAIN": ("`310`", "seconds that runs under way get to end after SIGTERM"),
}
"""Default and meaning of what `JobSettings` reads."""
MAINTENANCE = {
    "DATABASE_URL": (
        "–",
        "PostgreSQL that `maintenance` works on, `postgresql://user:password@host:5432/database`; no pooler",
    ),
    "OTEL_EXPORTER_OTLP_ENDPOINT": (
        "–",
        "collector to which `maintenance run --once` sends its metrics by OTLP over HTTP, such as `http://otel-collector:4318`; unset, it sends none",
    ),
    "OTEL_EXPORTER_OTLP_HEADERS": ("–", "headers for that collector: `name=value,name=value`"),
    "OTEL_SERVICE_NAME": ("`battlescope-scheduler`", "name under which that collector gets them"),
    "SERVICE_INSTANCE_ID": ("the host's name", "tells instances of that service apart"),
    "SERVICE_VERSION": ("the product's version", "version of that service"),
}
"""Default and meaning of what `MaintenanceSettings` reads."""
TEMPORAL = {
    "TEMPORAL_ADDRESS": ("`localhost:7233`", "host and port of Temporal's frontend"),
    "TEMPORAL_NAMESPACE": ("`default`", "Temporal namespace, not one of ours"),
    "TEMPORAL_API_KEY, TEMPORAL_TLS_*, TEMPORAL_PROFILE": (
        "–",
        "as for every Temporal tool",
    ),
}
SERVICES = {
    "`EMAIL_SERVICE_URL`, and so for each `<NAME>_SERVICE_URL`": (
        "–",
        "http or https URL of the service `email-service`, whose jobs are called there; a path is put before their endpoints. Authorities of https servers are the system's, or those in the file that `SSL_CERT_FILE` names",
    ),
    f"`{SERVICES_VARIABLE}`": ("–", "services of any other name: `name=url,name=url`"),
    "`EMAIL_SERVICE_TOKEN`, and so for each `<SERVICE>_TOKEN`": (
        "–",
        "sent with each call as bearer token; 8 characters at least",
    ),
    "`EMAIL_SERVICE_HMAC_KEY`, and so for each `<SERVICE>_HMAC_KEY`": (
        "–",
        "signs each call: `X-Scheduler-Signature: t=<unix>,v1=<hex>`, the HMAC-SHA256 of `<unix>.<body>`; 8 characters at least",
    ),
}
"""What jobs call, by an example of each kind of variable."""


class Recorder(dict[str, str]):
    """An environment without variables that remembers which were asked for."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        super().__init__()
        self.asked: list[str] = []

    @override
    def get(self, key: str, default: object = None) -> None:  # type: ignore[override] # never holds anything
        """Return nothing, and remember the name."""
        del default
        if key not in self.asked:
            self.asked.append(key)


def variables_read() -> list[str]:
    """Return the name of every variable that `Settings` reads, in its order."""
    recorder = Recorder()
    Settings.from_environment(recorder)
    return recorder.asked


def failure_table() -> str:
    """Return the table of failures: what they cover, how long they wait, what an operator does."""
    rows = (
        (kind.value, f"{WEIGHT[kind]:g}", _backoff_of(kind), COVERS[kind], ADVICE[kind])
        for kind in FailureKind
    )
    return _table(("kind", "weight", "waits, in seconds", "covers", "what to do"), rows)


def environment_table() -> str:
    """Return the table of environment variables."""
    return _table(("variable", "default", "meaning"), _environment_rows())


def environment_example() -> str:
    """Return `.env.example`: every variable that an operator sets, commented out, with its default."""
    lines = [_EXAMPLE_HEAD]
    for names, default, meaning in _environment_rows():
        if "VMSH_TICK_MS" in names:
            continue
        for name in re.findall(r"`([A-Z0-9_]+)`", names):
            written = re.fullmatch(r"`(.*)`", default)
            value = written[1] if written else ""
            lines.append(f"# {meaning.replace('`', '')}\n#{name}={value}\n")
    return "\n".join(lines)


def _backoff_of(kind: FailureKind) -> str:
    backoff = Backoff()
    delays = (backoff.delay(failures, kind) for failures in range(1, backoff.cap + 1))
    return ", ".join(f"{delay / timedelta(seconds=1):.0f}" for delay in delays)


def _environment_rows() -> Iterator[tuple[str, ...]]:
    defaults = Settings.from_environment({})
    for name in variables_read():
        default, meaning = MEANING[name]
        value = default or f"`{_as_written(PLACE[name](defaults))}`"
        yield f"`{name}`", value, meaning
    for name, (default, meaning) in (API | JOBS | MAINTENANCE | TEMPORAL).items():
        yield ", ".join(f"`{variable}`" for variable in name.split(", ")), default, meaning
    for name, (default, meaning) in SERVICES.items():
        yield name, default, meaning
    for scheme in SCHEMES:
        model = settings_model(Target(scheme, "default"))
        for key, name in model.ENVIRONMENT.items():
            yield f"`{name}`", "–", f"overrides `{scheme}.default.{to_camel(key)}` of anchors.yaml"
    yield (
        f"`{CACHE_VARIABLE}`",
        "`~/.cache/vaultmesh-scheduler`",
        "where programs of local parts are kept",
    )
    for supply in SUPPLIES.values():
        what = _PRODUCTS.get(supply.product, "program of")
        yield f"`{supply.variable}`", "–", f"{what} {supply.name}, instead of a fetched one"
        if supply.folder_variable:
            meaning = f"folder of the program {supply.name}; `{supply.variable}` counts more"
            yield f"`{supply.folder_variable}`", "–", meaning


def _as_written(value: object) -> str:
    """Return a setting as its variable would say it."""
    match value:
        case timedelta():
            seconds = int(value.total_seconds())
            return f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def route_table() -> str:
    """Return the table of the job API's routes."""
    rows = (
        (f"{route.method} `{route.path}`", route.access.value, _takes(route), summary(route))
        for route in ROUTES
    )
    return _table(("route", "for", "takes", "does"), rows)


def _takes(route: Route) -> str:
    forms = [form for form in (route.body, route.query) if form is not None]
    names = [
        f"`{field.alias or name}`" for form in forms for name, field in form.model_fields.items()
    ]
    return ", ".join(names) or "–"


def log_table() -> str:
    """Return the table of the events that are logged."""
    rows = (
        (
            f"`{event.value}`",
            row.msg,
            word_of(row.level),
            row.means,
            ", ".join(f"`{name}`" for name in row.fields) or "–",
        )
        for event, row in LOG_EVENTS.items()
    )
    return _table(("`event`", "`msg`", "level", "logged when", "fields"), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "failures": failure_table,
    "configuration": environment_table,
    "job-api": route_table,
    "logs": log_table,
}
"""By the name of the document that has the table."""


def with_table(name: str, text: str) -> str:
    """Return a document with its table as the code has it now.

    Raises:
        LookupError: the markers of the table are missing.
    """
    begin, end = "<!-- written by docs/tables.py -->", "<!-- end -->"
    before, marker, rest = text.partition(begin)
    _, closing, after = rest.partition(end)
    if not marker or not closing:
        message = f"docs/{name}.md: the markers of its table are missing: {begin} and {end}"
        raise LookupError(message)
    return f"{before}{begin}\n{TABLES[name]()}\n{end}{after}"


def main(arguments: list[str] | None = None) -> int:
    """Write the tables into the documents, or compare them."""
    parser = argparse.ArgumentParser(prog="python -m docs.tables", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="compare; exit 1 if one differs")
    parsed = parser.parse_args(arguments)
    wanted = {DOCS / f"{name}.md": name for name in TABLES}
    current = {
        place: with_table(name, place.read_text(encoding="utf-8")) for place, name in wanted.items()
    }
    current[EXAMPLE] = environment_example()
    current |= {cluster_place(rules): cluster_rules(rules) for rules in RULES}
    current |= dashboards.files()
    behind = [
        place
        for place, text in current.items()
        if not place.exists() or place.read_text(encoding="utf-8") != text
    ]
    for place in behind:
        if parsed.check:
            sys.stderr.write(f"{place.name} is behind the code; run python -m docs.tables\n")
        else:
            place.write_text(current[place], encoding="utf-8")
    return 1 if behind and parsed.check else 0


if __name__ == "__main__":
    sys.exit(main())
