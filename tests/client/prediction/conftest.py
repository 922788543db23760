"""One decoder for all tests here: it takes a second to start."""

from collections.abc import Iterator

import pytest

from fedward_client.dicom.decode_pool import DecodePool


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool() as running:
        yield running
