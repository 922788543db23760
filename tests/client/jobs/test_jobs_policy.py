"""`[jobs]` of a policy: what may come in, and when it may train."""

import datetime
import tomllib
from pathlib import Path

import pytest
from tests.tiny_federation import tiny_job

from fedward_client.jobs.jobs_policy import (
    JobsPolicy,
    require_coordinator_allowed,
    require_job_allowed,
    require_open_hours,
)
from fedward_client.site_home import SiteHome
from fedward_client.site_policy import policy_template, read_policy
from fedward_common.errors import ConfigurationError, PrivacyError
from fedward_common.settings import from_table

JOB = tiny_job(overrides=["job.purpose=find it"])


def test_the_template_has_every_key_with_its_default() -> None:
    jobs = tomllib.loads(policy_template())["jobs"]
    assert jobs.keys() == set(JobsPolicy.__dataclass_fields__)
    assert from_table(JobsPolicy, jobs) == JobsPolicy()


@pytest.mark.parametrize(
    "line",
    ['approval = "yes"', 'purposes = "find it"', "hours = 8", "rounds = 3", 'models = ["cnn", 3]'],
)
def test_a_policy_with_a_line_that_cannot_be_kept_is_refused_with_its_file(
    tmp_path: Path, line: str
) -> None:
    (tmp_path / "policy.toml").write_text(f"[jobs]\n{line}\n")
    with pytest.raises(ConfigurationError, match=r"policy\.toml.*jobs"):
        read_policy(SiteHome(tmp_path))


def at(text: str) -> float:
    """Seconds of a moment in UTC."""
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()


def test_a_site_that_says_nothing_is_asked_and_takes_any_purpose_at_any_time() -> None:
    policy = JobsPolicy()
    assert policy.approval == "ask"
    require_job_allowed(policy, JOB)
    assert policy.is_open_at(0.0)


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (JobsPolicy(purposes=("something else",)), "PURPOSE_NOT_ALLOWED"),
        (JobsPolicy(purposes=("find it ",)), "PURPOSE_NOT_ALLOWED"),
        (JobsPolicy(models=("resnet",)), "MODEL_NOT_ALLOWED"),
        (JobsPolicy(max_rounds=3), "TOO_MANY_ROUNDS"),
    ],
)
def test_a_job_that_is_not_allowed_is_refused_by_its_code(policy: JobsPolicy, code: str) -> None:
    with pytest.raises(PrivacyError) as caught:
        require_job_allowed(policy, JOB)
    assert caught.value.code == code
    assert caught.value.hint


@pytest.mark.parametrize("allowed", [(), ("University",), ("Other", "coordinator")])
def test_a_coordinator_is_allowed_by_its_organisation_or_by_its_name(
    allowed: tuple[str, ...],
) -> None:
    require_coordinator_allowed(JobsPolicy(coordinators=allowed), "coordinator", "University")


@pytest.mark.parametrize("organisation", ["university", "University ", "", "Other University"])
def test_a_coordinator_of_another_organisation_is_refused_by_its_code(organisation: str) -> None:
    policy = JobsPolicy(coordinators=("University",))
    with pytest.raises(PrivacyError) as caught:
        require_coordinator_allowed(policy, "coordinator", organisation)
    assert caught.value.code == "COORDINATOR_NOT_ALLOWED"
    assert "coordinators" in caught.value.hint


def test_an_organisation_that_is_not_known_is_never_one_that_is_allowed() -> None:
    with pytest.raises(PrivacyError):
        require_coordinator_allowed(JobsPolicy(coordinators=("x",)), "coordinator", "")


def test_a_job_within_every_limit_is_allowed() -> None:
    require_job_allowed(JobsPolicy(purposes=("x", "find it"), models=("cnn",), max_rounds=4), JOB)


@pytest.mark.parametrize(
    ("hours", "moment", "is_open"),
    [
        ("08:00-17:00", "2024-03-05T08:00", True),
        ("08:00-17:00", "2024-03-05T07:59", False),
        ("08:00-17:00", "2024-03-05T17:00", False),
        ("20:00-06:00", "2024-03-05T23:59", True),
        ("20:00-06:00", "2024-03-06T05:59", True),
        ("20:00-06:00", "2024-03-06T06:00", False),
        ("20:00-06:00", "2024-03-06T19:59", False),
    ],
)
def test_hours_begin_with_their_first_minute_and_may_go_over_midnight(
    hours: str, moment: str, is_open: bool
) -> None:
    assert JobsPolicy(hours=hours).is_open_at(at(moment)) is is_open


def test_hours_are_those_of_the_time_zone_in_summer_and_in_winter() -> None:
    policy = JobsPolicy(hours="20:00-21:00", time_zone="Europe/Vienna")
    assert policy.is_open_at(at("2024-07-01T18:30"))
    assert not policy.is_open_at(at("2024-01-01T18:30"))
    assert policy.is_open_at(at("2024-01-01T19:30"))


def test_outside_its_hours_a_round_is_refused_by_its_code() -> None:
    with pytest.raises(PrivacyError) as caught:
        require_open_hours(JobsPolicy(hours="20:00-06:00"), at("2024-03-06T12:00"))
    assert caught.value.code == "OUTSIDE_HOURS"


@pytest.mark.parametrize("hours", ["8-17", "08:00", "24:00-25:00", "08:00-08:00", "08:00 - 17:00"])
def test_hours_that_are_no_span_of_a_day_are_refused(hours: str) -> None:
    with pytest.raises(ConfigurationError, match=r"jobs\.hours"):
        JobsPolicy(hours=hours)


@pytest.mark.parametrize("zone", ["", "Nowhere/Land", "../etc/passwd", "America", "/etc/passwd"])
def test_a_time_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(ConfigurationError, match=r"jobs\.time_zone"):
        JobsPolicy(time_zone=zone)


@pytest.mark.parametrize("rounds", [0, -1, 1_000_000])
def test_a_number_of_rounds_that_no_job_has_is_refused(rounds: int) -> None:
    with pytest.raises(ConfigurationError, match=r"jobs\.max_rounds"):
        JobsPolicy(max_rounds=rounds)
