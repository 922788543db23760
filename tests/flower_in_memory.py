"""Flower's own servers without a socket: what its clients send goes straight to the application."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

AsgiApp = Callable[..., Any]


def connect_clients(monkeypatch: pytest.MonkeyPatch, app: AsgiApp) -> None:
    """Let every client of Flower's that is made from now on talk to `app`."""

    def client(**options: Any) -> httpx.Client:
        del options
        return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)

    monkeypatch.setattr("flwr.supercore.protobuf.client.httpx.Client", client)
