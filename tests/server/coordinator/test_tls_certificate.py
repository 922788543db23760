"""The coordinator's TLS certificate before and after its end (F9)."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.real_federation import write_tls

from fedward_common.errors import ConfigurationError
from fedward_server.coordinator.tls_certificate import days_left

DAY = 24 * 3600
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_the_days_are_counted_to_its_end(tmp_path: Path) -> None:
    write_tls(tmp_path, NOW, days=30)
    assert days_left(tmp_path / "server.crt", now_seconds=NOW.timestamp()) == pytest.approx(
        30, abs=1e-3
    )
    later = days_left(tmp_path / "server.crt", now_seconds=NOW.timestamp() + 20 * DAY)
    assert later == pytest.approx(10, abs=1e-3)


@pytest.mark.parametrize("days_from_now", [31, -2])
def test_out_of_its_time_it_is_refused_by_name(tmp_path: Path, days_from_now: int) -> None:
    write_tls(tmp_path, NOW, days=30)
    with pytest.raises(ConfigurationError) as refused:
        days_left(tmp_path / "server.crt", now_seconds=NOW.timestamp() + days_from_now * DAY)
    assert refused.value.code == "CERT_EXPIRED"


@pytest.mark.parametrize("content", [b"", b"no certificate", None])
def test_what_is_no_certificate_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "server.crt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        days_left(file, now_seconds=0)
