"""No test here loses power for real: syncing thousands of small files would only take time."""

import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be lost without a sync is modelled by `crashing_disk`."""

    def fsync(descriptor: int) -> None:
        os.fstat(descriptor)  # it must still be one of an open file

    monkeypatch.setattr(os, "fsync", fsync)
