"""Whatever stands in `coordinator.toml`, it is what a coordinator can keep to, or it is refused."""

from pathlib import Path

import pytest
from tests.faulty_settings import (
    require_refused,
    require_unreadable_places_refused,
    unusable_files,
    with_value,
    wrong_values,
)

from fedward_server.coordinator.coordinator_home import CoordinatorHome, CoordinatorSettings

GOOD = """host = "127.0.0.1"
port = 9092
certificate_file = "tls/server.crt"
certificate_key_file = "tls/server.key"
"""


def read(file: Path) -> CoordinatorSettings:
    return CoordinatorHome(file.parent).settings()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "coordinator.toml"
    made.write_text(GOOD)
    assert read(made).port == 9092
    return made


@pytest.mark.parametrize("fault", [*unusable_files(GOOD), "empty"])
def test_a_file_that_is_damaged_or_another_is_refused(file: Path, fault: str) -> None:
    content = (unusable_files(GOOD) | {"empty": b""})[fault]
    require_refused(read, file, content, fault=fault)


def test_no_key_takes_a_value_of_another_type_or_that_is_not_finite(file: Path) -> None:
    tried = list(wrong_values(CoordinatorSettings))
    assert len(tried) > 50
    for key, literal in tried:
        content = with_value(GOOD, key, literal).encode()
        assert key in require_refused(read, file, content, fault=f"{key} = {literal[:40]}")


@pytest.mark.parametrize("key", ["port", "loopback_port", "health_port"])
@pytest.mark.parametrize("number", [-1, 65_536, 2**62])
def test_a_port_that_is_none_is_refused_by_its_key(file: Path, key: str, number: int) -> None:
    content = with_value(GOOD, key, str(number)).encode()
    assert key in require_refused(read, file, content, fault=key)


def test_a_place_without_a_file_is_refused(file: Path) -> None:
    require_unreadable_places_refused(read, file)
