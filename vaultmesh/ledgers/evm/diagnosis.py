"""Examines an EVM target: each endpoint, the key's account, and the contract. Nothing is signed or paid."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from vaultmesh.domain.diagnosis import Diagnosis, ok, warning, wrong
from vaultmesh.domain.failures import AnchorError
from vaultmesh.domain.freshness import in_words
from vaultmesh.ledgers.evm.fees import Caps, gwei, opening_bid
from vaultmesh.ledgers.evm.figures import USUAL_GAS
from vaultmesh.ledgers.evm.node_errors import Meaning, NodeError
from vaultmesh.ledgers.evm.providers import Provider, Providers
from vaultmesh.ledgers.evm.reads import Rules, code_of, quantity, read_tip, tx_receipt
from vaultmesh.ledgers.evm.reserve import read_market

OLD_HEAD = timedelta(minutes=2)
"""Ten blocks of Ethereum: an endpoint whose newest block is older stands still, or its clock is wrong."""
FEW_ANCHORS = 100
"""A balance that pays fewer is warned of."""
_WEI_PER_ETHER = 10**18
_NO_CODE = "0x"


class EvmDiagnosis:
    """One examination of one target."""

    def __init__(
        self, target: str, providers: Providers, rules: Rules, caps: tuple[int | None, int | None]
    ) -> None:
        """Ask these, once."""
        self._target = target
        self._providers = providers
        self._rules = rules
        self._caps = caps

    async def lines(
        self, account: Callable[[], str], now: datetime, older_tx: str
    ) -> list[Diagnosis]:
        """Return a line for each thing that was looked at.

        Args:
            account: returns the address that signs, or raises `AnchorError`.
            now: by this machine's clock.
            older_tx: a final transaction of ours that everybody should still show; empty if there is none.
        """
        of_endpoints, contract, of_account = await asyncio.gather(
            asyncio.gather(
                *(self._endpoint(provider, now, older_tx) for provider in self._providers.all)
            ),
            self._guarded("contract", self._contract),
            self._account(account),
        )
        return [*(line for lines in of_endpoints for line in lines), contract, *of_account]

    async def _account(self, account: Callable[[], str]) -> list[Diagnosis]:
        """Look at the key, and at what it can spend; its file is read in a thread, since a storage may hang."""
        try:
            address = await asyncio.to_thread(account)
        except AnchorError as error:
            what, _, mend = str(error).partition(": ")
            mend = mend or "set key or keyFile in anchors.yaml; only processes that sign need it"
            return [wrong(self._target, "key", what, mend)]

        async def funds() -> Diagnosis:
            return await self._funds(address)

        key = ok(self._target, "key", f"signs as {address}")
        return [key, await self._guarded("balance", funds)]

    # --- endpoints -------------------------------------------------------------------------------------------------

    async def _endpoint(self, provider: Provider, now: datetime, older_tx: str) -> list[Diagnosis]:
        part = f"{self._target} {provider.label}"
        try:
            chain_id = await quantity(provider, "eth_chainId")
            if chain_id != self._rules.chain_id:
                detail = f"serves chain {chain_id}, not {self._rules.chain_id}: nothing is signed or believed"
                return [wrong(part, "chain id", detail, "correct rpcUrl or the target")]
            lines = [ok(part, "chain id", str(chain_id)), *await self._tip(part, provider, now)]
            lines.append(await _block_receipts(part, provider))
            if older_tx:
                lines.append(await _memory(part, provider, older_tx))
        except AnchorError as error:
            mend = "check rpcUrl, its credentials and the network between"
            return [wrong(part, "answers", str(error), mend)]
        return lines

    async def _tip(self, part: str, provider: Provider, now: datetime) -> list[Diagnosis]:
        tip = await read_tip(provider, self._rules)
        age = now - tip.head.ref.time
        block = f"block {tip.height}, {in_words(age)} old"
        head = ok(part, "newest block", block)
        if age > OLD_HEAD:
            mend = "wait until it has caught up, or use another endpoint; compare the clocks"
            head = warning(part, "newest block", block, mend)
        elif -age > OLD_HEAD:
            block = f"block {tip.height} is dated {in_words(-age)} ahead of this machine's clock"
            mend = "compare this machine's clock with another one (chronyc tracking), or use another endpoint"
            head = warning(part, "newest block", block, mend)
        if self._rules.tag is None:
            return [head, ok(part, "finality", f"by depth {self._rules.confirmations} alone")]
        if tip.unsettled:
            mend = "nothing becomes final through it: use another endpoint, or finality: depth"
            return [head, warning(part, "finality", tip.unsettled, mend)]
        final = f"{self._rules.tag} is block {tip.settled_number}"
        return [head, ok(part, "finality", final)]

    # --- account and contract --------------------------------------------------------------------------------------

    async def _guarded(self, check: str, look: Callable[[], Awaitable[Diagnosis]]) -> Diagnosis:
        try:
            return await look()
        except AnchorError as error:
            return wrong(self._target, check, str(error), "mend the endpoints first")

    async def _contract(self) -> Diagnosis:
        address = self._rules.contract
        code = await self._providers.first(lambda provider: code_of(provider, address))
        if code == _NO_CODE:
            mend = "deploy it with `contract deploy` and set contract in anchors.yaml"
            return wrong(self._target, "contract", f"there is no contract at {address}", mend)
        return ok(self._target, "contract", f"{address} has {len(code) // 2 - 1} bytes of code")

    async def _funds(self, address: str) -> Diagnosis:
        balance = await self._providers.first(
            lambda provider: quantity(provider, "eth_getBalance", address, "latest")
        )
        market, _ = await read_market(self._providers)
        bid = opening_bid(market, Caps.of(*self._caps, market))
        anchors = balance // (USUAL_GAS * bid.max_fee_wei)
        ether = f"{balance / _WEI_PER_ETHER:.6f}".rstrip("0").rstrip(".")
        detail = f"{ether} ether pay at least {anchors} anchors at {gwei(bid.max_fee_wei)} gwei"
        mend = f"send ether to {address}"
        if not anchors:
            return wrong(self._target, "balance", detail, mend)
        if anchors < FEW_ANCHORS:
            return warning(self._target, "balance", detail, mend)
        return ok(self._target, "balance", detail)


async def _block_receipts(part: str, provider: Provider) -> Diagnosis:
    """Say whether a block's receipts come at once: proofs need all of them."""
    check = "block receipts"
    try:
        await provider.call("eth_getBlockReceipts", "latest")
    except NodeError as error:
        if error.meaning is not Meaning.MISSING:
            raise
        detail = "not offered: the receipts of a block are asked for one by one, for each proof"
        return warning(part, check, detail, "use an endpoint with eth_getBlockReceipts")
    return ok(part, check, "offered")


async def _memory(part: str, provider: Provider, older_tx: str) -> Diagnosis:
    """Say whether an older transaction of ours is still shown."""
    if await tx_receipt(provider, older_tx) is not None:
        return ok(part, "memory", f"shows our older transaction {older_tx}")
    detail = f"does not show our final transaction {older_tx}: it forgets receipts"
    mend = "use a node that keeps them, so that what becomes of a round can be decided by it"
    return warning(part, "memory", detail, mend)
