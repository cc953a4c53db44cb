"""Runs a second time-stamp authority: sigstore's, a program that shares nothing with openssl's.

1. It makes root, intermediate and leaf in memory at each start, so that each start has a root of its own.
2. It also binds port 2112 of every address, whatever it is told: one of them runs on a machine at a time. That is
   why tests alone use it, and `dev` does not.
3. It sends its chain with each token, leaf first, as it is in use; DER wants the certificates sorted.
"""

import urllib.request
from http.client import HTTPException
from pathlib import Path

from typing_extensions import override

from devnet.errors import PartError
from devnet.ports import LOOPBACK, free_port, is_free, require_free
from devnet.process import Part
from devnet.supply import Supply, run_fetching

TIMESTAMP_SERVER_VERSION = "2.0.3"
METRICS_PORT = 2112
"""Compiled into it, on every address of the machine."""
_END = b"-----END CERTIFICATE-----\n"
_ANSWER_SECONDS = 2.0


def _fetch(folder: Path) -> None:
    module = "github.com/sigstore/timestamp-authority/v2"
    package = f"{module}/cmd/timestamp-server@v{TIMESTAMP_SERVER_VERSION}"
    environment = {"GOBIN": str(folder), "GOFLAGS": "-buildvcs=false"}
    run_fetching(["go", "install", package], folder, environment)


TIMESTAMP_SERVER = Supply(
    name="timestamp-server",
    version=TIMESTAMP_SERVER_VERSION,
    variable="TIMESTAMP_SERVER",
    product="timestamp-server",
    fetch=_fetch,
    takes="2 minutes",
    needs="go",
)


def timestamp_server() -> Path:
    """Return the `timestamp-server` program."""
    return TIMESTAMP_SERVER.obtain()


class TimestampServer(Part):
    """Sigstore's authority on the loopback address."""

    def __init__(self, folder: Path, *, port: int = 0, name: str = "timestamp-server") -> None:
        """Choose a port (0: a free one); `folder` gets the root in `<name>`, and the log in `logs`."""
        self.port = port or free_port()
        base = f"http://{LOOPBACK}:{self.port}/api/v1/timestamp"
        self.url = base
        self._chain_url = f"{base}/certchain"
        folder = folder.absolute()
        self.roots = folder / name / "roots.pem"
        """The root of the newest start, PEM."""
        log = folder / "logs" / f"{name}.log"
        super().__init__(name, self._command(), log, self._answers)

    @override
    def launch(self) -> None:
        """Start.

        Raises:
            PartError: the program can't be had, or one of its two ports is taken.
        """
        require_free(self.port, self.name)
        if not is_free(METRICS_PORT):
            message = (
                f"port {METRICS_PORT}, which {self.name} cannot do without, is in use; "
                "stop the program that has it (one of these runs on a machine at a time)"
            )
            raise PartError(message)
        super().launch()

    @property
    def part(self) -> Part:
        """The authority as a process, which it is itself."""
        return self

    def _command(self) -> list[str]:
        command = [str(timestamp_server()), "serve", "--host", LOOPBACK, "--port", str(self.port)]
        return [*command, "--disable-ntp-monitoring", "--include-chain-in-response"]

    def _answers(self) -> bool:
        """It is ready once it tells its chain; the last certificate of that is the root."""
        try:
            with urllib.request.urlopen(self._chain_url, timeout=_ANSWER_SECONDS) as answer:
                chain = bytes(answer.read())
        except (OSError, HTTPException):
            return False
        certificates = [part + _END for part in chain.split(_END) if part.strip()]
        if not certificates:
            return False
        self.roots.parent.mkdir(parents=True, exist_ok=True)
        self.roots.write_bytes(certificates[-1])
        return True
