"""What a person of the hospital decides: each decision is kept, and stands in the audit log.

An approval is logged before it counts. What stops work counts before it is logged: a damaged log
must not keep a hospital from stopping.
"""

import json
import os
import pwd

from fedward_client.cohorts.registered.pinned_snapshots import offered_sources
from fedward_client.daemon.audit import audit_decision
from fedward_client.jobs.job_store import (
    Decided,
    Decision,
    KeptJob,
    find_job,
    jobs_locked,
    paused_by,
    write_decision,
)
from fedward_client.ledger.ledger_folder import ledger_folder
from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.ledger.utc_clock import SystemUtcClock
from fedward_client.site_home import SiteHome
from fedward_client.site_settings import SiteSettings
from fedward_common.atomic_files import write_atomically
from fedward_common.errors import ConfigurationError
from fedward_common.settings import from_table, read_toml
from fedward_common.wire.manifest import require_goes_on


def os_user() -> str:
    """Give the account that this process runs as, by the system and not by its environment."""
    return account_of(os.getuid())


def account_of(uid: int) -> str:
    """Give the name of an account, or its number where it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def approve(home: SiteHome, name: str, cohort: str | None, *, by: str, now: float) -> Decision:
    """Let a job in, with one cohort.

    Args:
        home: Of the site.
        name: The run, or the beginning of its name.
        cohort: What the job may use; None takes the cohort that the site offers.
        by: Who decides.
        now: Seconds since 1970.

    Raises:
        ConfigurationError: There is no such job or cohort, or the job is past approval.
        CorruptFileError: The audit log or the job is damaged; nothing was approved.
        MalformedMessageError: The run is of a protocol or suite that is not spoken here.
    """
    with jobs_locked(home):
        job = find_job(home, name)
        _require_state(job, "waiting", "refused", "approved", wanted="approved")
        require_goes_on(job.manifest)
        bound = cohort or from_table(SiteSettings, read_toml(home.settings_file)).cohort
        _require_cohort(home, bound)
        decision = Decision("approved", by, round(now, 3), bound, job.manifest_sha256)
        _log(home, job, decision)
        write_decision(home, job.run, decision)
        return decision


def refuse(home: SiteHome, name: str, *, by: str, now: float) -> None:
    """Keep a job out.

    Raises:
        ConfigurationError: There is no such job, or it is under way.
        CorruptFileError: The audit log is damaged; the job is refused all the same.
    """
    with jobs_locked(home):
        job = find_job(home, name)
        _require_state(job, "waiting", "refused", "approved", wanted="refused")
        _decide(home, job, "refused", by=by, now=now)


def withdraw(home: SiteHome, name: str, *, by: str, now: float) -> bool:
    """End a job at this site for ever; say whether privacy budget was given back.

    What it had reserved and not begun is given back. What it had begun stays spent.

    Raises:
        ConfigurationError: There is no such job, or it was never let in.
        CorruptFileError: The audit log is damaged; the job is withdrawn all the same.
        PrivacyError: The ledger is damaged; the job is withdrawn all the same.
    """
    with jobs_locked(home):
        job = find_job(home, name)
        _require_state(job, "approved", "under way", "tested", "withdrawn", wanted="withdrawn")
        if job.state != "withdrawn":
            _decide(home, job, "withdrawn", by=by, now=now)
    if ledger_folder(home).is_unused():
        return False
    with open_ledger(home, SystemUtcClock(), wait=True) as ledger:
        if not ledger.has_reserved(job.run) or ledger.accounts.run(job.run).is_released:
            return False
        ledger.release(job.run)
        return True


def pause(home: SiteHome, *, by: str, now: float) -> None:
    """Do nothing for any job from now on."""
    with jobs_locked(home) as folder:
        content = {"by": by, "utc_seconds": round(now, 3)}
        write_atomically(folder / "paused.json", json.dumps(content).encode(), mode=0o600)
        audit_decision(home, "paused", by=by, now_seconds=now)


def resume(home: SiteHome, *, by: str, now: float) -> bool:
    """Work again; say whether the site was paused.

    Raises:
        CorruptFileError: The audit log or the note of the pause is damaged; it stays paused.
    """
    with jobs_locked(home) as folder:
        if paused_by(home) is None:
            return False
        audit_decision(home, "resumed", by=by, now_seconds=now)
        (folder / "paused.json").unlink()
        return True


def _decide(home: SiteHome, job: KeptJob, state: Decided, *, by: str, now: float) -> None:
    cohort = job.decision.cohort if job.decision else ""
    decision = Decision(state, by, round(now, 3), cohort, job.manifest_sha256)
    write_decision(home, job.run, decision)
    _log(home, job, decision)


def _log(home: SiteHome, job: KeptJob, decision: Decision) -> None:
    audit_decision(
        home,
        decision.state,
        by=decision.by,
        now_seconds=decision.utc_seconds,
        run=job.run,
        manifest_sha256=job.manifest_sha256,
        cohort=decision.cohort,
    )


def _require_state(job: KeptJob, *allowed: str, wanted: str) -> None:
    if job.state in allowed:
        return
    hint = {
        "under way": "fedward-site withdraw ends it",
        "tested": "the run has ended here",
        "withdrawn": "that is for ever; the coordinator can begin a new run",
        "waiting": "fedward-site refuse keeps it out",
        "refused": "it never came in",
    }
    raise ConfigurationError(
        f"run {job.run} cannot be {wanted}: it is {job.state}", hint=hint[job.state]
    )


def _require_cohort(home: SiteHome, cohort: str) -> None:
    if not cohort.replace("-", "").replace("_", "").isalnum():
        raise ConfigurationError(
            f"{cohort[:40]!r} is no name of a cohort", hint="fedward-site cohort list shows them"
        )
    try:
        offered_sources(home, cohort)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"cohort {cohort!r} cannot be used: {error}",
            hint="fedward-site cohort list shows what there is",
        ) from error
