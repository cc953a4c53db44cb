"""A local authority stamps as openssl does, goes on after its end, and keeps its keys to itself."""

import json
import secrets
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from devnet.errors import PartError
from devnet.process import Part
from devnet.timestamp_server import TimestampServer
from devnet.tsa import Tsa
from devnet.tsa_server import FAULTS, QUERY


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tsa]:
    """Return an authority that goes wrong on request."""
    with Tsa(tmp_path_factory.mktemp("faulty"), faults=True) as started:
        yield started


def make_query(folder: Path, name: str = "q.tsq") -> bytes:
    """Return a query of openssl's own."""
    digest = secrets.token_hex(32)
    command = ["openssl", "ts", "-query", "-digest", digest, "-sha256", "-cert", "-out", name]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return (folder / name).read_bytes()


def ask(tsa: Tsa | TimestampServer, query: bytes) -> bytes:
    """Return the reply to a query."""
    request = urllib.request.Request(tsa.url, data=query, headers={"Content-Type": QUERY})  # noqa: S310 - our own address
    with urllib.request.urlopen(request, timeout=40) as reply:  # noqa: S310 - our own address
        return bytes(reply.read())


def verifies(tsa: Tsa | TimestampServer, folder: Path, reply: bytes, name: str = "q.tsq") -> bool:
    """Tell whether openssl takes a reply to a query."""
    (folder / "r.tsr").write_bytes(reply)
    command = ["openssl", "ts", "-verify", "-queryfile", name, "-in", "r.tsr"]
    done = subprocess.run(
        [*command, "-CAfile", str(tsa.roots)], cwd=folder, check=False, capture_output=True
    )
    return done.returncode == 0


def test_a_query_is_stamped_and_openssl_verifies_it(tmp_path: Path) -> None:
    with Tsa(tmp_path) as tsa:
        assert isinstance(tsa.part, Part)
        reply = ask(tsa, make_query(tmp_path))
        assert verifies(tsa, tmp_path, reply)
        make_query(tmp_path)
        assert not verifies(tsa, tmp_path, reply), "the nonce is another one"
    with pytest.raises(urllib.error.URLError):
        tsa.queries()


def test_it_goes_on_with_its_root_and_its_numbers_after_its_end(tmp_path: Path) -> None:
    with Tsa(tmp_path) as tsa:
        first = ask(tsa, make_query(tmp_path))
        serial = (tsa.place / "serial").read_text()
        tsa.kill()
        tsa.start()
        assert verifies(tsa, tmp_path, first)
        ask(tsa, make_query(tmp_path))
        assert int((tsa.place / "serial").read_text(), 16) == int(serial, 16) + 1
    port = tsa.port
    with Tsa(tmp_path, port=port) as again:
        assert verifies(again, tmp_path, ask(again, make_query(tmp_path)))
        assert again.url == tsa.url


def test_private_keys_lie_in_keys_alone_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    tsa = Tsa(tmp_path, faults=True)
    tsa.make()
    keys = sorted((tmp_path / "keys").iterdir())
    assert {stat.S_IMODE(one.stat().st_mode) for one in keys} == {0o600}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    others = [one for one in tsa.place.rglob("*") if one.is_file()]
    assert not [one for one in others if b"PRIVATE KEY" in one.read_bytes()]
    kept = tsa.roots.read_bytes()
    tsa.roots.unlink()
    with pytest.raises(PartError, match=r"roots\.pem is missing"):
        tsa.make()
    tsa.roots.write_bytes(kept)
    tsa.make()
    tsa.key_files[1].unlink()
    with pytest.raises(PartError, match=r"tsa\.key is missing"):
        tsa.make()


def test_many_queries_at_once_get_different_numbers(tmp_path: Path) -> None:
    with Tsa(tmp_path) as tsa:
        before = int((tsa.place / "serial").read_text(), 16)
        queries = [make_query(tmp_path, f"{n}.tsq") for n in range(8)]
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda query: ask(tsa, query), queries))
        assert int((tsa.place / "serial").read_text(), 16) == before + 8
        assert all(verifies(tsa, tmp_path, one, f"{n}.tsq") for n, one in enumerate(replies))


def test_faults_are_taken_only_where_they_were_asked_for(tmp_path: Path) -> None:
    with Tsa(tmp_path) as tsa:
        with pytest.raises(urllib.error.HTTPError, match="415"):
            tsa.fail("error")
        assert verifies(tsa, tmp_path, ask(tsa, make_query(tmp_path)))


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"slow", "untyped"}))
def test_a_fault_spoils_so_many_replies_and_no_more(
    faulty: Tsa, tmp_path: Path, fault: str
) -> None:
    ask(faulty, make_query(tmp_path))
    faulty.fail(fault, times=1)
    query = make_query(tmp_path)
    with suppress(OSError):  # an HTTP error, a redirect nobody follows, a closed connection
        assert not verifies(faulty, tmp_path, ask(faulty, query))
    assert verifies(faulty, tmp_path, ask(faulty, query))


def test_what_is_too_large_or_no_query_is_refused(faulty: Tsa) -> None:
    for data, kind, status in ((bytes(100_000), QUERY, 413), (b"{}", "text/plain", 415)):
        request = urllib.request.Request(faulty.url, data=data, headers={"Content-Type": kind})  # noqa: S310 - our own address
        with pytest.raises(urllib.error.HTTPError) as failure:
            urllib.request.urlopen(request, timeout=5)  # noqa: S310 - our own address
        assert failure.value.code == status
        failure.value.close()
    with urllib.request.urlopen(faulty.url, timeout=5) as answer:  # noqa: S310 - our own address
        assert json.load(answer)["queries"] >= 0
