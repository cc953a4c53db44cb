"""Asks openssl what it thinks of a token: whatever we take, it has to take as well."""

import subprocess
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from asn1crypto import core
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.simulators.timestamps import STAMPED_AT, Holder

SECONDS = 60.0


def openssl_objects(
    reply: bytes,
    request: bytes,
    roots: Sequence[Holder],
    intermediates: Sequence[Holder] = (),
    *,
    as_cms: bool = False,
    moment: datetime = STAMPED_AT,
) -> str:
    """Return what `openssl ts -verify` says against a reply to a request, at its own time; empty if nothing.

    Args:
        reply: the whole reply.
        request: what was asked.
        roots: what is trusted.
        intermediates: what the token may have left out.
        as_cms: have `openssl cms` judge the token's signature and chain instead; `ts` of version 3.0 knows neither
            RSASSA-PSS nor Ed25519 nor attribute certificates.
        moment: the token's time.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "reply").write_bytes(reply)
        (folder / "token").write_bytes(_token_of(reply))
        (folder / "request").write_bytes(request)
        (folder / "roots").write_bytes(b"".join(root.pem for root in roots))
        options = ["-CAfile", "roots", "-attime", str(int(moment.timestamp()))]
        if intermediates:
            (folder / "between").write_bytes(b"".join(one.pem for one in intermediates))
            options += ["-certfile" if as_cms else "-untrusted", "between"]
        command = ["ts", "-verify", "-queryfile", "request", "-in", "reply", *options]
        if as_cms:
            command = ["cms", "-verify", "-inform", "DER", "-in", "token", *options]
            command += ["-purpose", "timestampsign", "-out", "content"]
        done = subprocess.run(
            ["openssl", *command],
            cwd=folder, capture_output=True, check=False, text=True, timeout=SECONDS,
        )  # fmt: skip
    return "" if done.returncode == 0 else done.stderr or "refused"


def openssl_verifies(signer: Holder, root: Holder, signature: bytes, signed: bytes) -> bool:
    """Whether openssl takes a plain signature, and the path of whoever made it."""
    public = signer.certificate.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    files = {"key": public, "signature": signature, "signed": signed}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in {**files, "signer": signer.pem, "root": root.pem}.items():
            (folder / file).write_bytes(content)
        moment = str(int(STAMPED_AT.timestamp()))
        commands = (
            "pkeyutl -verify -pubin -inkey key -rawin -in signed -sigfile signature",
            f"verify -purpose timestampsign -attime {moment} -CAfile root signer",
        )
        done = [
            subprocess.run(
                ["openssl", *command.split()],
                cwd=folder, capture_output=True, check=False, timeout=SECONDS,
            )
            for command in commands
        ]  # fmt: skip
    return all(one.returncode == 0 for one in done)


def _token_of(reply: bytes) -> bytes:
    try:
        parts = core.SequenceOf.load(reply, spec=core.Any)
        return bytes(parts[1].dump())
    except (ValueError, IndexError):
        return b""
