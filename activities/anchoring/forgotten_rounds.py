"""Finds open rounds that their aggregator does not drive: an older copy of the volume has rounds open that had ended.

An aggregator learns of them when it seals. Where nothing is owed nobody else would tell it, and their receipts would stay as they are.

1. A round is asked about once it was open at two looks in a row, and once as long as it stays open.
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

    async def look(self, target: Target, open_rounds: Collection[str]) -> bool:
        """Say whether rounds are open that the running aggregator does not know.

        Raises:
            RPCError, WorkflowQueryFailedError, WorkflowQueryRejectedError, ValidationError: it did not answer.
        """
        now = frozenset(open_rounds)
        asked = self._asked.get(target, frozenset()) & now
        lasting = (self._open.get(target, frozenset()) & now) - asked
        self._open[target], self._asked[target] = now, asked
        if not lasting:
            return False
        view = await view_of(self._client, target)
        if view is None:
            return False  # it is started, and reads them first
        self._asked[target] = asked | lasting
        return not lasting <= {row.round_id for row in view.rounds}
