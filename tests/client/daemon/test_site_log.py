"""`site.log` of a home is lines of JSON."""

import json
import logging
from pathlib import Path

import pytest
from tests.client.daemon.asked_site import SITE, Coordinator

from fedward_client.daemon import site_log
from fedward_client.daemon.site_log import log_at_home, site_log_of
from fedward_client.site_home import SiteHome


def test_each_line_has_its_time_its_level_and_its_code(accepted: Coordinator) -> None:
    subject = accepted.subject(1, run="another", manifest_sha256="00" * 32)
    accepted.train(subject=subject)
    lines = (accepted.federation.homes[SITE] / "site.log").read_text().splitlines()
    line = json.loads(lines[-1])
    assert line["time"].startswith("20")
    assert (line["level"], line["event"]) == ("warning", "site.noted")
    assert "UNKNOWN_RUN" in line["text"]


@pytest.fixture
def log(tmp_path: Path) -> logging.Logger:
    log_at_home(SiteHome(tmp_path))
    return site_log_of(SiteHome(tmp_path))


def test_a_home_that_is_opened_again_has_each_line_once(
    tmp_path: Path, log: logging.Logger
) -> None:
    log_at_home(SiteHome(tmp_path))
    log.warning("one")
    assert len((tmp_path / "site.log").read_text().splitlines()) == 1


def test_a_log_that_has_grown_long_becomes_the_one_before(
    tmp_path: Path, log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_log, "MAX_LOG_BYTES", 1000)
    for number in range(100):
        log.warning("line %d", number)
    kept = [(tmp_path / name).read_text() for name in ("site.log.1", "site.log")]
    assert max(len(one) for one in kept) < 1300
    assert "line 99" in kept[1]
    assert "line 0" not in "".join(kept)


def test_a_log_that_was_moved_or_deleted_is_made_anew(tmp_path: Path, log: logging.Logger) -> None:
    log.warning("one")
    (tmp_path / "site.log").unlink()
    log.warning("two")
    assert "two" in (tmp_path / "site.log").read_text()


def test_a_log_that_cannot_be_opened_stops_nothing(tmp_path: Path, log: logging.Logger) -> None:
    (tmp_path / "site.log").mkdir()
    log.warning("one")
