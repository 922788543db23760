"""Whether the site's daemon runs, what it may do, and what waits for somebody."""

from collections import Counter
from typing import Any

from fedward_client.enrolment.accepted_members import waiting_members
from fedward_client.enrolment.membership_display import plain_membership
from fedward_client.enrolment.upkeep import membership_status
from fedward_client.jobs.job_store import all_jobs, paused_by
from fedward_client.site_home import SiteHome
from fedward_client.site_policy import read_policy
from fedward_client.site_settings import SiteSettings
from fedward_common.errors import LockedError
from fedward_common.file_lock import held_lock
from fedward_common.settings import from_table, read_toml


def settings_of(home: SiteHome) -> SiteSettings:
    """Read `site.toml`."""
    return from_table(SiteSettings, read_toml(home.settings_file))


def status_of(home: SiteHome, now: float) -> dict[str, Any]:
    """Give all of it as JSON values; `health` is for the daemon to say.

    Args:
        home: Of the site.
        now: Seconds since 1970.

    Raises:
        ConfigurationError: Settings or policy cannot be read.
        CorruptFileError: A decision or a list of members is damaged.
    """
    settings, waiting = settings_of(home), waiting_members(home)
    states = Counter(job.state for job in all_jobs(home))
    return {
        "site": settings.site,
        "consortium": settings.consortium,
        "cohort": settings.cohort,
        "coordinator": settings.coordinator_address or None,
        "daemon_runs": daemon_runs(home),
        "health": None,
        "paused": paused_by(home),
        "approval": read_policy(home).jobs.approval,
        "jobs": dict(sorted(states.items())),
        "roster_waits": None if waiting is None else waiting.version,
        "membership": plain_membership(membership_status(home, now_seconds=now)),
    }


def daemon_runs(home: SiteHome) -> bool:
    """Say whether a process holds the daemon's lock."""
    path = home.folder / "daemon.lock"
    if not path.exists():
        return False
    try:
        with held_lock(path, if_held=LockedError("it runs")):
            return False
    except LockedError:
        return True
