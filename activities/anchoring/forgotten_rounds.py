"""Finds open rounds that their aggregator does not drive: an older copy of the volume has rounds open that had ended.

An aggregator learns of them when it seals. Where nothing is owed nobody else would tell it, and their receipts would stay as they are.

1. A round is asked about once it was open at two looks in a row. It is once that the aggregator is told, as long as the
   round stays open: telling it ends its rests.
2. The aggregator then learns anew what is stored.
"""

from collections.abc import Collection

from temporalio.client import Client

from activities.anchoring.signals import view_of
from vaultmesh.domain.target import Target


class ForgottenRounds:
    """Compares the open rounds of each target with what its aggregator drives."""

    def __init__(self, client: Client) -> None:
        """Ask through a client."""
        self._client = client
        self._open: dict[Target, frozenset[str]] = {}
        """What was open at the last look."""
        self._asked: dict[Target, frozenset[str]] = {}

    async def look(self, target: Target, open_rounds: Collection[str]) -> frozenset[str]:
        """Return the rounds that are open and that the running aggregator does not know, until it is told.

        Raises:
            RPCError, WorkflowQueryFailedError, WorkflowQueryRejectedError, ValidationError: it did not answer.
        """
        now = frozenset(open_rounds)
        asked = self._asked.get(target, frozenset()) & now
        lasting = (self._open.get(target, frozenset()) & now) - asked
        self._open[target], self._asked[target] = now, asked
        if not lasting:
            return lasting
        view = await view_of(self._client, target)
        if view is None:
            return frozenset()  # it is started, and reads them first
        unknown = lasting - {row.round_id for row in view.rounds}
        self._asked[target] = asked | (lasting - unknown)
        return unknown

    def told(self, target: Target, round_ids: Collection[str]) -> None:
        """Take that an aggregator was told of rounds: it is once."""
        self._asked[target] |= frozenset(round_ids)
