"""A PACS on loopback for each test that wants one."""

from collections.abc import Iterator

import pytest
from tests.client.dicomweb.pacs_server import Pacs, running_pacs


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with running_pacs() as running:
        yield running
