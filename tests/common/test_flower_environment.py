"""What Flower is told before it starts."""

import pytest

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
