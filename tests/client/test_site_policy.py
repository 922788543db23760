import tomllib
from pathlib import Path

import pytest

from fedward_client.site_home import SiteHome
from fedward_client.site_policy import (
    PrivacyPolicy,
    SecureAggregationPolicy,
    SitePolicy,
    policy_template,
    read_policy,
    require_admissible,
    require_aggregation_allowed,
)
from fedward_common.errors import ConfigurationError, PrivacyError
from fedward_common.job.privacy_section import PrivacySection
from fedward_common.job.secure_aggregation_section import SecureAggregationSection

STRICT = SitePolicy()
JOB = PrivacySection("per-site", epsilon=8.0, delta=1e-5)


def read(folder: Path, text: str) -> SitePolicy:
    (folder / "policy.toml").write_text(text)
    return read_policy(SiteHome(folder))


def refusal(policy: SitePolicy, job: PrivacySection, *, evaluates: bool = True) -> str:
    with pytest.raises(PrivacyError) as caught:
        require_admissible(policy, job, 1000, evaluates=evaluates)
    assert caught.value.hint
    return caught.value.code


def test_a_site_without_a_policy_has_the_strict_defaults(tmp_path: Path) -> None:
    assert read_policy(SiteHome(tmp_path)) == STRICT
    assert STRICT.secure_aggregation == SecureAggregationPolicy(
        required=True, minimum_organisations=3
    )
    assert STRICT.privacy == PrivacyPolicy(
        epsilon_per_job=8.0,
        epsilon_total=10.0,
        delta_total=1e-5,
        window="none",
        unbounded_training=False,
        joint=False,
        evaluation="exact",
        device_noise=False,
    )


def test_the_template_is_the_defaults_and_explains_each_of_them(tmp_path: Path) -> None:
    template = policy_template()
    assert read(tmp_path, template) == STRICT
    sections = tomllib.loads(template)
    assert sections["privacy"].keys() == set(PrivacyPolicy.__dataclass_fields__)
    masking = sections["secure_aggregation"].keys()
    assert masking == set(SecureAggregationPolicy.__dataclass_fields__)
    lines = template.splitlines()
    for number, line in enumerate(lines):
        if " = " in line and not line.startswith("#"):
            assert lines[number - 1].startswith("# ")


def test_an_empty_file_and_an_empty_section_are_the_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, "") == read(tmp_path, "[privacy]") == STRICT


