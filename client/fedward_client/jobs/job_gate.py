"""Whether a job may come in, and whether it may still go on: asked before anything is done for it.

What the policy forbids is refused at once; only what it allows waits for a person. A job waits with
its manifest kept, and before any image is decoded for it. Somebody who pauses the site or withdraws
a job is heard at the next message. Of a sum that this site's part is already in, the last steps are
still done: without them the part is not taken back, but others may lose their round.
"""

from typing import TYPE_CHECKING

from fedward_client.daemon.audit import audit_decision
from fedward_client.enrolment.accepted_members import accepted_members
from fedward_client.jobs.job_store import keep_asked_job, paused_by, read_decision
from fedward_client.jobs.jobs_policy import require_coordinator_allowed, require_open_hours
from fedward_client.jobs.told_result import require_no_result
from fedward_client.site_policy import SitePolicy, read_policy, require_within_policy
from fedward_common.errors import FedwardError
from fedward_common.wire import messages
from fedward_common.wire.manifest import hash_of_manifest

if TYPE_CHECKING:
    from fedward_client.daemon.site_state import OpenSite
    from fedward_client.site_home import SiteHome
    from fedward_common.wire.manifest import Manifest

WAITING_FOR_APPROVAL = "WAITING_FOR_APPROVAL"
JOB_REFUSED = "JOB_REFUSED"
JOB_WITHDRAWN = "JOB_WITHDRAWN"
SITE_PAUSED = "SITE_PAUSED"

_BY_POLICY = "policy.toml"
_LAST_STEPS = frozenset({"confirm", "unmask", "abandon", "abandoned"})


def require_wanted(
    site: "OpenSite", manifest: "Manifest", manifest_bytes: bytes, roster_bytes: bytes
) -> None:
    """Check that a job that is new here may come in; keep it where a person is to be asked.

    Args:
        site: Whose policy and decisions count.
        manifest: Of the run; its roster was verified.
        manifest_bytes: Its canonical encoding.
        roster_bytes: The roster, signed.

    Raises:
        PrivacyError: The policy does not allow it.
        FedwardError: `WAITING_FOR_APPROVAL`, `JOB_REFUSED` or `TOO_MANY_JOBS_WAIT`.
        UnverifiedMessageError: `MANIFEST_DIFFERS`.
        CorruptFileError: What was decided is damaged.
    """
    trains = site.site_id in manifest.training_sites
    policy = read_policy(site.home)
    require_leader_allowed(site.home, policy, manifest.coordinator)
    require_within_policy(policy, manifest.job, trains=trains)
    if site.is_simulated:
        return
    is_new = keep_asked_job(
        site.home,
        manifest.run,
        manifest_bytes,
        roster_bytes,
        coordinator=manifest.coordinator,
        now=site.utc_seconds(),
    )
    _require_decided(site, manifest.run, hash_of_manifest(manifest_bytes), is_new=is_new)


def require_leader_allowed(home: "SiteHome", policy: SitePolicy, coordinator: str) -> None:
    """Check who leads a run, by the members that this site takes part with.

    Args:
        home: Of the site. A run's roster is accepted before its job is considered.
        policy: The site's.
        coordinator: Named by the manifest.

    Raises:
        PrivacyError: `COORDINATOR_NOT_ALLOWED`.
        CorruptFileError: The list of members is damaged.
    """
    known = accepted_members(home)
    organisations = {} if known is None else {one[0]: one[1] for one in known.members}
    organisation = organisations.get(coordinator, "")
    require_coordinator_allowed(policy.jobs, coordinator, organisation)


def _require_decided(site: "OpenSite", run: str, manifest_sha256: str, *, is_new: bool) -> None:
    decision = read_decision(site.home, run)
    if decision is not None and decision.state == "refused":
        raise FedwardError("this hospital refused the job", code=JOB_REFUSED)
    if decision is not None and decision.manifest_sha256 == manifest_sha256:
        return
    if read_policy(site.home).jobs.approval == "within-policy":
        return
    if is_new:
        site.log.warning("run %s waits for a decision: fedward-site jobs", run)
    raise FedwardError(
        "the job waits for somebody of this hospital",
        hint="look with: fedward-site show; then: fedward-site approve",
        code=WAITING_FOR_APPROVAL,
    )


def cohort_for(site: "OpenSite", run: str) -> str:
    """Give the cohort that was approved for a run; without an approval, the one that is offered."""
    decision = read_decision(site.home, run)
    return site.cohort if decision is None or not decision.cohort else decision.cohort


def note_acceptance(site: "OpenSite", run: str) -> None:
    """Write in the audit log that the policy alone let a job in, where nobody was asked."""
    if not site.is_simulated and read_decision(site.home, run) is None:
        now = site.utc_seconds()
        audit_decision(site.home, "accepted", by=_BY_POLICY, now_seconds=now, run=run)


def require_not_ended(home: "SiteHome", run: str) -> None:
    """Check that the site works, and still for this run.

    Raises:
        FedwardError: `SITE_PAUSED` or `JOB_WITHDRAWN`.
        CorruptFileError: A decision is damaged.
    """
    if paused_by(home) is not None:
        raise FedwardError("the site is paused", hint="fedward-site resume", code=SITE_PAUSED)
    decision = read_decision(home, run)
    if decision is not None and decision.state == "withdrawn":
        raise FedwardError("this hospital withdrew from the run", code=JOB_WITHDRAWN)


def require_going_on(site: "OpenSite", run: str, message: messages.Message) -> None:
    """Check that a message of an accepted run may be answered now.

    Raises:
        FedwardError: `SITE_PAUSED` or `JOB_WITHDRAWN`.
        UnverifiedMessageError: `RUN_ENDED`, for a round of training after the run's result.
        PrivacyError: `OUTSIDE_HOURS`, for a round of training.
        CorruptFileError: A decision is damaged.
    """
    if isinstance(message, messages.SecureStep) and message.step in _LAST_STEPS:
        return
    require_not_ended(site.home, run)
    if isinstance(message, messages.TrainRound):
        require_no_result(site.home, run)
        require_open_hours(read_policy(site.home).jobs, site.utc_seconds())
