"""A site whose clock is not the coordinator's: Flower refuses its node, and the daemon says why."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faulty_network import until
from tests.real_federation import Line, Process, RealFederation, make_real_federation
from tests.shifted_clock import python_path
from tests.tiny_federation import SITES

SITE = SITES[0]
SECONDS = 120


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealFederation]:
    federation = make_real_federation(tmp_path)
    yield federation
    assert federation.close() == []


@pytest.mark.slow
def test_a_clock_ten_minutes_off_is_named_until_it_is_set_right(
    real: RealFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F20: ahead and behind, with the offset; then the node connects under the same identity."""
    coordinator = real.start_coordinator()
    ahead = tmp_path / "ahead-seconds"
    ahead.write_text("600")
    monkeypatch.setenv("PYTHONPATH", python_path(tmp_path / "first-imported", ahead))
    site = real.start_site(SITE)
    require_off(real, site, 600)
    ahead.write_text("0")
    assert abs(require_well(real, site)["offset_seconds"]) <= 2
    ahead.write_text("-600")
    require_off(real, site, -600)
    ahead.write_text("0")
    require_well(real, site)
    assert site.end() == coordinator.end() == 0


def told_until(site: Process, *events: str) -> dict[str, Line]:
    """Wait until a site told all of these, in any order, and give the last line of each."""
    since = len(site.lines)

    def told() -> dict[str, Line]:
        return {line["event"]: line for line in site.all_lines()[since:]}

    until(lambda: set(events) <= told().keys(), f"{events} come", SECONDS)
    return told()


def require_off(real: RealFederation, site: Process, seconds: int) -> None:
    """Flower ends the node, the daemon names the offset, and whoever asks is shown it."""
    lines = told_until(site, "child.ended", "clock.off")
    ended, found = lines["child.ended"], lines["clock.off"]
    assert (ended["child"], ended["code"]) == ("node", "NODE_NOT_KNOWN")
    assert (found["code"], found["level"]) == ("CLOCK_SKEW", "warning")
    assert abs(found["offset_seconds"] - seconds) <= 5
    health = real.site_tells(SITE, "status")["health"]
    assert health["conditions"]["clock"] == "CLOCK_SKEW"
    assert abs(health["figures"]["clock_offset_seconds"] - seconds) <= 5


def require_well(real: RealFederation, site: Process) -> Line:
    """The node connects by itself, and nothing is said against the clock any more."""
    lines = told_until(site, "clock.right", "node.connected")
    assert real.site_tells(SITE, "status")["health"]["conditions"]["clock"] == ""
    return lines["clock.right"]
