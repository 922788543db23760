"""What a person orders a site to do about jobs, and the one place that does it.

A command carries an order to the daemon where one runs (`order_socket`) and out itself where none
does. Either way `carry_out` works on the locked files of the home, so the audit log has the same
entry, and a process that ends in between leaves what it would have left otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fedward_client.jobs import decisions
from fedward_client.jobs.job_store import KeptJob, find_job
from fedward_client.jobs.site_status import status_of
from fedward_client.site_home import SiteHome

Verb = Literal["approve", "refuse", "withdraw", "pause", "resume", "status"]


@dataclass(frozen=True)
class Order:
    """One order.

    Attributes:
        run: The run, or the beginning of its name; empty where none is meant.
        cohort: What an approved job may use; None takes the cohort that the site offers.
    """

    do: Verb
    run: str = ""
    cohort: str | None = None


def carry_out(home: SiteHome, order: Order, *, by: str, now: float) -> dict[str, Any]:
    """Do what is ordered, and give what came of it as JSON values.

    Args:
        home: Of the site.
        order: What to do.
        by: The account that stands in the audit log.
        now: Seconds since 1970.

    Raises:
        ConfigurationError: There is no such job or cohort, or its state does not allow it.
        CorruptFileError: A file of the home is damaged; what stops work was done all the same.
        PrivacyError: The ledger is damaged; a job that was withdrawn is withdrawn all the same.
    """
    return _DEEDS[order.do](home, order, by, now)


def plain_job(job: KeptJob) -> dict[str, Any]:
    """Give one job as JSON values; a time is in seconds since 1970."""
    decision = job.decision
    return {
        "run": job.run,
        "name": job.manifest.job.job.name,
        "state": job.state,
        "manifest_sha256": job.manifest_sha256,
        "asked": job.asked_utc_seconds,
        "accepted": job.accepted_utc_seconds,
        "decided": decision.utc_seconds if decision else None,
        "by": decision.by if decision else None,
        "cohort": (decision.cohort or None) if decision else None,
    }


def _approve(home: SiteHome, order: Order, by: str, now: float) -> dict[str, Any]:
    decisions.approve(home, order.run, order.cohort, by=by, now=now)
    return plain_job(find_job(home, order.run))


def _refuse(home: SiteHome, order: Order, by: str, now: float) -> dict[str, Any]:
    decisions.refuse(home, order.run, by=by, now=now)
    return plain_job(find_job(home, order.run))


def _withdraw(home: SiteHome, order: Order, by: str, now: float) -> dict[str, Any]:
    given_back = decisions.withdraw(home, order.run, by=by, now=now)
    return plain_job(find_job(home, order.run)) | {"budget_given_back": given_back}


def _pause(home: SiteHome, order: Order, by: str, now: float) -> dict[str, Any]:
    del order
    decisions.pause(home, by=by, now=now)
    return {"paused": True}


def _resume(home: SiteHome, order: Order, by: str, now: float) -> dict[str, Any]:
    del order
    return {"paused": False, "was_paused": decisions.resume(home, by=by, now=now)}


def _status(home: SiteHome, order: Order, by: str, now: float) -> dict[str, Any]:
    del order, by
    return status_of(home, now)


_DEEDS: dict[Verb, Callable[[SiteHome, Order, str, float], dict[str, Any]]] = {
    "approve": _approve,
    "refuse": _refuse,
    "withdraw": _withdraw,
    "pause": _pause,
    "resume": _resume,
    "status": _status,
}
