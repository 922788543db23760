"""What a job with secure aggregation is refused for, before any site is known."""

import pytest
from tests.common.job.job_tables import refusal_of, table_with

from fedward_common.errors import ConfigurationError
from fedward_common.job.job_file import job_from_table

ON = {"secure_aggregation.enabled": True}


def test_a_job_may_ask_for_it() -> None:
    section = job_from_table(table_with(ON)).secure_aggregation
    assert (section.enabled, section.bits, section.minimum_sites) == (True, 32, 2)
    assert (section.value_range, section.mean_norm_limit) == (4.0, 0.0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bits", 16),
        ("value_range", 0.0),
        ("value_range", 1e7),
        ("control_variate_range", -1.0),
        ("minimum_sites", 1),
        ("step_deadline_seconds", 0.0),
        ("mean_norm_limit", -1.0),
        ("mean_norm_limit", float("inf")),
    ],
)
def test_a_setting_out_of_range_is_refused_by_its_name(key: str, value: object) -> None:
    error = refusal_of(ON | {f"secure_aggregation.{key}": value})
    assert isinstance(error, ConfigurationError)
    assert f"secure_aggregation.{key}" in str(error)
    assert error.hint


def test_bits_that_leave_no_fraction_for_the_fewest_sites_are_refused() -> None:
    narrow = ON | {"secure_aggregation.bits": 24, "secure_aggregation.value_range": 4096.0}
    fitting = {"secure_aggregation.minimum_sites": 8, "quorum.required_sites": 8}
    job_from_table(table_with(narrow | fitting))
    for key in fitting:
        error = refusal_of(narrow | fitting | {key: 9})
        assert "secure_aggregation.bits = 24" in str(error)
        assert "9 sites" in str(error)
        assert "bits = 32" in error.hint


def test_where_nothing_is_masked_no_bits_are_wanted() -> None:
    table = table_with(
        {"secure_aggregation.bits": 24, "secure_aggregation.value_range": 1_000_000.0}
    )
    assert not job_from_table(table).secure_aggregation.enabled


def test_a_limit_that_would_do_nothing_is_refused() -> None:
    error = refusal_of({"secure_aggregation.mean_norm_limit": 1.0})
    assert "secure_aggregation.mean_norm_limit is 1" in str(error)
    assert "enabled = true" in error.hint
