"""What holds at a site and what does not, from facts that were looked up.

Each condition is something without which this site takes no part in a run. Nobody needs to be asked
for a site that is paused, or whose jobs wait: that is what its hospital decided.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedward_client.daemon.present_work import Work
from fedward_client.jobs.contributions import Contributions
from fedward_common.health_report import Figure, HealthReport, figure

PROGRAM = "fedward_site"
SILENT_SECONDS = 120.0
LOW_DISK_BYTES = 2 << 30


@dataclass(frozen=True)
class SiteFacts:
    """What was found.

    Attributes:
        utc_seconds: When, in seconds since 1970.
        codes: Of what was looked up and found wrong, by the condition's name; "" where it is well.
        running: Whether each child process runs.
        asked_utc_seconds: When the coordinator last answered the node; None for never.
        certificate_ends_utc_seconds: None where there is none.
        free_bytes: On the home's disk; None where that cannot be found out.
        jobs: How many there are by state; None where they cannot be read.
        clock_offset_seconds: How far the clock is ahead of the coordinator's; None for not known.
    """

    utc_seconds: float
    codes: Mapping[str, str]
    running: Mapping[str, bool]
    asked_utc_seconds: float | None
    certificate_ends_utc_seconds: float | None
    free_bytes: int | None
    is_paused: bool
    jobs: Mapping[str, int] | None
    work: Work | None
    clock_offset_seconds: int | None = None
    contributions: Contributions = field(default_factory=lambda: Contributions(0, 0, None))


def site_report(facts: SiteFacts) -> HealthReport:
    """Give conditions and figures."""
    return HealthReport(PROGRAM, _conditions(facts), (*_states(facts), *_amounts(facts)))


def _conditions(facts: SiteFacts) -> dict[str, str]:
    low = facts.free_bytes is None or facts.free_bytes < LOW_DISK_BYTES
    return {
        "processes": "" if all(facts.running.values()) else "CHILD_ENDED",
        "connected": "" if _is_connected(facts) else "NOT_CONNECTED",
        "disk_space": "DISK_LOW" if low else "",
        **facts.codes,
    }


def _is_connected(facts: SiteFacts) -> bool:
    if facts.asked_utc_seconds is None or not facts.running.get("node"):
        return False
    return facts.utc_seconds - facts.asked_utc_seconds <= SILENT_SECONDS


def _states(facts: SiteFacts) -> tuple[Figure, ...]:
    jobs = facts.jobs or {}
    work = facts.work.what if facts.work and facts.running.get("tasks") else ""
    sent = facts.contributions
    return (
        figure("registered", "1 with a certificate that counts.", not facts.codes["certificate"]),
        figure("connected", "1 while the coordinator answers.", _is_connected(facts)),
        figure("paused", "1 while the site is paused.", facts.is_paused),
        figure("accepted_runs", "Runs that are under way here.", jobs.get("under way", 0)),
        figure("training", "1 while a round is trained.", work == "training"),
        figure("evaluating", "1 while a model is evaluated.", work == "evaluating"),
        figure("updates_total", "Updates that left unmasked.", sent.num_updates),
        figure("masked_vectors_total", "Masked vectors that left.", sent.num_masked),
        Figure("jobs", "Jobs that were asked for.", dict(sorted(jobs.items())), "state"),
    )


def _amounts(facts: SiteFacts) -> tuple[Figure, ...]:
    now, work = facts.utc_seconds, facts.work
    since = work.since_utc_seconds if work and facts.running.get("tasks") else None
    return (
        figure("answered_seconds", "Since the coordinator answered.",
               _passed(now, facts.asked_utc_seconds)),
        figure("at_work_seconds", "Since what is computed now began.", _passed(now, since)),
        figure("contributed_seconds", "Since an update or masked vector left.",
               _passed(now, facts.contributions.last_utc_seconds)),
        figure("certificate_seconds", "Until the site's certificate ends; below 0 since it did.",
               _left(now, facts.certificate_ends_utc_seconds)),
        figure("clock_offset_seconds", "Ahead of the coordinator's clock; below 0 behind it.",
               facts.clock_offset_seconds),
        figure("free_bytes", "Free on the home's disk.", facts.free_bytes),
    )  # fmt: skip


def _passed(now: float, then: float | None) -> float | None:
    return None if then is None else round(max(0.0, now - then), 1)


def _left(now: float, ends: float | None) -> float | None:
    return None if ends is None else round(ends - now)
