"""Asks authorities until enough of them have stamped: failover, quorum, and what is kept.

1. As many are asked at once as tokens are missing, in the order of the configuration, the resting ones last.
2. A reply that is not sound is a failure of its authority: the next one is asked.
3. Each sound reply of a root that does not count yet is stored as soon as it came, also when the quorum is not
   reached (T11); whose root counts already is asked last.
"""

import asyncio
from collections.abc import Callable, Sequence, Set
from functools import partial

from vaultmesh.domain.failures import AnchorError, ValidationFailure
from vaultmesh.ledgers.failures import failure_of, most_urgent
from vaultmesh.ledgers.http import Client, counted_at
from vaultmesh.ledgers.rfc3161.authority import CALL_SECONDS, Authority
from vaultmesh.ledgers.rfc3161.core.judge import judge
from vaultmesh.ledgers.rfc3161.core.token import LARGEST_REPLY
from vaultmesh.ledgers.rfc3161.core.trust import Pinned, ends_in_use
from vaultmesh.ledgers.rfc3161.replies import Kept, Question, Replies, kept, one_per_root


class Authorities:
    """All configured authorities of one target, in the order of the configuration."""

    def __init__(
        self,
        urls: Sequence[str],
        quorum: int,
        spacing_seconds: float,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        """Connects with the first request; `quorum` tokens make an anchor."""
        self.quorum = quorum
        self.tally = counted_at(urls)
        self._client = Client(call_seconds, largest=LARGEST_REPLY, tally=self.tally)
        self.all = tuple(Authority(url, spacing_seconds, self._client) for url in urls)

    async def gather(
        self, question: Question, pinned: Pinned, replies: Replies, n: int
    ) -> list[Kept]:
        """Return enough tokens, stored before they are returned; what is stored already is not asked for again.

        Raises:
            AnchorError: too few authorities gave a sound token; the message names what each did.
        """
        tokens = await asyncio.to_thread(replies.sound, question, pinned)
        failures: list[AnchorError] = []
        counted = {stamped.root for stamped in tokens}
        waiting = sorted(
            self.all, key=lambda authority: (authority.root in counted, authority.rests)
        )
        while len(tokens) < self.quorum and waiting:
            missing = self.quorum - len(tokens)
            asked, waiting = waiting[:missing], waiting[missing:]
            keep = partial(_keep, replies, n, frozenset(counted))
            results = await asyncio.gather(
                *(self._ask(authority, question, pinned, keep) for authority in asked)
            )
            failures += [result for result in results if isinstance(result, AnchorError)]
            stamps = [result for result in results if isinstance(result, Kept)]
            tokens = one_per_root([*tokens, *stamps])
            counted = {stamped.root for stamped in tokens}
        if len(tokens) < self.quorum:
            raise self._too_few(tokens, failures)
        return tokens

    async def probe(self) -> None:
        """Ask all of them whether they answer.

        Raises:
            AnchorError: fewer than the quorum do.
        """
        results = await asyncio.gather(
            *(authority.probe() for authority in self.all), return_exceptions=True
        )
        failures = [result for result in results if isinstance(result, AnchorError)]
        if len(self.all) - len(failures) < self.quorum:
            raise failure_of(most_urgent(failures), "; ".join(map(str, failures)))

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def _ask(
        self,
        authority: Authority,
        question: Question,
        pinned: Pinned,
        keep: Callable[[Kept], None],
    ) -> Kept | AnchorError:
        try:
            reply, window = await authority.ask(question.request)
            judged = await asyncio.to_thread(
                judge,
                reply,
                question.commitment,
                pinned,
                request=question.request,
                window=window,
                allows_sha1=question.allows_sha1,
            )
            if not judged.sound:
                message = f"{authority.label} sent no good time stamp: {judged.problems}"
                raise ValidationFailure(message)
        except AnchorError as error:
            authority.failed()
            return error
        stamped = kept(reply, judged, pinned)
        await asyncio.to_thread(keep, stamped)
        authority.served(stamped.root)
        self.tally.clock_skew = stamped.token.gen_time - window.received
        self.tally.ends[authority.label] = ends_in_use(stamped.path, pinned)
        return stamped

    def _too_few(self, tokens: Sequence[Kept], failures: Sequence[AnchorError]) -> AnchorError:
        if not failures:
            message = (
                f"{len(tokens)} of {self.quorum} tokens: the authorities lead to too few different roots; "
                "a quorum takes authorities of different operators"
            )
            return ValidationFailure(message)
        reasons = "; ".join(map(str, failures))
        count = f"{len(tokens)} of {self.quorum} tokens: " if self.quorum > 1 else ""
        return failure_of(most_urgent(failures), f"{count}{reasons}")


def _keep(replies: Replies, n: int, counted: Set[bytes], stamped: Kept) -> None:
    """Store a reply, unless its root counts already: repetitions over days must not fill the storage."""
    if stamped.root not in counted:
        replies.keep(stamped, n)
