"""The coordinator's two listeners: one for sites, with TLS 1.3, and one for this machine.

Both serve in one thread of their own. Sockets are bound here, before that thread begins, so a port
that is taken is an error of the start and a port 0 is known at once.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from pathlib import Path
from typing import Any, Literal, cast

import uvicorn

from fedward_common.errors import ConfigurationError
from fedward_server.coordinator.listener_gates import AsgiApp
from fedward_server.coordinator.small_heap import Tidied, keep_what_is_there

_START_SECONDS = 30.0
_GRACE_SECONDS = 5


def bound_socket(host: str, port: int) -> socket.socket:
    """Bind a port.

    Raises:
        ConfigurationError: It is taken, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint="choose another port or address, or end the process that has it",
        ) from error
    return bound


def port_of(bound: socket.socket) -> int:
    """Give the port that was bound."""
    return int(bound.getsockname()[1])


class Listeners:
    """Both listeners.

    Args:
        public_app: Behind its gate.
        public: Where sites connect.
        loopback_app: Behind its gate; its lifespan is the application's.
        loopback: Where this machine connects.
        certificate_file: For TLS, PEM.
        certificate_key_file: Its key.

    Raises:
        ConfigurationError: Certificate or key cannot be used.
    """

    def __init__(
        self,
        public_app: AsgiApp,
        public: socket.socket,
        loopback_app: AsgiApp,
        loopback: socket.socket,
        *,
        certificate_file: Path,
        certificate_key_file: Path,
    ) -> None:
        tls = _tls_1_3(certificate_file, certificate_key_file)
        self._public = uvicorn.Server(_config(Tidied(public_app), "off", tls))
        self._loopback = uvicorn.Server(_config(Tidied(loopback_app), "on", None))
        self._sockets = (public, loopback)
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="listeners", daemon=True)

    def start(self) -> None:
        """Begin to serve.

        Raises:
            ConfigurationError: They did not come up.
        """
        keep_what_is_there()
        self._thread.start()
        if not self._started.wait(_START_SECONDS) or not self.are_serving:
            self.stop()
            raise ConfigurationError(
                "the listeners did not come up", hint="flower/flower.log in the home says why"
            )

    @property
    def are_serving(self) -> bool:
        """Whether both still do."""
        return self._thread.is_alive() and self._public.started and self._loopback.started

    def stop(self) -> None:
        """End both; requests that are under way have a few seconds."""
        self._public.should_exit = self._loopback.should_exit = True
        self._thread.join(2 * _GRACE_SECONDS)
        for bound in self._sockets:
            bound.close()

    def _serve(self) -> None:
        try:
            asyncio.run(self._serve_both())
        finally:
            self._started.set()

    async def _serve_both(self) -> None:
        public, loopback = self._sockets
        serving = [
            asyncio.create_task(self._loopback.serve(sockets=[loopback])),
            asyncio.create_task(self._public.serve(sockets=[public])),
            asyncio.create_task(self._tell_start()),
        ]
        await asyncio.wait(serving[:2], return_when=asyncio.FIRST_COMPLETED)
        # One without the other serves nobody.
        self._public.should_exit = self._loopback.should_exit = True
        serving[2].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*serving)

    async def _tell_start(self) -> None:
        while not (self._public.started and self._loopback.started):
            await asyncio.sleep(0.02)
        self._started.set()


def _config(
    app: AsgiApp, lifespan: Literal["on", "off"], tls: ssl.SSLContext | None
) -> uvicorn.Config:
    return uvicorn.Config(
        cast(Any, app),
        lifespan=lifespan,
        interface="asgi3",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
    )


def _tls_1_3(certificate_file: Path, key_file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(certificate_file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"certificate {certificate_file} with key {key_file} cannot be used: "
            f"{error.strerror or type(error).__name__}",
            hint="both are PEM files, and the key is the certificate's, without a passphrase",
        ) from error
    return context
