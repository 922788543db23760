"""`policy.toml`: what this site lets a job do, whoever asks.

No job can change it. Each default is the strict choice, and the template says why. A site without
the file has the defaults. A section or key that this version does not know is an error: a limit
that is not understood would not be kept.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fedward_client.jobs.jobs_policy import JobsPolicy, require_job_allowed
from fedward_client.jobs.limits_policy import LimitsPolicy
from fedward_client.ledger.budget import Caps
from fedward_client.ledger.utc_clock import Window
from fedward_client.site_home import SiteHome
from fedward_common.errors import ConfigurationError, PrivacyError
from fedward_common.job.checks import require, require_between
from fedward_common.job.job_file import Job
from fedward_common.job.privacy_section import MAX_EPSILON, PrivacySection
from fedward_common.job.secure_aggregation_section import SecureAggregationSection
from fedward_common.settings import from_table, read_toml
from fedward_common.unchanged_file import read_once

# At a delta of 1e-3, publishing one patient in a thousand outright would keep the bound.
MAX_DELTA_TOTAL = 1e-3


@dataclass(frozen=True)
class PrivacyPolicy:
    """`[privacy]`: see `policy_template` for what each key means and why it is as it is."""

    epsilon_per_job: float = 8.0
    epsilon_total: float = 10.0
    delta_total: float = 1e-5
    window: Window = "none"
    unbounded_training: bool = False
    joint: bool = False
    evaluation: Literal["exact", "none"] = "exact"
    device_noise: bool = False

    def __post_init__(self) -> None:
        for key in ("epsilon_per_job", "epsilon_total"):
            require_between(f"privacy.{key}", getattr(self, key), 0, MAX_EPSILON, low_open=True)
        require_between("privacy.delta_total", self.delta_total, 0, MAX_DELTA_TOTAL, low_open=True)
        require(
            self.epsilon_per_job <= self.epsilon_total,
            "privacy.epsilon_per_job", "is larger than privacy.epsilon_total",
            "a job cannot spend more than all jobs together",
        )  # fmt: skip


@dataclass(frozen=True)
class SecureAggregationPolicy:
    """`[secure_aggregation]`: see `policy_template`."""

    required: bool = True
    minimum_organisations: int = 3
    minimum_share: float = 0.5

    def __post_init__(self) -> None:
        require_between("secure_aggregation.minimum_share", self.minimum_share, 0, 1)
        require_between(
            "secure_aggregation.minimum_organisations", self.minimum_organisations, 1, 10_000
        )


@dataclass(frozen=True)
class ConsortiumPolicy:
    """`[consortium]`: see `policy_template`."""

    accept_roster: Literal["ask", "ca"] = "ask"


@dataclass(frozen=True)
class SitePolicy:
    """All of `policy.toml`."""

    privacy: PrivacyPolicy = field(default_factory=PrivacyPolicy)
    consortium: ConsortiumPolicy = field(default_factory=ConsortiumPolicy)
    secure_aggregation: SecureAggregationPolicy = field(default_factory=SecureAggregationPolicy)
    jobs: JobsPolicy = field(default_factory=JobsPolicy)
    limits: LimitsPolicy = field(default_factory=LimitsPolicy)

    def caps(self, privacy: PrivacySection | None = None) -> Caps:
        """Give what a job is held to in the ledger; without a job, what all jobs are."""
        mine = self.privacy
        delta = None if privacy is None else privacy.delta
        return Caps(
            epsilon_per_job=mine.epsilon_per_job,
            delta_per_job=delta or mine.delta_total,
            epsilon_total=mine.epsilon_total,
            delta_total=mine.delta_total,
            window=mine.window,
            unbounded_allowed=mine.unbounded_training,
        )


def read_policy(home: SiteHome) -> SitePolicy:
    """Read a site's policy; without a file the strict defaults hold.

    Raises:
        ConfigurationError: It cannot be read, or holds something unknown or out of range.
    """
    path = home.policy_file
    if not path.exists() and not path.is_symlink():  # a link to nowhere is a file that is gone
        return SitePolicy()
    try:
        return _unchanged_policy(path)
    except OSError:
        return _parsed_policy(path)


def _parsed_policy(path: Path) -> SitePolicy:
    table = read_toml(path)
    try:
        return from_table(SitePolicy, table)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}", hint=error.hint) from error


_unchanged_policy = read_once(_parsed_policy)


def require_within_policy(policy: SitePolicy, job: Job, *, trains: bool) -> None:
    """Check all that can be known of a job from its settings alone.

    Args:
        policy: The site's.
        job: What a coordinator asks for.
        trains: Whether this site would train, or only evaluate.

    Raises:
        PrivacyError: With the code of what is not allowed.
    """
    require_job_allowed(policy.jobs, job)
    require_aggregation_allowed(policy, job.secure_aggregation)
    if trains:
        require_mechanism_allowed(policy, job.privacy, evaluates=True)
    else:
        require_evaluation_allowed(policy)


def require_admissible(
    policy: SitePolicy, privacy: PrivacySection, num_patients: int, *, evaluates: bool
) -> None:
    """Check what can be known of a job before its noise is: the ledger checks the rest.

    Args:
        policy: The site's.
        privacy: The job's.
        num_patients: Training patients of this site.
        evaluates: Whether the job asks this site for sums over validation or test patients.

    Raises:
        PrivacyError: `EVALUATION_NOT_ALLOWED`, `UNBOUNDED_NOT_ALLOWED`, `JOINT_NOT_ALLOWED`,
            `EPSILON_ABOVE_CAP` or `DELTA_TOO_LARGE`.
    """
    require_mechanism_allowed(policy, privacy, evaluates=evaluates)
    if privacy.mechanism != "none":
        from fedward_common.privacy.calibration import require_delta_fits

        require_delta_fits(privacy.delta or 0.0, num_patients)


def require_mechanism_allowed(
    policy: SitePolicy, privacy: PrivacySection, *, evaluates: bool
) -> None:
    """Check what can be known of a job before its patients are counted.

    Args:
        policy: The site's.
        privacy: The job's.
        evaluates: Whether the job asks this site for sums over validation or test patients.

    Raises:
        PrivacyError: `EVALUATION_NOT_ALLOWED`, `UNBOUNDED_NOT_ALLOWED`, `JOINT_NOT_ALLOWED` or
            `EPSILON_ABOVE_CAP`.
    """
    mine = policy.privacy
    if evaluates:
        require_evaluation_allowed(policy)
    if privacy.mechanism == "none":
        _require_unbounded_allowed(mine)
        return
    if privacy.mechanism == "joint" and not mine.joint:
        raise _refused(
            "the job's mechanism is joint",
            "joint = true allows it; its epsilon holds against whoever sees sums alone",
            "JOINT_NOT_ALLOWED",
        )
    if privacy.epsilon is not None and privacy.epsilon > mine.epsilon_per_job:
        raise _refused(
            f"the job's epsilon is {privacy.epsilon:g}, the cap of a job {mine.epsilon_per_job:g}",
            "epsilon_per_job is the cap; ask the coordinator for a smaller epsilon",
            "EPSILON_ABOVE_CAP",
        )


def require_aggregation_allowed(policy: SitePolicy, section: SecureAggregationSection) -> None:
    """Check that a job masks what leaves, unless the policy says otherwise.

    Raises:
        PrivacyError: `SECURE_AGGREGATION_REQUIRED`.
    """
    if policy.secure_aggregation.required and not section.enabled:
        raise PrivacyError(
            "the job would show the coordinator this site's own updates and sums, and the site's "
            "policy does not allow it",
            hint="[secure_aggregation] of policy.toml: required = false allows it; better, the "
            "coordinator switches secure aggregation on in the job",
            code="SECURE_AGGREGATION_REQUIRED",
        )


def require_evaluation_allowed(policy: SitePolicy) -> None:
    """Check that sums over validation and test patients may leave.

    Raises:
        PrivacyError: `EVALUATION_NOT_ALLOWED`.
    """
    if policy.privacy.evaluation == "none":
        raise _refused(
            "the job wants exact sums over this site's validation patients",
            'evaluation = "exact" allows them; no epsilon covers them',
            "EVALUATION_NOT_ALLOWED",
        )


def _require_unbounded_allowed(mine: PrivacyPolicy) -> None:
    if not mine.unbounded_training:
        raise _refused(
            "the job trains without differential privacy",
            "unbounded_training = true allows it; its patients then have no bound for ever",
            "UNBOUNDED_NOT_ALLOWED",
        )


def _refused(what: str, hint: str, code: str) -> PrivacyError:
    return PrivacyError(
        f"{what}, and the site's policy does not allow it",
        hint=f"[privacy] of policy.toml: {hint}",
        code=code,
    )


def policy_template() -> str:
    """Give a `policy.toml` with the defaults, each with what it means and why."""
    return _TEMPLATE


_TEMPLATE = """\
# What this site lets a job do. No job can change it. This file has the defaults; a site without it
# has them too.

