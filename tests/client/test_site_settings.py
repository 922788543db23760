"""Where a site's node connects, as `site.toml` says."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from fedward_client.site_settings import SiteSettings, connection_of
from fedward_common.errors import ConfigurationError

SETTINGS = SiteSettings("alder", "lungs", "main", coordinator_address="fed.example:443")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "consortium").mkdir()
    (tmp_path / SETTINGS.coordinator_authority_file).write_text("PEM")
    return tmp_path


def test_a_connection_has_its_address_and_whom_to_believe(home: Path) -> None:
    connection = connection_of(SETTINGS, home)
    assert connection.address == "fed.example:443"
    assert connection.authority_file.parent.parent == home


@pytest.mark.parametrize(
    "changes",
    [
        {"coordinator_address": ""},
        {"coordinator_address": "fed.example"},
        {"coordinator_address": ":443"},
        {"coordinator_address": "fed.example:0"},
        {"coordinator_address": "fed.example:70000"},
        {"coordinator_address": "fed.example:https"},
        {"coordinator_authority_file": "not-there.pem"},
        {"poll_seconds": 0.0},
        {"poll_seconds": 3600.0},
    ],
)
def test_what_cannot_be_connected_to_is_refused(home: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        connection_of(dataclasses.replace(SETTINGS, **changes), home)
    assert refused.value.hint
