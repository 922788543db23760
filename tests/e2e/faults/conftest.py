"""One federation of real processes for the faults of this folder."""

from collections.abc import Iterator

import pytest
from tests.faulty_federation import FaultyFederation, make_faulty_federation


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyFederation]:
    """A coordinator and five sites, started once."""
    federation = make_faulty_federation(tmp_path_factory.mktemp("faults") / "federation")
    try:
        federation.begin()
        yield federation
    finally:
        left = federation.close()
    assert left == []


@pytest.fixture
def federation(running: FaultyFederation) -> Iterator[FaultyFederation]:
    """The same, healed after each test."""
    yield running
    running.heal()
