"""The place where free loopback ports are found."""

import socket
from contextlib import ExitStack

from devnet.errors import PartError

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """Return a port that is free on the loopback address at this moment."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return so many different ports that are free on the loopback address at this moment."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def is_free(port: int) -> bool:
    """Tell whether a port can be bound on the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def require_free(port: int, name: str) -> None:
    """Make sure that a part can have its port.

    Raises:
        PartError: another program has it.
    """
    if not is_free(port):
        message = (
            f"port {port} of {name} is in use; stop the program that has it, or choose another port"
        )
        raise PartError(message)