[jobs]
# "ask": a job waits until somebody here says: fedward-site approve RUN. "within-policy": every job
# that keeps to this file comes in at once; the audit log says so.
approval = "ask"

# Who may lead a job: organisations, each just as in the roster, or names of coordinators. Empty:
# whoever the consortium's authority certified as one.
coordinators = []

# The purposes for which jobs may come in, each just as the job states it. Empty: any.
purposes = []

# Names of the models that may be trained, such as "resnet". Empty: any.
models = []

# More rounds than these are not allowed. Each round is an update that leaves.
max_rounds = 10000

# When rounds may begin, such as "20:00-06:00", which goes over midnight. Empty: at any time. A
# round that has begun is finished.
hours = ""

# Whose time that is, such as "Europe/Vienna".
time_zone = "UTC"

[limits]
# How many threads a job computes with here. 0: as many as there are cores. What bounds the whole
# daemon, memory as well, is its systemd unit: CPUQuota= and MemoryMax=.
cpu_threads = 0

# Which graphics cards a job may use, as nvidia-smi numbers them, such as [0, 1]. "none": it
# computes on the processor alone. "all": those that the daemon sees.
gpus = "all"

[privacy]
# The most that one job may cost a patient, at the job's own delta. 8 is where published medical
# image models lose little accuracy; on paper it is a weak bound, and smaller is stronger.
epsilon_per_job = 8.0

