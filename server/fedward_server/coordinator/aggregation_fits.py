"""Whether the sites of a run can be added up at all: refused in a line before any of them trains.

Every site asks the same again in each round. Found there, it would cost each of them a round of
training before anybody is told.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from fedward_common.consortium.roster import Roster
from fedward_common.errors import AggregationRefusedError, ConfigurationError
from fedward_common.identities import SiteId
from fedward_common.job.job_file import Job
from fedward_common.secagg.codec import MIN_FRACTION_BITS, VectorCodec
from fedward_common.secagg.layout import evaluation_layout, fewest_ready_sites, training_layout
from fedward_common.secagg.rules import verify_directory_sites
from fedward_server.coordinator.quorum import Accepted


@dataclass(frozen=True)
class _Limits:
    roster: Roster
    participants: frozenset[SiteId]
    minimum_sites: int
    minimum_organisations: int
    max_sites: int


def require_aggregation_fits(
    job: Job, training_sites: tuple[SiteId, ...], roster: Roster, num_parameters: int
) -> None:
    """Check a run with secure aggregation; without it there is nothing to check.

    Raises:
        ConfigurationError: Too few sites, one organisation with too many of them, or more sites
            than the bits of the ring have room for; the key is named.
        PrivacyError: The joint mechanism cannot be had with the job's numbers.
    """
    if not job.secure_aggregation.enabled:
        return
    num_sites = len(training_sites)
    if num_sites < 2:
        raise ConfigurationError(
            f"secure_aggregation.enabled = true with {num_sites} training site: a sum of one hides "
            "nobody",
            hint="add sites, or set secure_aggregation.enabled = false",
        )
    minimum = job.secure_aggregation.minimum_sites
    if minimum > num_sites:
        raise ConfigurationError(
            f"secure_aggregation.minimum_sites is {minimum}, the run has {num_sites} training "
            "sites",
            hint="add sites, or lower secure_aggregation.minimum_sites",
        )
    training_layout(job, num_sites, num_parameters, evaluates=True)
    evaluation_layout(job, len(roster.sites))
    fewest = fewest_ready_sites(job, "train", num_sites)
    limits = _Limits(roster, frozenset(training_sites), fewest, 1, num_sites)
    try:
        verify_directory_sites(sorted(training_sites), limits)
    except AggregationRefusedError as error:
        raise ConfigurationError(
            f"secure_aggregation.enabled = true cannot be had with these sites: {error}",
            hint=error.hint,
            code=error.code,
        ) from error


def require_weights_fit(job: Job, training_sites: Sequence[str], accepted: Accepted) -> None:
    """Check what the sites' weights leave of the fraction, once their bands are known.

    Values are rounded after they were multiplied by a site's weight, so a step of the mean is a
    step of the sum over the mean weight. Where that is small, updates are rounded to nothing, or by
    chance to noise.

    Args:
        job: Of the run; without secure aggregation or with equal weights there is nothing to check.
        training_sites: Of the manifest.
        accepted: The terms of those that take part; who only evaluates has no weight in a sum.

    Raises:
        ConfigurationError: Fewer bits than a job must leave for the fraction; the key is named.
    """
    if not job.secure_aggregation.enabled or job.strategy.weighting == "uniform":
        return
    words = training_layout(job, len(training_sites), 1, evaluates=False).words
    if isinstance(words, VectorCodec):  # any other, as the joint mechanism's, is uniform
        weights = [terms["weight"] for terms in accepted.values() if terms["trains"]]
        _require_fraction(job, words, statistics.fmean(weights))


def _require_fraction(job: Job, codec: VectorCodec, mean_weight: float) -> None:
    fraction_bits = min(codec.fraction_bits(section) for section in codec.sections)
    left = fraction_bits + math.log2(mean_weight)
    if left < MIN_FRACTION_BITS:
        raise ConfigurationError(
            f"strategy.weight_cap_patients is {job.strategy.weight_cap_patients}: beside it the "
            f"sites weigh {mean_weight:.1g} on average, which leaves {max(0, math.floor(left))} of "
            f"{fraction_bits} bits for the fraction of an update: {MIN_FRACTION_BITS} are needed",
            hint="stop this run and launch another with a cap near the largest site's patients, "
            'strategy.weighting = "uniform", a smaller value_range or more bits',
        )
