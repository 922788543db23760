"""Whatever stands in `site.toml`, it is what a site can be, or it is refused."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.faulty_settings import (
    require_refused,
    require_unreadable_places_refused,
    unusable_files,
    with_value,
    wrong_values,
)

from fedward_client.daemon.site_state import OpenSite, forget_open_sites, open_site
from fedward_client.jobs.site_status import settings_of
from fedward_client.site_home import SiteHome
from fedward_client.site_settings import SiteSettings, connection_of
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import ConfigurationError, FedwardError

GOOD = """site = "alder"
consortium = "harbour"
cohort = "main"
coordinator_address = "fed.example:443"
"""


def read(file: Path) -> SiteSettings:
    return settings_of(SiteHome(file.parent))


def opened(file: Path) -> OpenSite:
    forget_open_sites()
    return open_site(file.parent)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    key = SigningKey.from_raw(bytes(range(32)))
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust" / "site.key").write_text(key.to_raw().hex())
    (tmp_path / "trust" / "coordinator.pub").write_text(key.verifying_key.raw.hex())
    (tmp_path / "consortium").mkdir()
    (tmp_path / "consortium" / "coordinator-tls.pem").write_text("PEM")
    made = tmp_path / "site.toml"
    made.write_text(GOOD)
    assert opened(made).site_id == "alder"
    return made


@pytest.mark.parametrize("fault", [*unusable_files(GOOD), "empty"])
def test_a_file_that_is_damaged_or_another_is_refused(file: Path, fault: str) -> None:
    content = (unusable_files(GOOD) | {"empty": b""})[fault]
    require_refused(read, file, content, fault=fault)


def test_no_key_takes_a_value_of_another_type_or_that_is_not_finite(file: Path) -> None:
    tried = list(wrong_values(SiteSettings))
    assert len(tried) > 60
    for key, literal in tried:
        content = with_value(GOOD, key, literal).encode()
        assert key in require_refused(read, file, content, fault=f"{key} = {literal[:40]}")


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../birch", "/etc", "alder/birch", "alder ", " alder", "alder\\n",
        "alder\\u0000", "\\u0430lder", "alde\\u0433", "al\\u200bder", "\\uff41lder", "coordinator",
        "COORDINATOR", "-alder", "a" * 49,
    ],
)  # fmt: skip
def test_a_name_that_is_a_path_or_looks_like_another_sites_opens_no_home(
    file: Path, name: str
) -> None:
    require_refused(opened, file, with_value(GOOD, "site", f'"{name}"').encode(), fault=name)


@pytest.mark.parametrize("name", ["", "..", "../main", "/etc", "main/x", "main\\u0000", "a b"])
def test_a_cohort_that_is_a_path_opens_no_home(file: Path, name: str) -> None:
    file.write_text(with_value(GOOD, "cohort", f'"{name}"'))
    with pytest.raises(FedwardError):
        opened(file)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    port=st.text(alphabet=st.sampled_from("0123456789-+ ._\u0664\u00b2\u2460x"), max_size=7)
    | st.just("9" * 5000)
)
def test_an_address_is_a_host_and_a_port_or_is_refused(file: Path, port: str) -> None:
    made = SiteSettings("alder", "harbour", "main", coordinator_address=f"fed.example:{port}")
    try:
        connection = connection_of(made, file.parent)
    except ConfigurationError as error:
        assert error.hint
    else:
        assert connection.address.isascii()
        assert 0 < int(port) < 1 << 16


@pytest.mark.parametrize("seconds", ["0", "0.0", "-1.0", "1e-9", "61.0", "1e300"])
def test_a_pace_that_would_ask_for_ever_or_never_is_refused(file: Path, seconds: str) -> None:
    def connect(path: Path) -> object:
        return connection_of(read(path), path.parent)

    content = with_value(GOOD, "poll_seconds", seconds).encode()
    assert "poll_seconds" in require_refused(connect, file, content, fault=seconds)


@pytest.mark.parametrize("gigabytes", ["-1", "-0.5"])
def test_room_that_is_less_than_none_is_refused(file: Path, gigabytes: str) -> None:
    content = with_value(GOOD, "cache_quota_gigabytes", gigabytes).encode()
    assert "cache_quota" in require_refused(read, file, content, fault=gigabytes)


def test_a_place_without_a_file_is_refused(file: Path) -> None:
    require_unreadable_places_refused(read, file)
