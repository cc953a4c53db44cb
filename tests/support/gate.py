"""A TCP gate before a local program: closed, its port refuses, and connections that were open are cut."""

import socket
import threading
from contextlib import suppress

from devnet.ports import LOOPBACK, free_port

_CHUNK = 65_536


class Gate:
    """Passes on what comes to its port while it is open."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._listener: socket.socket | None = None
        self._ends: set[socket.socket] = set()
        self.taken = 0
        """Connections that were taken since the start."""

    def open(self) -> None:
        self._listener = socket.create_server((LOOPBACK, self.port))
        threading.Thread(target=self._take, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        listener, self._listener = self._listener, None
        for end in (listener, *self._ends):
            if end is not None:
                _cut(end)
        self._ends.clear()

    def _take(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            self.taken += 1
            try:
                far = socket.create_connection((LOOPBACK, self._behind))
            except OSError:
                _cut(near)
                continue
            self._ends |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(_CHUNK):
            sink.sendall(content)
    _cut(source)
    _cut(sink)


def _cut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
