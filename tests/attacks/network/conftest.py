"""Flower's database, as the coordinator's own tests have it."""

from tests.server.coordinator.conftest import empty_flower_database, flower_database

__all__ = ["empty_flower_database", "flower_database"]
