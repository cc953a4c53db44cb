"""Finds providers that do not show an older transaction of ours: they forget what evidence rests on."""

import asyncio

from vaultmesh.domain.failures import AnchorError
from vaultmesh.ledgers.evm.providers import Provider, Providers
from vaultmesh.ledgers.evm.reads import tx_receipt


async def forgetful_providers(providers: Providers, tx_ref: str) -> list[str] | None:
    """Return a line for each provider that shows no receipt of a final transaction; None if one did not answer."""
    answers = await asyncio.gather(*(_shows(provider, tx_ref) for provider in providers.all))
    if None in answers:
        return None
    return [
        f"{provider.label} does not show our final transaction {tx_ref}: it forgets receipts, so what becomes of a round may "
        "not be decided by it; use a node that keeps them"
        for provider, shows in zip(providers.all, answers, strict=True)
        if not shows
    ]


async def _shows(provider: Provider, tx_ref: str) -> bool | None:
    """Say whether a provider shows a receipt; None if it does not answer."""
    try:
        return await tx_receipt(provider, tx_ref) is not None
    except AnchorError:
        return None
