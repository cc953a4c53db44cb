"""Says what the worker of `dev` is told about HTTP jobs: where their API listens, who registers, who administers.

1. What the environment says of them counts. What it leaves open is chosen for one machine: the loopback address, and a
   token of administrators for this session.
2. Without SERVICE_TOKEN anybody may register where only this machine reaches the API; elsewhere nobody may, as in production.
3. The session's token lies in one file that only its owner can read, as a header that curl takes, until the session ends.
"""

import os
import secrets
import shlex
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from devnet.ports import LOOPBACK
from devnet.process import GRACE_SECONDS
from devnet.sample_service import SampleService
from vaultmesh.domain.jobs.job import variable_of
from vaultmesh.domain.names import EMPTY_STORE
from vaultmesh.domain.paths import CONFIG_FOLDER, MAINTENANCE_FILE
from vaultmesh.process.api_settings import ALIASES
from vaultmesh.process.logs import register_secret

SAMPLE_SERVICE = "sample-service"
"""Name of the service that jobs of `dev` can call."""
DRAIN_SECONDS = 5
"""What dev's own jobs need to end: nobody waits five minutes after Ctrl-C."""
STORES = ("JOBS_DATABASE_URL", "SUPABASE_URL")
"""Variables of an environment that has a store of jobs already."""
_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on
_HEADER_FILE = "admin.header"
_OWNER_ONLY = 0o600


def own_maintenance(root: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what keeps the worker of a local system from a database that was named for something else.

    DATABASE_URL is set in many shells, and the tasks that we ship would look after it. A maintenance.yaml of the system's own,
    or VMSH_MAINTENANCE, says that it is meant.
    """
    named = environment.get("VMSH_MAINTENANCE")
    if named or (root / CONFIG_FOLDER / MAINTENANCE_FILE).is_file():
        return {}
    return {"DATABASE_URL": ""}


class DevJobs:
    """What a session of `dev` knows of its jobs."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], *, own_store: bool = False
    ) -> None:
        """Read the environment; `folder` gets the file with the session's token.

        With `own_store` jobs lie below VMSH_ROOT, whatever database the environment names.
        """
        self._told = dict(environment)
        self._passed_over = [name for name in STORES if own_store and environment.get(name)]
        self._header_file = folder / _HEADER_FILE
        self._host = self._stated("API_HOST") or LOOPBACK
        self._own_token = secrets.token_urlsafe(32) if not environment.get("ADMIN_TOKEN") else ""
        register_secret(self._own_token)
        self._port = 0
        self.sample = SampleService()
        self.trouble = ""
        """Why jobs do not run; empty if they do."""

    def _stated(self, variable: str) -> str:
        """Return a setting of the API by its own name or its alias; empty if it is left open."""
        return self._told.get(variable) or self._told.get(ALIASES[variable]) or ""

    @property
    def stated_port(self) -> int:
        """The port that the environment gives the API; 0 if any will do."""
        port = self._stated("API_PORT")
        return int(port) if port.isdecimal() else 0

    # --- the session ---------------------------------------------------------------------------

    def start(self, port: int) -> None:
        """Start the sample service, and write the file with the session's token. `port` is the API's."""
        self._port = port
        self.sample.start()
        if not self._own_token:
            return
        self._header_file.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(self._header_file, flags, _OWNER_ONLY), "w") as file:
            file.write(f"Authorization: Bearer {self._own_token}\n")

    def stop(self) -> None:
        """Stop the sample service, and forget the token."""
        self.sample.close()
        if self._own_token:
            self._header_file.unlink(missing_ok=True)

    def environment(self) -> dict[str, str]:
        """Return what the worker is told on top of the caller's environment."""
        port = self._stated("API_PORT")
        variables = {
            "API_HOST": self._host,
            "API_PORT": str(self._port) if not port or port.isdecimal() else port,
            "JOBS_DRAIN": self._told.get("JOBS_DRAIN") or str(DRAIN_SECONDS),
            variable_of(SAMPLE_SERVICE, "URL"): self.sample.url,
        }
        if self._passed_over:
            variables["JOBS_DATABASE_URL"] = EMPTY_STORE
        if self._own_token:
            variables["ADMIN_TOKEN"] = self._own_token
        if self.is_open:
            variables["ALLOW_ANONYMOUS_REGISTRATION"] = "true"
        return variables

    @property
    def is_open(self) -> bool:
        """Whether any program may register jobs because nobody decided otherwise."""
        decided = self._told.get("SERVICE_TOKEN") or self._told.get("ALLOW_ANONYMOUS_REGISTRATION")
        return not decided and _is_loopback(self._host)

    @property
    def service_token(self) -> str:
        """What services register with; empty if nobody set it."""
        return self._told.get("SERVICE_TOKEN", "").strip()

    @property
    def grace_seconds(self) -> float:
        """How long the worker may take to end: its runs are given time."""
        drain = self.environment()["JOBS_DRAIN"]
        return max(GRACE_SECONDS, float(drain) + DRAIN_SECONDS) if drain.isdecimal() else 0.0

    @property
    def url(self) -> str:
        """Where this machine reaches the API."""
        host = LOOPBACK if self._host in _ANYWHERE else self._host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

    def introduction(self) -> list[str]:
        """Return what people are told at the start: where the API is, who may register, how to ask."""
        if self.trouble:
            return [f"jobs     do not run: {self.trouble}"]
        header = '"Authorization: Bearer $ADMIN_TOKEN"'
        if self._own_token:
            header = shlex.quote(f"@{self._header_file}")
        return [
            f"job API  {self.url}/api/jobs; {self._who_registers()}",
            *(f"jobs     lie below root: {name} is left to `dev`" for name in self._passed_over),
            f"Try: curl -H {header} \\\n     {self.url}/api/jobs",
        ]

    def _who_registers(self) -> str:
        if self.service_token:
            return "services have SERVICE_TOKEN"
        if self.is_open:
            return "any program here may register"
        if self._told.get("ALLOW_ANONYMOUS_REGISTRATION", "").lower() == "true":
            return "whoever reaches it may register"
        return "nobody registers without SERVICE_TOKEN"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
