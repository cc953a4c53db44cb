"""The place where a process connects to Temporal, with the SDK's own environment configuration.

`TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, `TEMPORAL_API_KEY`, `TEMPORAL_TLS_*` and profiles mean what they mean to every
Temporal tool.
"""

import asyncio

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError

from vaultmesh.domain.errors import DomainError

CONNECT_SECONDS = 10.0
DEFAULT_ADDRESS = "localhost:7233"
DEFAULT_NAMESPACE = "default"


class Unreachable(DomainError):  # noqa: N818 - a state of the world, told to the operator
    """A server that is needed does not answer."""


def address() -> str:
    """Return where the environment says that Temporal is."""
    return str(ClientConfig.load_client_connect_config().get("target_host") or DEFAULT_ADDRESS)


async def connect() -> Client:
    """Return a client.

    Raises:
        Unreachable: the server does not answer within ten seconds, or refuses us.
    """
    config = ClientConfig.load_client_connect_config()
    config.setdefault("target_host", DEFAULT_ADDRESS)
    config.setdefault("namespace", DEFAULT_NAMESPACE)
    place = config["target_host"]
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await Client.connect(**config, data_converter=pydantic_data_converter)
    except (RuntimeError, RPCError, TimeoutError) as error:
        reason = str(error).split("\n", 1)[0][:200] or f"no answer within {CONNECT_SECONDS:g} s"
        message = (
            f"Temporal at {place} can't be reached: {reason} - start it, or set TEMPORAL_ADDRESS"
        )
        raise Unreachable(message) from error
