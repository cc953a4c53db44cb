"""Runs a local time-stamp authority: openssl's own, behind HTTP, with a root of its own.

1. Root, leaf and configuration are made once, in the folder's `tsa`; private keys lie in `keys` (0600), nowhere else.
2. What an earlier run made is used again: tokens of then and now lead to the same root.
3. It is no product: whoever has the folder can stamp any time.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from typing_extensions import override

from devnet.errors import PartError
from devnet.ports import LOOPBACK, free_port, require_free
from devnet.process import Part

OPENSSL_SECONDS = 30.0
DAYS = 3_650
POLICY, OTHER_POLICY = "1.3.6.1.4.1.13762.3.1", "1.3.6.1.4.1.13762.3.2"
"""What it stamps under when nothing is asked for, and what may be asked for as well."""
KEY_MODE, FOLDER_MODE = 0o600, 0o700

_ANSWER_SECONDS = 10.0
_SERVER = str(Path(__file__).with_name("tsa_server.py"))
_CERTIFICATES = """[req]
distinguished_name = subject
prompt = no
[subject]
[root]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""
_AUTHORITY = """[tsa]
default_tsa = authority
[authority]
serial = {folder}/serial
signer_cert = {folder}/leaf.pem
certs = {folder}/root.pem
signer_key = {key}
signer_digest = sha256
default_policy = {policy}
other_policies = {other}
digests = {digests}
accuracy = secs:1
ordering = no
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


class Tsa(Part):
    """A time-stamp authority on the loopback address."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        name: str = "tsa",
        faults: bool = False,
        root_days: int = DAYS,
    ) -> None:
        """Choose a port (0: a free one).

        Args:
            folder: gets certificates and configuration in `<name>`, keys in `keys`, the log in `logs`.
            port: where it answers.
            name: of the part, its subfolder, and in its certificates.
            faults: whether it can be told to answer wrongly (`fail`).
            root_days: how long a root that is made now is valid.
        """
        self.port = port or free_port()
        self.url = f"http://{LOOPBACK}:{self.port}/"
        folder = folder.absolute()
        self.place = folder / name
        self.roots = self.place / "roots.pem"
        """Every root in use, PEM."""
        self._keys = folder / "keys"
        self._faults = faults
        self._root_days = root_days
        options = ["--folder", str(self.place), "--port", str(self.port)]
        command = [sys.executable, _SERVER, *options, *(["--faults"] if faults else [])]
        super().__init__(name, command, folder / "logs" / f"{name}.log", self._answers)

    @override
    def launch(self) -> None:
        """Start; makes root, leaf and keys the first time.

        Raises:
            PartError: openssl is missing or fails, the port is taken, or part of what was made before is missing.
        """
        require_free(self.port, self.name)
        self.make()
        super().launch()

    @property
    def part(self) -> Part:
        """The authority as a process, which it is itself."""
        return self

    @property
    def key_files(self) -> tuple[Path, Path]:
        """Private keys of the root and of the leaf."""
        return self._keys / f"{self.name}-root.key", self._keys / f"{self.name}.key"

    def make(self) -> None:
        """Make root, leaf and configuration, if nothing of it is there.

        Raises:
            PartError: openssl is missing or fails, or something that was made before is missing.
        """
        if shutil.which("openssl") is None:
            message = "openssl is not installed; install it (Debian: apt-get install openssl)"
            raise PartError(message)
        if not (self.place / "serial").exists():
            _make(self.place, self.key_files, self.name, self._root_days)
        needed = (self.roots, self.place / "leaf.pem", *self.key_files)
        missing = [str(file) for file in needed if not file.exists()]
        if missing:
            message = f"{missing[0]} is missing; restore it, or begin with a new folder"
            raise PartError(message)
        _configure(self.place, self.key_files[1])
        if self._faults:
            self._make_foreign()

    def _make_foreign(self) -> None:
        place = self.place / "foreign"
        root, leaf = (self._keys / f"{self.name}-foreign-{role}.key" for role in ("root", "leaf"))
        if not (place / "serial").exists():
            _make(place, (root, leaf), f"{self.name} foreign")
        _configure(place, leaf)

    def fail(self, fault: str, *, times: int = 0, seconds: float = 1.0) -> None:
        """Answer wrongly from now on (`devnet.tsa_server.FAULTS`; empty: rightly), or for so many `times`."""
        body = json.dumps({"fault": fault, "times": times, "seconds": seconds}).encode()
        request = urllib.request.Request(f"{self.url}fault", data=body)
        urllib.request.urlopen(request, timeout=_ANSWER_SECONDS).close()

    def queries(self) -> int:
        """Return how many queries came since it started."""
        with urllib.request.urlopen(self.url, timeout=_ANSWER_SECONDS) as answer:
            return int(json.load(answer)["queries"])

    def _answers(self) -> bool:
        try:
            return self.queries() >= 0
        except (urllib.error.URLError, OSError, ValueError):
            return False


