"""Connects a process to Temporal, with the SDK's own environment configuration.

`TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, `TEMPORAL_API_KEY`, `TEMPORAL_TLS_*` and profiles mean what they mean to every
Temporal tool.
"""

import asyncio
import logging
from datetime import timedelta
from functools import cache

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.domain.errors import ConfigurationError, DomainError
from vaultmesh.process.logs import register_secret
from vaultmesh.process.sdk_metrics import SdkMetrics
from vaultmesh.process.unreachable import first_line, in_words

CONNECT_SECONDS = 10.0
SHORTEST_RETENTION = timedelta(days=7)
"""Of closed workflows: less is warned of."""
DEFAULT_ADDRESS = "localhost:7233"
DEFAULT_NAMESPACE = "default"


class Unreachable(DomainError):
    """A server that is needed does not answer."""


async def connect(identity: str | None = None, sdk: SdkMetrics | None = None) -> Client:
    """Return a client; histories say who gave an order by its identity, by default the process.

    A worker's has the SDK keep its metrics, which `sdk` shows.

    Raises:
        ConfigurationError: the environment's configuration of the connection can't be used.
        Unreachable: the server does not answer within ten seconds, or refuses us.
    """
    config = _configuration()
    place = config["target_host"]
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            client = await Client.connect(
                **config,
                data_converter=pydantic_data_converter,
                runtime=_runtime() if sdk is None else sdk.runtime(_logging()),
                identity=identity,
            )
            await _require_namespace(client)
    except ValueError as error:
        message = f"TEMPORAL_ADDRESS: {place!r} is no address ({error}) - write host:port"
        raise ConfigurationError([message]) from error
    except (RuntimeError, RPCError, TimeoutError) as error:
        message = f"Temporal at {place} can't be reached: {in_words(error, CONNECT_SECONDS)}"
        raise Unreachable(message) from error
    return client


async def _require_namespace(client: Client) -> None:
    """Refuse a Temporal namespace that does not exist: in it, every workflow would merely look missing."""
    try:
        await retention(client)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            return  # whoever may not look may still be let work
        message = (
            f"Temporal at {client.service_client.config.target_host} has no namespace {client.namespace!r} - create it "
            f"(temporal operator namespace create -n {client.namespace} --retention 30d), or set TEMPORAL_NAMESPACE"
        )
        raise Unreachable(message) from error


async def retention(client: Client) -> timedelta:
    """Return how long closed workflows are kept.

    Raises:
        RPCError: the server did not answer, has no such Temporal namespace, or does not let us look.
    """
    answer = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=client.namespace),
        timeout=timedelta(seconds=CONNECT_SECONDS),
    )
    return answer.config.workflow_execution_retention_ttl.ToTimedelta()


def retention_warning(namespace: str, kept: timedelta) -> str:
    """Return a warning of a short retention, empty for one that suffices."""
    if kept >= SHORTEST_RETENTION:
        return ""
    return (
        f"Temporal namespace {namespace!r} keeps closed workflows for {kept / timedelta(days=1):g} days only, so what "
        "happened before can't be looked up after a holiday - set its retention to a week or more, better a month "
        f"(temporal operator namespace update -n {namespace} --retention 30d)"
    )


def _configuration() -> ClientConnectConfig:
    try:
        config = ClientConfig.load_client_connect_config()
    except (RuntimeError, ValueError, OSError) as error:
        message = (
            f"TEMPORAL_*: the connection's configuration can't be used: {first_line(error)} - "
            "correct the variables or the profile's file"
        )
        raise ConfigurationError([message]) from error
    config.setdefault("target_host", DEFAULT_ADDRESS)
    config.setdefault("namespace", DEFAULT_NAMESPACE)
    if "://" in config["target_host"]:
        message = "TEMPORAL_ADDRESS: has a scheme - write host:port, and switch TLS on with TEMPORAL_TLS=true"
        raise ConfigurationError([message])
    if config.get("api_key"):
        register_secret(str(config["api_key"]))
    return config


@cache
def _runtime() -> Runtime:
    """Return the SDK's runtime, one for the process."""
    return Runtime(telemetry=TelemetryConfig(logging=_logging()))


def _logging() -> LoggingConfig:
    """Have the SDK's log lines be Python's like all others."""
    forwarded = LogForwardingConfig(logging.getLogger("temporalio.core"))
    level = TelemetryFilter(core_level="WARN", other_level="ERROR")
    return LoggingConfig(level, forwarding=forwarded)