def test_what_a_site_writes_is_what_it_has(tmp_path: Path) -> None:
    policy = read(
        tmp_path,
        "[privacy]\nepsilon_per_job = 2\nepsilon_total = 3.5\ndelta_total = 1e-6\n"
        'window = "calendar-year"\nunbounded_training = true\njoint = true\nevaluation = "none"\n'
        "device_noise = true\n",
    )
    assert policy.privacy == PrivacyPolicy(
        2.0, 3.5, 1e-6, "calendar-year", True, True, "none", True
    )
    caps = policy.caps(JOB)
    assert (caps.epsilon_per_job, caps.delta_per_job) == (2.0, 1e-5)
    assert (caps.epsilon_total, caps.delta_total, caps.window) == (3.5, 1e-6, "calendar-year")
    assert caps.unbounded_allowed
    assert policy.caps().delta_per_job == 1e-6


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[privacy]\nepsilon = 1", "privacy.epsilon"),
        ("[egress]\nreports = true", "egress"),
        ("[privacy]\nepsilon_total = 0", "privacy.epsilon_total"),
        ("[privacy]\nepsilon_total = 1e9", "privacy.epsilon_total"),
        ("[privacy]\nepsilon_total = nan", "privacy.epsilon_total"),
        ("[privacy]\nepsilon_per_job = -1", "privacy.epsilon_per_job"),
        ("[privacy]\nepsilon_per_job = 9\nepsilon_total = 8", "privacy.epsilon_per_job"),
        ("[privacy]\nepsilon_total = 7", "privacy.epsilon_per_job"),
        ("[privacy]\ndelta_total = 0.01", "privacy.delta_total"),
        ("[privacy]\ndelta_total = 0.0", "privacy.delta_total"),
        ('[privacy]\nwindow = "month"', "privacy.window"),
        ('[privacy]\nevaluation = "noisy"', "privacy.evaluation"),
        ("[privacy]\njoint = 1", "privacy.joint"),
        ('[privacy]\ndevice_noise = "cuda"', "privacy.device_noise"),
        ("[privacy", "policy.toml"),
    ],
)
def test_what_a_policy_cannot_say_is_refused_with_its_key_and_file(
    tmp_path: Path, text: str, named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        read(tmp_path, text)
    assert "policy.toml" in str(caught.value)
    assert caught.value.hint


def test_a_policy_that_a_link_has_lost_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").symlink_to(tmp_path / "gone.toml")
    with pytest.raises(ConfigurationError):
        read_policy(SiteHome(tmp_path))


def test_a_job_within_the_policy_is_admissible() -> None:
    require_admissible(STRICT, JOB, 1000, evaluates=True)
    by_noise = PrivacySection("per-site", noise_multiplier=0.5, delta=1e-5)
    require_admissible(STRICT, by_noise, 1000, evaluates=True)  # the ledger knows its epsilon


def test_a_job_beyond_the_policy_is_refused_by_code() -> None:
    assert refusal(STRICT, PrivacySection("none")) == "UNBOUNDED_NOT_ALLOWED"
    joint = PrivacySection("joint", epsilon=1.0, delta=1e-5)
    assert refusal(STRICT, joint) == "JOINT_NOT_ALLOWED"
    too_much = PrivacySection("per-site", epsilon=8.01, delta=1e-5)
    assert refusal(STRICT, too_much) == "EPSILON_ABOVE_CAP"
    loose = PrivacySection("per-site", epsilon=1.0, delta=1.01e-4)
    assert refusal(STRICT, loose) == "DELTA_TOO_LARGE"
    silent = SitePolicy(PrivacyPolicy(evaluation="none"))
    assert refusal(silent, JOB) == "EVALUATION_NOT_ALLOWED"
    require_admissible(silent, JOB, 1000, evaluates=False)


def test_a_policy_can_allow_each_of_them() -> None:
    lax = SitePolicy(PrivacyPolicy(unbounded_training=True, joint=True))
    require_admissible(lax, PrivacySection("none"), 1000, evaluates=True)
    joint = PrivacySection("joint", epsilon=1.0, delta=1e-5)
    require_admissible(lax, joint, 1000, evaluates=True)


# -- masking ---------------------------------------------------------------------------------------


def test_a_job_without_masks_is_refused_unless_the_site_wrote_that_it_may(tmp_path: Path) -> None:
    masked, clear = (SecureAggregationSection(enabled=value) for value in (True, False))
    require_aggregation_allowed(STRICT, masked)
    with pytest.raises(PrivacyError) as caught:
        require_aggregation_allowed(STRICT, clear)
    assert caught.value.code == "SECURE_AGGREGATION_REQUIRED"
    assert "required = false" in caught.value.hint
    lenient = read(tmp_path, "[secure_aggregation]\nrequired = false\n")
    assert lenient.secure_aggregation.minimum_organisations == 3
    require_aggregation_allowed(lenient, clear)
    require_aggregation_allowed(lenient, masked)


@pytest.mark.parametrize(
    "line",
    [
        "minimum_organisations = 0",
        "minimum_organisations = 10001",
        "minimum_organisations = 2.5",
        'required = "no"',
        "minimum_organizations = 3",
    ],
)
def test_a_masking_policy_that_cannot_be_meant_is_refused_by_its_key(
    tmp_path: Path, line: str
) -> None:
    with pytest.raises(ConfigurationError, match="secure_aggregation") as caught:
        read(tmp_path, f"[secure_aggregation]\n{line}\n")
    assert "policy.toml" in str(caught.value)
