"""What Flower is told before it starts."""

import pytest
from flwr.common import constant as common
from flwr.supercore import constant as supercore

from fedward_common.flower_environment import flower_environment


def test_telemetry_update_checks_and_installs_are_off() -> None:
    environment = flower_environment("home/flower")
    assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
    assert environment["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    assert environment["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
    assert environment["FLWR_HOME"] == "home/flower"


def test_a_proxy_is_spared_what_stays_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "pacs.example,127.0.0.1")
    assert flower_environment("x")["NO_PROXY"] == "pacs.example,127.0.0.1"
    monkeypatch.delenv("NO_PROXY")
    assert flower_environment("x")["NO_PROXY"] == "127.0.0.1"


def test_a_message_travels_in_small_parts_one_at_a_time() -> None:
    """Whoever serves a part holds it several times, for each that fetches it."""
    environment = flower_environment("x")
    assert environment["FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE"] == "2097152"
    assert environment["FLWR_PRIVATE_MAX_CONCURRENT_OBJ_PULLS"] == "1"
    assert environment["FLWR_PRIVATE_MAX_CONCURRENT_OBJ_PUSHES"] == "1"


def test_flower_reads_these_names() -> None:
    for name in (
        "FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE",
        "FLWR_PRIVATE_MAX_CONCURRENT_OBJ_PULLS",
        "FLWR_PRIVATE_MAX_CONCURRENT_OBJ_PUSHES",
    ):
        assert any(hasattr(constants, name) for constants in (common, supercore))
