"""A run's folder: what it says, and when nobody may go on with it."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from tests.tiny_federation import TinyFederation, make_federation

from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import ConfigurationError
from fedward_server.coordinator.run_setup import RunSetup, read_run_setup
from fedward_server.simulation.federation import set_up
from fedward_server.simulation.homes import Homes, make_homes
from fedward_server.simulation.site_side import site_side

YEAR = 365 * 24 * 3600


@pytest.fixture
def keys(tiny: TinyFederation, tmp_path: Path) -> Path:
    """The coordinator's key in a folder of the test's own, with the authority beside it."""
    shutil.copytree(tiny.key_file.parent, tmp_path / "keys")
    return tmp_path / "keys" / tiny.key_file.name


@pytest.fixture
def setup(tiny: TinyFederation, run_folder: Path) -> RunSetup:
    return tiny.set_up(run_folder)


def reread(setup: RunSetup, key_file: Path, *, years: float = 0.0) -> RunSetup:
    now_seconds = setup.roster.issued_at_seconds + 3600 + years * YEAR
    return read_run_setup(setup.folder, key_file, now_seconds=now_seconds)


def refusal(setup: RunSetup, key_file: Path, *, years: float = 0.0) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        reread(setup, key_file, years=years)
    assert caught.value.hint
    return caught.value


def test_the_manifest_names_the_roster_and_the_suite(setup: RunSetup) -> None:
    manifest, roster = setup.manifest, setup.roster
    assert (manifest.roster_version, manifest.roster_sha256) == (1, roster.sha256)
    assert manifest.suite == "S1"
    assert roster.sites == ("alder", "birch", "cedar")
    assert roster.entry_of(manifest.coordinator).key.raw == setup.key.verifying_key.raw


def test_what_was_written_is_read_again_years_later(setup: RunSetup, keys: Path) -> None:
    again = reread(setup, keys, years=25)
    assert again.manifest_bytes == setup.manifest_bytes
    assert again.roster_bytes == setup.roster_bytes
    assert again.roster.sha256 == setup.roster.sha256


def test_a_folder_without_a_run_is_refused(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no run"):
        read_run_setup(tmp_path, keys, now_seconds=0.0)


def test_a_run_of_an_earlier_release_is_refused_with_a_way_on(setup: RunSetup, keys: Path) -> None:
    (setup.folder / "roster.cbor").rename(setup.folder / "roster.json")
    error = refusal(setup, keys)
    assert "earlier release" in str(error)
    assert "start anew" in error.hint


def test_a_roster_other_than_the_manifests_is_refused(
    setup: RunSetup, keys: Path, tmp_path: Path
) -> None:
    other = make_federation(tmp_path / "other")
    (setup.folder / "roster.cbor").write_bytes(other.roster)
    assert refusal(setup, keys).code == "ROSTER_SIGNATURE"  # of another consortium
    other_keys = other.key_file
    assert "not the roster" in str(refusal(setup, other_keys))


def test_a_damaged_roster_is_refused(setup: RunSetup, keys: Path) -> None:
    (setup.folder / "roster.cbor").write_bytes(setup.roster_bytes[:-1])
    assert refusal(setup, keys).code == "MALFORMED_MESSAGE"


def test_a_roster_out_of_date_is_refused(setup: RunSetup, keys: Path) -> None:
    assert refusal(setup, keys, years=31).code == "ROSTER_EXPIRED"


def test_another_key_than_the_rosters_coordinator_is_refused(setup: RunSetup, keys: Path) -> None:
    keys.write_text(SigningKey.generate().to_raw().hex())
    assert "not the coordinator's key" in str(refusal(setup, keys))


def test_an_authority_that_is_gone_or_damaged_is_refused(setup: RunSetup, keys: Path) -> None:
    file = keys.with_name("authority.der")
    file.write_bytes(b"")
    assert refusal(setup, keys).code == "CERT_MALFORMED"
    file.unlink()
    assert "authority.der cannot be read" in str(refusal(setup, keys))


def test_a_run_does_not_go_on_with_a_home_whose_key_is_new(tmp_path: Path) -> None:
    federation = make_federation(tmp_path / "f")
    federation.set_up(tmp_path / "run")
    (federation.homes[next(iter(federation.homes))] / "trust" / "site.key").unlink()
    again = dataclasses.replace(federation, roster=_homes_again(federation, tmp_path / "f").roster)
    with pytest.raises(ConfigurationError, match="the key of alder is another"):
        set_up(again.in_folder(tmp_path / "run"))


def _homes_again(federation: TinyFederation, folder: Path) -> Homes:
    return make_homes(
        site_side(), folder / "sites", federation.cohorts, federation.data,
        key_file=federation.key_file,
    )  # fmt: skip
