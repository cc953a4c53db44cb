"""Proves or refuses a count above our own record: each nonce by the transaction that used it (E4, X6).

A node that counts too high would have a round reserved beyond the chain's nonce, where nothing mines it.
"""

from vaultmesh.domain.failures import AnchorError, AuthFailure, NetworkFailure
from vaultmesh.ledgers.evm.providers import Provider, Providers
from vaultmesh.ledgers.evm.reads import ChainTip, Rules, count_at, read_tip
from vaultmesh.ledgers.evm.search import Search, Use, Wanted, begin, is_canonical, step

STEPS = 4
"""Steps of a search in one attempt; the next one goes on from there."""
MOST_FOREIGN = 1_000
"""Transactions that are searched for; who has used the key so often uses it for something else."""
_ADVICE = "keep this key for this service alone, or use a new one"


class ForeignUse:
    """What the chain has shown of somebody else's use of an account; lives as long as the process."""

    def __init__(self, providers: Providers, rules: Rules) -> None:
        """Know of nothing."""
        self._providers = providers
        self._rules = rules
        self._account = ""
        self._found: dict[int, Use] = {}
        self._search: Search | None = None
        self._counted = 0
        """Up to which nonce foreign uses are counted."""

    async def require(self, account: str, first: int, count: int, since: int) -> list[Use]:
        """Make sure that every nonce from `first` below `count` was used, in final blocks above block `since`.

        Returns who used them. Anchor calls among these transactions are no foreign use, but rounds of which nobody here
        knows.

        Raises:
            AuthFailure: it was not shown yet, or can still be undone.
            NetworkFailure: no provider shows its blocks.
        """
        if account != self._account:
            self._account, self._found, self._search, self._counted = account, {}, None, 0
        self._providers.tally.foreign_uses += max(count - max(first, self._counted), 0)
        self._counted = max(self._counted, count)
        claimed = f"foreign use of the key of {account}: {count} transactions, {count - first} more than were reserved here"
        if count - first > MOST_FOREIGN:
            message = f"{claimed}; {_ADVICE}"
            raise AuthFailure(message)
        missing = await self._look(first, count, since)
        if missing is not None:
            message = f"{claimed}, but no block shows what used nonce {missing} yet; looking on. If that lasts, a node is wrong, else {_ADVICE}"
            raise AuthFailure(message)
        if not await self._is_final(first, count):
            message = f"{claimed}; waiting until that is final: {_ADVICE}"
            raise AuthFailure(message)
        return [self._found[nonce] for nonce in range(first, count)]

    async def _look(self, first: int, count: int, since: int) -> int | None:
        """Go on with the search; returns the lowest nonce whose use was not found."""
        failures: list[AnchorError] = []
        for provider in self._providers.awake_first:
            try:
                return await self._look_through(provider, first, count, since)
            except AnchorError as error:
                failures.append(error)
        raise NetworkFailure("; ".join(map(str, failures)))

    async def _look_through(
        self, provider: Provider, first: int, count: int, since: int
    ) -> int | None:
        head = (await read_tip(provider, self._rules)).head
        if await count_at(provider, self._account, "latest") < count:
            message = f"{provider.label} counts fewer transactions of {self._account}"
            raise NetworkFailure(message)
        low = since
        for nonce in range(first, count):
            use = self._found.get(nonce)
            if use is None or not await is_canonical(provider, use.block):
                if self._search is None or self._search.provider != provider.label:
                    self._search = begin(provider.label, low, head)
                use = await self._steps(provider, nonce)
                if use is None:
                    return nonce
                self._found[nonce] = use
            low = use.block.number - 1
        return None

    async def _steps(self, provider: Provider, nonce: int) -> Use | None:
        wanted = Wanted(account=self._account, chain_id=self._rules.chain_id, nonces=(nonce,))
        for _ in range(STEPS):
            if self._search is None:
                return None
            use, self._search = await step(provider, wanted, self._search)
            if use is not None or self._search.is_over:
                self._search = None
                return use
        return None

    async def _is_final(self, first: int, count: int) -> bool:
        """Whether as many providers as must agree have all of it in final blocks."""
        uses = [self._found[nonce] for nonce in range(first, count)]

        async def has_all(provider: Provider) -> bool:
            tip: ChainTip = await read_tip(provider, self._rules)
            for use in uses:
                if not tip.settles(use.block.number):
                    return False
                if not await is_canonical(provider, use.block):
                    return False
            return True

        return sum(await self._providers.every(has_all)) >= self._providers.quorum
