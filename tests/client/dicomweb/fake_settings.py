"""Settings for the server on loopback, with limits that a test meets at once."""

from pathlib import Path
from typing import Any

from tests.client.dicomweb.pacs_server import Pacs
from tests.tiny_federation import FakeClock

from fedward_client.dicomweb.client import DicomWebClient
from fedward_client.dicomweb.session import DicomWebSession
from fedward_client.dicomweb.settings import DicomWebSettings
from fedward_client.dicomweb.store import DicomWebStore


def settings_for(pacs: Pacs, **keys: Any) -> DicomWebSettings:
    return DicomWebSettings(**({"url": pacs.url, "plain_http_hosts": ("127.0.0.1",)} | keys))


def client_for(pacs: Pacs, clock: FakeClock | None = None, **keys: Any) -> DicomWebClient:
    settings = settings_for(pacs, **keys)
    session = DicomWebSession(settings, clock or FakeClock())
    return DicomWebClient(session, settings.page_size, settings.max_instance_bytes)


def store_for(pacs: Pacs, folder: Path, **keys: Any) -> DicomWebStore:
    return DicomWebStore(settings_for(pacs, **keys), folder / "cache", FakeClock())