# The most that all jobs together may cost any one patient, at delta_total. One job at the cap and
# some small ones fit; two jobs at the cap on the same patients do not.
epsilon_total = 10.0

# The chance that the total bound does not hold. 1e-5 suits up to 10,000 patients; with more, take
# 1 / (10 x the number of patients).
delta_total = 1e-5

# "none" counts every job for ever: what was told about a patient is never untold.
# "calendar-year" (in UTC) gives each patient a new budget every year. That is a decision of the
# site, not mathematics: over k years a patient may come to k times the total, at k times delta.
window = "none"

# Whether a job without differential privacy may train here. Its patients have no bound afterwards,
# and the ledger says so.
unbounded_training = false

# Whether the noise may be shared among the hospitals of a run. Epsilon then holds against whoever
# sees sums over all hospitals, and much less against whoever sees this site's part.
joint = false

# "exact": sums over validation and test patients may leave, added to those of other hospitals. No
# epsilon covers these patients, who are not trained on; without it nobody knows what a model is
# worth. "none": they may not.
evaluation = "exact"

# Where noise is drawn when a round trains on a CUDA GPU. false: on the processor, from AES-256
# under keys of the operating system, and copied to the GPU. true: on the GPU, by its own generator
# with a fresh seed of 64 bits: faster and weaker. The ledger keeps which it was, for every round.
device_noise = false

[secure_aggregation]
# Whether every update and every sum of an evaluation must leave masked, so that the coordinator
# learns what the hospitals add up to and nothing of this one. With false a job may switch masking
# off; updates are then sealed to the coordinator, who sees each of them.
required = true

# Fewer organisations are never added up: of two, each can subtract its part and has the other's.
minimum_organisations = 3

# The share of a run's training sites that must be in a round before this one adds its part. What is
# promised holds against fewer than a third of the sites of a round: the more of them, the better.
minimum_share = 0.5

[consortium]
# Who lets a new member in, as far as this site is concerned. "ask": this site takes part with new
# members, or with new keys of known ones, only after: fedward-site roster --accept VERSION. "ca":
# whomever the consortium's authority certifies. Removals count at once either way.
accept_roster = "ask"
"""