def _make(place: Path, keys: tuple[Path, Path], name: str, root_days: int = DAYS) -> None:
    """Make an authority; its last file is `serial`, so that one that was broken off is made anew."""
    place.mkdir(parents=True, exist_ok=True)
    keys[0].parent.mkdir(parents=True, exist_ok=True)
    keys[0].parent.chmod(FOLDER_MODE)
    for key in keys:
        _make_key(key)
    configuration = place / "certificates.cnf"
    configuration.write_text(_CERTIFICATES)
    root, leaf, request = place / "root.pem", place / "leaf.pem", place / "leaf.csr"
    days = ("-days", str(DAYS), "-sha256")
    extended = ("-config", str(configuration), "-extensions", "root")
    organisation = f"/O=VaultMesh devnet/CN={name}"
    _openssl(
        *("req", "-x509", "-new", "-key", str(keys[0]), "-subj", f"{organisation} root"),
        *("-days", str(root_days), "-sha256", *extended, "-out", str(root)),
    )
    _openssl(
        *("req", "-new", "-key", str(keys[1]), "-subj", f"{organisation} authority"),
        *("-config", str(configuration), "-out", str(request)),
    )
    _openssl(
        *("x509", "-req", "-in", str(request), "-CA", str(root), "-CAkey", str(keys[0])),
        *("-set_serial", f"0x{secrets.token_hex(8)}", *days, "-extfile", str(configuration)),
        *("-extensions", "leaf", "-out", str(leaf)),
    )
    request.unlink()
    (place / "roots.pem").write_bytes(root.read_bytes())
    temporary = place / ".serial.new"
    temporary.write_text(f"{secrets.randbelow(1 << 62) + (1 << 62):X}\n")
    temporary.replace(place / "serial")


def _configure(place: Path, key: Path) -> None:
    """Write what `openssl ts` reads; paths in it are absolute, and the folder may have been moved."""
    for file, digests in (("tsa.cnf", "sha256, sha384, sha512"), ("refusing.cnf", "sha512")):
        text = _AUTHORITY.format(
            folder=place, key=key, policy=POLICY, other=OTHER_POLICY, digests=digests
        )
        (place / file).write_text(text)


def _make_key(key: Path) -> None:
    """Make a key on P-256, readable by its owner only from the first moment."""
    descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, KEY_MODE)
    with os.fdopen(descriptor, "wb") as opened:
        curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        opened.write(_openssl("genpkey", *curve))


def _openssl(*arguments: str) -> bytes:
    """Run openssl and return what it printed.

    Raises:
        PartError: it failed.
    """
    done = subprocess.run(
        ["openssl", *arguments], capture_output=True, check=False, timeout=OPENSSL_SECONDS
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        message = f"openssl {arguments[0]} failed: {said}"
        raise PartError(message)
    return done.stdout
