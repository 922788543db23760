"""A line between a site and its coordinator that a test can cut, heal and spoil."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

_CHUNK_BYTES = 1 << 16
_ARRAY_BYTES = 3000  # longer than any question or key exchange of TLS; vectors are longer


@dataclass
class FaultyLine:
    """Listens on loopback and carries every connection on to another port.

    Attributes:
        target_port: Where connections go; it may change while nobody connects.
        num_refused: Connections that came while the line was cut.
        num_flipped: Bytes that arrived as others than were sent.
    """

    target_port: int = 0
    num_refused: int = 0
    num_flipped: int = 0
    _is_cut: bool = False
    _flips: bool = False
    _open: set[socket.socket] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        _in_thread(self._accept)

    def cut(self) -> None:
        """End every connection, and each that comes from now on."""
        with self._lock:
            self._is_cut = True
            ended, self._open = self._open, set()
        for one in ended:
            _end(one)

    def heal(self) -> None:
        """Carry what comes from now on."""
        self._is_cut = False

    def flip_a_byte(self) -> None:
        """Spoil the next vector that the site sends."""
        self._flips = True

    def close(self) -> None:
        """Carry nothing more."""
        self.cut()
        _end(self._listener)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut:
                self.num_refused += 1
                _end(near)
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:  # as where no coordinator listens
                _end(near)
                continue
            with self._lock:
                self._open |= {near, far}
            _in_thread(partial(self._carry, near, far, self._spoilt))
            _in_thread(partial(self._carry, far, near, bytes))

    def _carry(
        self, source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes]
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK_BYTES):
                sink.sendall(change(chunk))
        for one in (source, sink):
            with self._lock:
                self._open.discard(one)
            _end(one)

    def _spoilt(self, chunk: bytes) -> bytes:
        if not self._flips or len(chunk) < _ARRAY_BYTES:
            return chunk
        self._flips = False
        self.num_flipped += 1
        spoilt = bytearray(chunk)
        spoilt[len(chunk) // 2] ^= 1
        return bytes(spoilt)


def until(
    look: Callable[[], object], what: str, seconds: float = 150, *, every_seconds: float = 0.02
) -> None:
    """Look again and again until something is so."""
    ends = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < ends, f"not in {seconds} s: {what}"
        time.sleep(every_seconds)


def _in_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
