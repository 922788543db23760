"""`[jobs]` of `policy.toml`: which jobs may come here, from whom, who lets them in, and when."""

import datetime
import re
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

from fedward_common.errors import PrivacyError
from fedward_common.job.checks import require, require_between
from fedward_common.job.job_file import Job

COORDINATOR_NOT_ALLOWED = "COORDINATOR_NOT_ALLOWED"
PURPOSE_NOT_ALLOWED = "PURPOSE_NOT_ALLOWED"
MODEL_NOT_ALLOWED = "MODEL_NOT_ALLOWED"
TOO_MANY_ROUNDS = "TOO_MANY_ROUNDS"
OUTSIDE_HOURS = "OUTSIDE_HOURS"

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True)
class JobsPolicy:
    """`[jobs]`: see `policy_template` for what each key means and why it is as it is."""

    approval: Literal["ask", "within-policy"] = "ask"
    coordinators: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    max_rounds: int = 10_000
    hours: str = ""
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        require_between("jobs.max_rounds", self.max_rounds, 1, 100_000)
        require(
            not self.hours or self._minutes() is not None,
            "jobs.hours", f"is {self.hours[:40]!r}",
            'write hours = "20:00-06:00"; leave it empty for any time of the day',
        )  # fmt: skip
        require(
            _zone_of(self.time_zone) is not None,
            "jobs.time_zone", f"is {self.time_zone[:40]!r}, which is no time zone",
            'write time_zone = "Europe/Vienna", or "UTC"',
        )  # fmt: skip

    def _minutes(self) -> tuple[int, int] | None:
        """Give begin and end as minutes of the day; None where `hours` is no span."""
        found = _HOURS.fullmatch(self.hours)
        if found is None:
            return None
        first, second, third, fourth = (int(part) for part in found.groups())
        begin, end = 60 * first + second, 60 * third + fourth
        return None if begin == end else (begin, end)

    def is_open_at(self, utc_seconds: float) -> bool:
        """Say whether a round may begin at a moment, given in seconds since 1970."""
        span = self._minutes()
        if span is None:
            return True
        local = datetime.datetime.fromtimestamp(utc_seconds, _zone_of(self.time_zone))
        begin, end = span
        minute = 60 * local.hour + local.minute
        if begin < end:
            return begin <= minute < end
        return minute >= begin or minute < end  # over midnight


def _zone_of(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, a path, or a folder of zones
        return None


def require_coordinator_allowed(policy: JobsPolicy, site: str, organisation: str) -> None:
    """Check who leads a run.

    Args:
        policy: The site's.
        site: The coordinator's name in the roster.
        organisation: Which it belongs to, by its certificate; empty where that is not known.

    Raises:
        PrivacyError: `COORDINATOR_NOT_ALLOWED`.
    """
    if policy.coordinators and not {site, organisation} & set(policy.coordinators):
        what = f"the coordinator is {site!r} of {organisation or 'an unknown organisation'!r}"
        raise _refused(what, "coordinators", COORDINATOR_NOT_ALLOWED)


def require_job_allowed(policy: JobsPolicy, job: Job) -> None:
    """Check what a job is for and how long it is.

    Raises:
        PrivacyError: `PURPOSE_NOT_ALLOWED`, `MODEL_NOT_ALLOWED` or `TOO_MANY_ROUNDS`.
    """
    if policy.purposes and job.job.purpose not in policy.purposes:
        raise _refused(
            "the job's purpose is none of those allowed", "purposes", PURPOSE_NOT_ALLOWED
        )
    if policy.models and job.model.name not in policy.models:
        raise _refused(f"the job's model is {job.model.name!r}", "models", MODEL_NOT_ALLOWED)
    if job.job.rounds > policy.max_rounds:
        what = f"the job has {job.job.rounds} rounds, {policy.max_rounds} are allowed"
        raise _refused(what, "max_rounds", TOO_MANY_ROUNDS)


def require_open_hours(policy: JobsPolicy, utc_seconds: float) -> None:
    """Check that a round may begin now.

    Raises:
        PrivacyError: `OUTSIDE_HOURS`.
    """
    if not policy.is_open_at(utc_seconds):
        what = f"it is not between {policy.hours} in {policy.time_zone}"
        raise _refused(what, "hours", OUTSIDE_HOURS)


def _refused(what: str, key: str, code: str) -> PrivacyError:
    return PrivacyError(
        f"{what}, and the site's policy does not allow it",
        hint=f"[jobs] of policy.toml: {key} says what is allowed",
        code=code,
    )
