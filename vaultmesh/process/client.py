"""Connects a process to Temporal, with the SDK's own environment configuration.

`TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, `TEMPORAL_API_KEY`, `TEMPORAL_TLS_*` and profiles mean what they mean to every
Temporal tool.
"""

import asyncio
import logging
import re
from functools import cache

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
from temporalio.service import RPCError

from vaultmesh.domain.errors import ConfigurationError, DomainError
from vaultmesh.process.logs import register_secret

CONNECT_SECONDS = 10.0
DEFAULT_ADDRESS = "localhost:7233"
DEFAULT_NAMESPACE = "default"
_LONGEST_REASON = 200
_INNERMOST = re.compile(r'(?:message|error): "([^"]+)"')
"""What the SDK's Rust side says at the bottom of a chain of errors."""


class Unreachable(DomainError):
    """A server that is needed does not answer."""


async def connect() -> Client:
    """Return a client.

    Raises:
        ConfigurationError: the environment's configuration of the connection can't be used.
        Unreachable: the server does not answer within ten seconds, or refuses us.
    """
    config = _configuration()
    place = config["target_host"]
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await Client.connect(
                **config, data_converter=pydantic_data_converter, runtime=_runtime()
            )
    except ValueError as error:
        message = f"TEMPORAL_ADDRESS: {place!r} is no address ({error}) - write host:port"
        raise ConfigurationError([message]) from error
    except (RuntimeError, RPCError, TimeoutError) as error:
        message = f"Temporal at {place} can't be reached: {_reason(error)} - start it, or set TEMPORAL_ADDRESS"
        raise Unreachable(message) from error


def _configuration() -> ClientConnectConfig:
    try:
        config = ClientConfig.load_client_connect_config()
    except (RuntimeError, ValueError, OSError) as error:
        message = (
            f"TEMPORAL_*: the connection's configuration can't be used: {_first_line(error)} - "
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
    """Return the SDK's runtime, one for the process, whose log lines are Python's like all others."""
    forwarded = LogForwardingConfig(logging.getLogger("temporalio.core"))
    level = TelemetryFilter(core_level="WARN", other_level="ERROR")
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(level, forwarding=forwarded)))


def _reason(error: BaseException) -> str:
    """Return in a few words why nothing answered."""
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_SECONDS:g} s"
    reasons = _INNERMOST.findall(str(error))
    return str(reasons[-1]) if reasons else _first_line(error)


def _first_line(error: BaseException) -> str:
    """Return what was complained about; further lines may quote a profile's file, and with it a key."""
    return str(error).split("\n", 1)[0][:_LONGEST_REASON]
