"""On what terms a site takes part, and whether enough sites are there; pure decisions."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fedward_common.errors import MalformedMessageError, QuorumError
from fedward_common.evaluation.checked_counts import MAX_CASES
from fedward_common.job.job_file import QuorumSection, StrategySection
from fedward_common.patient_bands import PatientBand, band_of, weight_of
from fedward_common.wire.messages import ManifestReply

# Terms of every site that accepted a run, by its name.
Accepted = Mapping[str, Mapping[str, Any]]


def terms_of(reply: ManifestReply, strategy: StrategySection, *, trains: bool) -> dict[str, Any]:
    """Give the terms that the journal keeps of an accepting site.

    Raises:
        MalformedMessageError: It answered with something that is no band of patient counts.
    """
    band = PatientBand(reply.band_low, reply.band_high)
    known = band.low <= MAX_CASES and band_of(band.low) == band
    if not known or (trains and band.low < 1):
        raise MalformedMessageError("the answer names no band of patient counts")
    by_band = weight_of(band, strategy.weight_cap_patients)
    return {
        "band_low": band.low,
        "band_high": band.high,
        "unit": reply.unit,
        "weight": by_band if strategy.weighting == "bands" else 1.0,
        "trains": trains,
        "patients": min(band.low, strategy.weight_cap_patients),
    }


def require_quorum(
    quorum: QuorumSection,
    accepted: Accepted,
    present: Sequence[str],
    *,
    what: str,
    failures: Sequence[Mapping[str, Any]],
) -> None:
    """Check that enough training sites, with enough patients by their bands, are there.

    Args:
        quorum: What the job asks for.
        accepted: Terms of every site that accepted the run.
        present: Who is there now.
        what: The run or round, for the message.
        failures: Why others are not.

    Raises:
        QuorumError: They are too few.
    """
    trainers, there, share = _counted(accepted, present)
    if _suffice(quorum, there, share):
        return
    missing = ", ".join(f"{failure['site']}: {failure['code']}" for failure in failures)
    if not trainers:
        raise QuorumError(
            f"no site can train ({missing or 'none answered'})",
            hint="mend what the codes name, and start again: a coordinator's run with --resume, "
            "a simulation in another --out folder",
        )
    raise QuorumError(
        f"{what}: {len(there)} of {len(trainers)} sites, about {share:.0%} of the patients; "
        f"needed are {quorum.required_sites} and {quorum.minimum_share:.0%}"
        + (f" ({missing})" if missing else ""),
        hint="committed rounds are kept; mend the sites and go on with --resume, or lower [quorum]",
    )


def has_quorum(
    quorum: QuorumSection,
    accepted: Accepted,
    present: Collection[str],
) -> bool:
    """Say whether `require_quorum` would pass these sites."""
    _, there, share = _counted(accepted, present)
    return _suffice(quorum, there, share)


def _counted(accepted: Accepted, present: Collection[str]) -> tuple[list[str], list[str], float]:
    """Give the training sites, those of them that are there, and their share of the patients."""
    trainers = {site: terms for site, terms in accepted.items() if terms["trains"]}
    there = [site for site in present if site in trainers]
    # Bands count up to the cap, so one site's claim cannot make all the others too few.
    total = sum(terms["patients"] for terms in trainers.values())
    share = sum(trainers[site]["patients"] for site in there) / total if total else 0.0
    return list(trainers), there, share


def _suffice(quorum: QuorumSection, there: Collection[str], share: float) -> bool:
    return len(there) >= quorum.required_sites and share >= quorum.minimum_share
