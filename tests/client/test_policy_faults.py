"""Whatever stands in `policy.toml`, it is a limit that a site can keep, or it is refused."""

import math
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

from fedward_client.site_home import SiteHome
from fedward_client.site_policy import SitePolicy, policy_template, read_policy
from fedward_common.errors import ConfigurationError

GOOD = policy_template()
NUMBERS = {
    "jobs.max_rounds", "limits.cpu_threads", "privacy.epsilon_per_job", "privacy.epsilon_total",
    "privacy.delta_total", "secure_aggregation.minimum_organisations",
    "secure_aggregation.minimum_share",
}  # fmt: skip


def read(file: Path) -> SitePolicy:
    return read_policy(SiteHome(file.parent))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "policy.toml"
    made.write_text(GOOD)
    assert read(made) == SitePolicy()
    return made


# A template begins with a comment, so what is put before it or cut from it is a key of no section.
@pytest.mark.parametrize("fault", sorted(unusable_files(GOOD)))
def test_a_file_that_is_damaged_or_another_is_never_taken_for_the_defaults(
    file: Path, fault: str
) -> None:
    require_refused(read, file, unusable_files(GOOD)[fault], fault=fault)


def test_no_key_takes_a_value_of_another_type_or_that_is_not_finite(file: Path) -> None:
    tried = list(wrong_values(SitePolicy))
    assert len(tried) > 150
    assert {key for key, literal in tried if literal == "1e400"} >= NUMBERS
    for key, literal in tried:
        # Without a dot it is a section, written as a value.
        content = with_value(GOOD, key, literal) if "." in key else f"{key} = {literal}\n"
        fault = f"{key} = {literal[:40]}"
        assert key in require_refused(read, file, content.encode(), fault=fault)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(key=st.sampled_from(sorted(NUMBERS)), number=st.integers() | st.floats())
def test_a_number_is_kept_as_it_stands_or_refused_with_its_key(
    file: Path, key: str, number: float
) -> None:
    file.write_text(with_value(GOOD, key, repr(number)))
    section, name = key.split(".")
    try:
        policy = read(file)
    except ConfigurationError as error:
        assert section in str(error)
        assert error.hint
    else:
        kept = getattr(getattr(policy, section), name)
        assert kept == number
        assert math.isfinite(kept)
        assert kept >= 0
        assert policy.privacy.epsilon_total > 0
        assert policy.privacy.delta_total > 0


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("jobs.time_zone", "../../../etc/passwd"),
        ("jobs.time_zone", "/etc/localtime"),
        ("jobs.time_zone", ""),
        ("jobs.time_zone", "Europe/Vienna\\u0000"),
        ("jobs.hours", "24:00-25:00"),
        ("jobs.hours", "\\u0662\\u0660:00-06:00"),
        ("limits.gpus", "../0"),
    ],
)
def test_a_text_that_is_a_path_or_looks_like_another_is_refused(
    file: Path, key: str, text: str
) -> None:
    content = with_value(GOOD, key, f'"{text}"').encode()
    assert key in require_refused(read, file, content, fault=text)


def test_a_place_without_a_file_is_refused(file: Path) -> None:
    require_unreadable_places_refused(read, file)
