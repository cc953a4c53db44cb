"""Keeps and counts replies of authorities: beside their candidate, in the round's folder.

1. A reply is judged before it is kept, and kept before it counts: a crash after it came loses nothing.
2. It is created exclusively as `reply-<n>-<i>.tsr` and never changed: `n` is the candidate's number, `i` counts up.
3. What is read back is judged again, by all rules but the clock's: a damaged or foreign file counts for nothing.
4. Revocation lists that were at hand, and intermediates that the token left out, lie beside it, so that receipts made
   again later say the same (T6).
5. Tokens count by the pinned root they lead to; the earliest of each root, and of all, comes first (T8, T11).
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import ValidationFailure
from vaultmesh.ledgers.rfc3161.core.certificates import Certificate, pem_of, read_pem
from vaultmesh.ledgers.rfc3161.core.judge import TokenReport, judge
from vaultmesh.ledgers.rfc3161.core.path import Path
from vaultmesh.ledgers.rfc3161.core.token import Token
from vaultmesh.ledgers.rfc3161.core.trust import Pinned, lists_for, read_lists
from vaultmesh.storage.files import Store

_PREFIX, _SUFFIX = "reply-", ".tsr"
_LISTS_PREFIX, _CHAIN_PREFIX = "revocation-", "chain-"
MOST_REPLIES = 64
"""Of one candidate; only files that are damaged again and again can make as many."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """A reply that holds, and what it proves."""

    reply: bytes
    token: Token
    path: Path
    """From the signer's certificate to the pinned root it leads to."""
    authority: str
    lists: Sequence[x509.CertificateRevocationList] = ()
    """The newest one of each issuer of its chain that was at hand when it came."""

    @property
    def root(self) -> bytes:
        """The pinned root it leads to, DER."""
        return self.path[-1].der

    @property
    def left_out(self) -> list[bytes]:
        """Certificates of its path below the root that did not come along, DER."""
        below = [certificate.der for certificate in self.path[:-1]]
        return [der for der in below if der not in self.token.certificates]

    @property
    def order(self) -> tuple[datetime, bytes]:
        """The earliest is the primary one."""
        return self.token.gen_time, self.reply


@dataclass(frozen=True, slots=True)
class Question:
    """What replies are judged against."""

    commitment: bytes
    request: bytes
    """Names the policy as well, if one was wanted."""
    allows_sha1: bool = False
    """Whether SHA-1 may bind the signer's certificate."""


class Replies:
    """The replies to one round's candidates; blocks, and belongs into a thread."""

    def __init__(self, store: Store, folder: str) -> None:
        """Keep them in the round's folder."""
        self._store = store
        self._folder = folder

    def sound(self, question: Question, pinned: Pinned) -> list[Kept]:
        """Return the kept replies that hold, the earliest of each root, the earliest first."""
        tokens: list[Kept] = []
        for name in self._names():
            content = self._store.read(f"{self._folder}/{name}")
            if content is None:
                continue
            stored = self._lists(content)
            known = pinned.and_lists(stored).and_intermediates(self._left_out(content))
            judged = judge(
                content,
                question.commitment,
                known,
                request=question.request,
                allows_sha1=question.allows_sha1,
            )
            if judged.sound:
                tokens.append(kept(content, judged, Pinned(lists=stored)))
            else:
                file = f"{self._folder}/{name}"
                _log.warning("stored reply refused", extra={"file": file, "err": judged.problems})
        return one_per_root(tokens)

    def keep(self, stamped: Kept, n: int) -> None:
        """Store a reply that was judged sound, its lists first; the same bytes are stored once.

        Raises:
            ValidationFailure: there are very many already.
        """
        reply, names = stamped.reply, set(self._names())
        if stamped.lists:
            text = b"".join(revocations.public_bytes(Encoding.PEM) for revocations in stamped.lists)
            self._store.create(self._place(_LISTS_PREFIX, reply), text)
        if stamped.left_out:
            self._store.create(self._place(_CHAIN_PREFIX, reply), pem_of(stamped.left_out))
        for i in range(MOST_REPLIES):
            name = f"{_PREFIX}{n}-{i}{_SUFFIX}"
            path = f"{self._folder}/{name}"
            if name not in names and self._store.create(path, reply):
                return
            if self._store.read(path) == reply:
                return
        message = f"{self._folder} holds {MOST_REPLIES} replies and no quorum: check the storage and trustBundle"
        raise ValidationFailure(message)

    def _lists(self, reply: bytes) -> Sequence[x509.CertificateRevocationList]:
        place = self._place(_LISTS_PREFIX, reply)
        content = self._store.read(place)
        try:
            return read_lists(content) if content is not None else ()
        except InvalidValue as error:
            _log.warning(
                "stored revocation lists refused", extra={"file": place, "err": str(error)}
            )
            return ()

    def _left_out(self, reply: bytes) -> Sequence[Certificate]:
        """Return the certificates that were at hand when it came and that it does not carry."""
        place = self._place(_CHAIN_PREFIX, reply)
        content = self._store.read(place)
        try:
            return read_pem(content) if content is not None else ()
        except InvalidValue as error:
            _log.warning("stored certificates refused", extra={"file": place, "err": str(error)})
            return ()

    def _place(self, prefix: str, reply: bytes) -> str:
        return f"{self._folder}/{prefix}{sha256(reply).hexdigest()}.pem"

    def _names(self) -> list[str]:
        names = self._store.names(self._folder)
        return sorted(name for name in names if name.startswith(_PREFIX) and name.endswith(_SUFFIX))


def kept(reply: bytes, judged: TokenReport, pinned: Pinned) -> Kept:
    """Return a sound reply as one that counts, with those of the lists that are about its chain.

    Raises:
        ValidationFailure: it is not sound.
    """
    if judged.token is None or not judged.sound:
        raise ValidationFailure(judged.problems)
    lists = tuple(lists_for(judged.path, pinned.lists))
    return Kept(reply, judged.token, judged.path, judged.authority, lists)


def one_per_root(tokens: Iterable[Kept]) -> list[Kept]:
    """Return the earliest of each root, the earliest first."""
    first: dict[bytes, Kept] = {}
    for stamped in sorted(tokens, key=lambda stamped: stamped.order):
        first.setdefault(stamped.root, stamped)
    return list(first.values())
