"""The place where a Temporal namespace gets the search attributes that our workflows upsert.

A workflow that upserts an unregistered one is stuck for ever, so a worker checks before it takes any work.
"""

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.names import ATTRIBUTE_NAMESPACE, ATTRIBUTE_STATUS, ATTRIBUTE_TARGET

NEEDED = (ATTRIBUTE_NAMESPACE, ATTRIBUTE_STATUS, ATTRIBUTE_TARGET)
"""All of them keywords."""


class SearchAttributesMissing(DomainError):  # noqa: N818 - a state of the world, told to the operator
    """The Temporal namespace lacks search attributes, and they can't be created."""


async def missing(client: Client) -> list[str]:
    """Return the search attributes that are not registered."""
    answer = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    return [name for name in NEEDED if name not in answer.custom_attributes]


async def ensure(client: Client) -> list[str]:
    """Create what is missing; returns the names created.

    Raises:
        SearchAttributesMissing: the server does not let us.
    """
    try:
        names = await missing(client)
        if names:
            keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(
                    namespace=client.namespace, search_attributes=dict.fromkeys(names, keyword)
                )
            )
    except RPCError as error:
        if error.status is RPCStatusCode.ALREADY_EXISTS:
            return []
        message = (
            f"search attributes {', '.join(NEEDED)} are not all registered in Temporal namespace "
            f"{client.namespace!r} and can't be created ({error.message}); run `python starter.py setup` "
            "with rights to, or have them created as keywords"
        )
        raise SearchAttributesMissing(message) from error
    return names
