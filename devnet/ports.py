"""Finds free loopback ports."""

import socket
from contextlib import ExitStack

from devnet.errors import PartError

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """Return a port that is free on the loopback address, and that nobody is given for a minute."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return so many different ports that are free on the loopback address.

    Each is left resting after a connection: for a minute the kernel gives it to nobody who asks for any port, while
    who asks for this very one, with SO_REUSEADDR as servers do, gets it.
    """
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, 0))
            probe.listen(1)
            held.enter_context(socket.create_connection(probe.getsockname()))
            probe.accept()[0].close()  # the side that closes first keeps the port
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
