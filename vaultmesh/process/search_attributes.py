"""Gives a Temporal namespace the search attributes that our workflows upsert.

A workflow that upserts an unregistered one is stuck for ever, so a worker checks before it takes any work. One that was
registered with another type is as bad, and no later setting can mend it.
"""

from datetime import timedelta

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.names import ATTRIBUTE_NAMESPACE, ATTRIBUTE_STATUS, ATTRIBUTE_TARGET
from vaultmesh.process.client import Unreachable

NEEDED = (ATTRIBUTE_NAMESPACE, ATTRIBUTE_STATUS, ATTRIBUTE_TARGET)
"""All of them keywords."""
ANSWER_WITHIN = timedelta(seconds=10)
_KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
_SILENT = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.NOT_FOUND,
)
"""Nothing was said about search attributes: the server is away, or has no such Temporal namespace."""


class SearchAttributesMissing(DomainError):
    """The Temporal namespace lacks search attributes, and they can't be created."""


async def missing(client: Client) -> list[str]:
    """Return the search attributes that are not registered.

    Raises:
        RPCError: the server did not answer, or does not let us look.
        SearchAttributesMissing: one is registered with another type.
    """
    answer = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace), timeout=ANSWER_WITHIN
    )
    there = answer.custom_attributes
    wrong = [name for name in NEEDED if there.get(name, _KEYWORD) != _KEYWORD]
    if wrong:
        message = (
            f"search attribute {', '.join(wrong)} of Temporal namespace {client.namespace!r} is not a keyword; "
            "remove it (temporal operator search-attribute remove), then run `python starter.py setup`"
        )
        raise SearchAttributesMissing(message)
    return [name for name in NEEDED if name not in there]


async def ensure(client: Client) -> list[str]:
    """Create what is missing; returns the names created.

    Raises:
        SearchAttributesMissing: the server does not let us, or one has another type.
        Unreachable: the server does not answer, or has no such Temporal namespace.
    """
    try:
        names = await missing(client)
        if names:
            await _create(client, names)
    except RPCError as error:
        if error.status in _SILENT:
            message = f"Temporal namespace {client.namespace!r} can't be looked at: {error.message}"
            raise Unreachable(message) from error
        message = (
            f"search attributes {', '.join(NEEDED)} are not all registered in Temporal namespace "
            f"{client.namespace!r} and can't be created ({error.message}); run `python starter.py setup` "
            "with rights to, or have them created as keywords"
        )
        raise SearchAttributesMissing(message) from error
    return names


async def _create(client: Client, names: list[str]) -> None:
    """Create search attributes; another process that was first is as good."""
    asked = AddSearchAttributesRequest(
        namespace=client.namespace, search_attributes=dict.fromkeys(names, _KEYWORD)
    )
    try:
        await client.operator_service.add_search_attributes(asked, timeout=ANSWER_WITHIN)
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS or await missing(client):
            raise
