"""The key of a site's Flower node."""

import stat
from pathlib import Path

import pytest

from fedward_client.daemon.node_key import node_key_file, stated_node_key
from fedward_client.site_home import SiteHome
from fedward_common.consortium.node_key import verify_node_key
from fedward_common.consortium.roster import Roster, RosterEntry
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import ConfigurationError
from fedward_common.identities import SiteId

ALDER = SiteId("alder")
CONSORTIUM = "lungs"


@pytest.fixture
def home(tmp_path: Path) -> SiteHome:
    home = SiteHome(tmp_path)
    home.trust.mkdir()
    (home.trust / "site.key").write_text(SigningKey.generate().to_raw().hex())
    return home


@pytest.fixture
def roster(home: SiteHome) -> Roster:
    key = SigningKey.from_raw(bytes.fromhex((home.trust / "site.key").read_text()))
    return Roster(CONSORTIUM, 1, "", 0, 1, (RosterEntry(ALDER, "a", "site", key.verifying_key),))


def test_the_coordinator_believes_what_the_site_states(home: SiteHome, roster: Roster) -> None:
    stated = stated_node_key(home, site=ALDER, consortium=CONSORTIUM)
    assert verify_node_key(stated, roster).site == ALDER


def test_the_key_is_made_once_and_for_its_owner_alone(home: SiteHome, roster: Roster) -> None:
    file = node_key_file(home)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first, second = (stated_node_key(home, site=ALDER, consortium=CONSORTIUM) for _ in range(2))
    assert verify_node_key(first, roster) == verify_node_key(second, roster)
    assert b"PRIVATE" in file.read_bytes()
    assert b"PRIVATE" not in first


@pytest.mark.parametrize("name", ["site.key", "node.key"])
def test_a_damaged_key_is_refused(home: SiteHome, name: str) -> None:
    node_key_file(home)
    (home.trust / name).write_text("garbage")
    with pytest.raises(ConfigurationError):
        stated_node_key(home, site=ALDER, consortium=CONSORTIUM)
