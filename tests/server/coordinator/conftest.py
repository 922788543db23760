"""A database of Flower's, made once: its tables take seconds."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def empty_flower_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fedward_server.coordinator.loopback_access import LoopbackAccess
    from fedward_server.coordinator.superlink import superlink_app

    path = tmp_path_factory.mktemp("flower") / "superlink.sqlite"
    superlink_app(path, LoopbackAccess(1))
    return path


@pytest.fixture
def flower_database(empty_flower_database: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "superlink.sqlite"
    source, target = sqlite3.connect(empty_flower_database), sqlite3.connect(copy)
    with closing(source), closing(target):
        source.backup(target)
    return copy
