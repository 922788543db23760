"""What holds at a coordinator and what does not, from facts that were looked up.

Each condition is something without which no run goes on. A run that a person stopped, or that waits
for its sites, makes nobody ill.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from fedward_common.health_report import Figure, HealthReport, figure

PROGRAM = "fedward_coordinator"
LOW_DISK_BYTES = 2 << 30


@dataclass(frozen=True)
class RunFacts:
    """One run whose journal can be read.

    Attributes:
        state: As `fedward runs` shows it.
        num_accepted: Sites that take part.
        num_contributed: Sites in the last round that was committed.
        num_rounds: That were committed.
        committed_utc_seconds: When the last one was; None before the first.
    """

    name: str
    state: str
    num_accepted: int
    num_contributed: int
    num_rounds: int
    committed_utc_seconds: float | None


@dataclass(frozen=True)
class CoordinatorFacts:
    """What was found.

    Attributes:
        utc_seconds: When, in seconds since 1970.
        codes: Of what was looked up and found wrong, by the condition's name; "" where it is well.
        num_registered: Nodes that may connect; None where Flower does not answer.
        num_connected: Nodes that are connected.
        tls_ends_utc_seconds: None where the certificate cannot be read.
        roster_ends_utc_seconds: None where there is none that counts.
        free_bytes: On the home's disk; None where that cannot be found out.
        duplicate_nodes: How often a second node showed a site's key since the start, by site.
    """

    utc_seconds: float
    codes: Mapping[str, str]
    runs: tuple[RunFacts, ...]
    num_registered: int | None
    num_connected: int | None
    tls_ends_utc_seconds: float | None
    roster_ends_utc_seconds: float | None
    free_bytes: int | None
    duplicate_nodes: Mapping[str, float] = field(default_factory=dict)


def coordinator_report(facts: CoordinatorFacts) -> HealthReport:
    """Give conditions and figures."""
    low = facts.free_bytes is None or facts.free_bytes < LOW_DISK_BYTES
    conditions = {"disk_space": "DISK_LOW" if low else "", **facts.codes}
    return HealthReport(PROGRAM, conditions, (*_states(facts), *_open_runs(facts)))


def _states(facts: CoordinatorFacts) -> tuple[Figure, ...]:
    now, states = facts.utc_seconds, Counter(run.state for run in facts.runs)
    return (
        figure("registered_nodes", "Nodes of sites that may connect.", facts.num_registered),
        figure("connected_nodes", "Nodes that are connected.", facts.num_connected),
        Figure("duplicate_nodes_total", "Times that a second node showed a site's key.",
               facts.duplicate_nodes, "site"),
        Figure("runs", "Runs by where they stand.", dict(sorted(states.items())), "state"),
        figure("tls_certificate_seconds", "Until the TLS certificate ends.",
               _left(now, facts.tls_ends_utc_seconds)),
        figure("roster_seconds", "Until the roster is too old.",
               _left(now, facts.roster_ends_utc_seconds)),
        figure("free_bytes", "Free on the home's disk.", facts.free_bytes),
    )  # fmt: skip


def _open_runs(facts: CoordinatorFacts) -> tuple[Figure, ...]:
    """Give figures of the runs that are not over, by their names."""
    now = facts.utc_seconds
    runs = [run for run in facts.runs if run.state not in ("finished", "stopped")]
    waited = {
        run.name: round(max(0.0, now - run.committed_utc_seconds), 1)
        for run in runs
        if run.committed_utc_seconds is not None
    }
    return (
        Figure("accepted_sites", "Sites that take part.",
               {run.name: run.num_accepted for run in runs}, "run"),
        Figure("contributed_sites", "Sites in the last round that was committed.",
               {run.name: run.num_contributed for run in runs}, "run"),
        Figure("committed_rounds", "Rounds that were committed.",
               {run.name: run.num_rounds for run in runs}, "run"),
        Figure("committed_round_age_seconds", "Since the last round was committed.",
               waited, "run"),
    )  # fmt: skip


def _left(now: float, ends: float | None) -> float | None:
    return None if ends is None else round(ends - now)
