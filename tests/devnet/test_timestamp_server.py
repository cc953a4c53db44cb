"""Sigstore's authority answers as RFC 3161 says, has a root of its own, and says so when its fixed port is taken."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from cryptography import x509

from devnet.errors import PartError
from devnet.ports import LOOPBACK
from devnet.process import Part
from devnet.timestamp_server import METRICS_PORT, TimestampServer
from devnet.tsa import Tsa
from tests.devnet.test_tsa import ask, make_query, verifies


def test_it_stamps_and_each_start_has_a_root_of_its_own(tmp_path: Path) -> None:
    seen = []
    with TimestampServer(tmp_path) as server:
        assert isinstance(server.part, Part)
        for _ in range(2):
            (root,) = x509.load_pem_x509_certificates(server.roots.read_bytes())
            assert root.issuer == root.subject
            reply = ask(server, make_query(tmp_path))
            assert verifies(server, tmp_path, reply)
            make_query(tmp_path)
            assert not verifies(server, tmp_path, reply), "the nonce is another one"
            seen.append(root)
            server.kill()
            server.start()
    assert seen[0] != seen[1]
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(server.url, timeout=5)  # noqa: S310 - our own address


def test_its_tokens_do_not_lead_to_the_other_authoritys_root(tmp_path: Path) -> None:
    other = Tsa(tmp_path)
    other.make()
    with TimestampServer(tmp_path) as server:
        query = make_query(tmp_path)
        assert not verifies(other, tmp_path, ask(server, query))


def test_a_second_one_on_the_machine_is_refused_in_one_line(tmp_path: Path) -> None:
    with TimestampServer(tmp_path / "first") as first:
        second = TimestampServer(tmp_path / "second")
        with pytest.raises(
            PartError, match=f"^port {METRICS_PORT}, which .* is in use; "
        ) as failure:
            second.start()
        assert "\n" not in str(failure.value)
        assert not second.alive
        with pytest.raises(PartError, match=f"port {first.port} of timestamp-server is in use"):
            TimestampServer(tmp_path / "third", port=first.port).start()
        assert first.url.startswith(f"http://{LOOPBACK}:{first.port}/")
