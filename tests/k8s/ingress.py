"""An ingress controller in small: a proxy that does with paths what the manifest says."""

import re
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from typing_extensions import override

from devnet.ports import LOOPBACK
from tests.k8s.scheduler_service import manifests

NOTES = "nginx.ingress.kubernetes.io/"
FORWARDED = ("Authorization", "Content-Type", "Accept", "Cookie", "Origin")


def rewritten(path: str) -> str | None:
    """Return the path that a pod sees; None if the Ingress does not lead there."""
    ingress = manifests()["Ingress"]
    (rule,) = ingress["spec"]["rules"][0]["http"]["paths"]
    target: str = ingress["metadata"]["annotations"][f"{NOTES}rewrite-target"]
    match = re.match(rule["path"], path)
    return match.expand(target.replace("$", "\\")) if match else None


class Ingress(ThreadingHTTPServer):
    """Leads to one pod."""

    def __init__(self, port: int) -> None:
        """Listen on a free port, and lead to the pod at `port`."""
        super().__init__((LOOPBACK, 0), _Forward)
        self.pod = f"http://{LOOPBACK}:{port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.server_address[1]}"

    @override
    def __enter__(self) -> Self:
        return self

    @override
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()
        self.server_close()


class _Forward(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Ingress)
        path = rewritten(self.path)
        if path is None:
            self.send_error(404)
            return
        headers = {name: self.headers[name] for name in FORWARDED if name in self.headers}
        headers["X-Forwarded-For"] = self.client_address[0]
        timeout = manifests()["Ingress"]["metadata"]["annotations"][f"{NOTES}proxy-read-timeout"]
        request = urllib.request.Request(f"{self.server.pod}{path}", headers=headers)  # noqa: S310
        try:
            answer = urllib.request.urlopen(request, timeout=float(timeout))  # noqa: S310
        except urllib.error.HTTPError as refusal:
            answer = refusal
        with answer:
            body = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, *_: object) -> None:
        """Say nothing."""
