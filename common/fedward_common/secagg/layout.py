"""What stands in a masked vector, derived alike by every site and the coordinator.

Everything follows from the job and the manifest's counts, so nobody has to be believed about it;
its hash is part of what keys are derived from, and masks cancel only between sites that agree.

The words carry the vectors of a contribution in the ring of the job's bits. The lane carries, in
64-bit numbers: one for each site, its weight, how many values were clipped, and the sums of an
evaluation where one is due.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from fedward_common.evaluation.sums import empty_sums
from fedward_common.job.job_file import Job, TaskSection
from fedward_common.privacy.joint_constants import joint_constants_of
from fedward_common.secagg.codec import RingCodec, Section, VectorCodec
from fedward_common.secagg.lane import LaneField, LaneLayout
from fedward_common.secagg.thresholds import sites_of_share, threshold_of
from fedward_common.wire import messages
from fedward_common.wire.contribution import contribution_vectors

WEIGHT = "weight"
CLIPPED = "clipped"
SUMS = "sums"
WEIGHT_ONE = 1 << 32


@dataclass(frozen=True)
class ContributionLayout:
    """Words and lane of one purpose; an evaluation has no words.

    Attributes:
        words: How vectors become ring elements; None where there are none.
        lane: The 64-bit fields.
    """

    words: VectorCodec | RingCodec | None
    lane: LaneLayout

    @property
    def num_words(self) -> int:
        """Ring elements of one site."""
        return 0 if self.words is None else self.words.length

    @property
    def word_bytes(self) -> int:
        """Bytes of a ring element on the wire."""
        return 4 if self.words is None else self.words.packed_bytes

    @cached_property
    def sha256(self) -> str:
        """What a round's binding names."""
        described = b"" if self.words is None else self.words.descriptor()
        framed = len(described).to_bytes(8, "big") + described + self.lane.descriptor()
        return hashlib.sha256(framed).hexdigest()


def fewest_ready_sites(job: Job, purpose: messages.SecurePurpose, num_trainers: int) -> int:
    """Give how many sites must be READY before any of them shares; both sides ask for it.

    With the joint mechanism the survivors must be t of all training sites, whose noise was divided
    among them. A smaller directory has a smaller t of its own, so it must not be so small that
    fewer survive: of 6 sites all 6, of 10 sites 9.

    Args:
        job: With secure aggregation on.
        purpose: What the sum is for.
        num_trainers: Training sites of the manifest.
    """
    share = sites_of_share(job.quorum.minimum_share, num_trainers)
    fewest = max(job.secure_aggregation.minimum_sites, share)
    if purpose == "train" and job.privacy.mechanism == "joint":
        needed = threshold_of(num_trainers)
        fewest = max(
            fewest, min(n for n in range(1, num_trainers + 1) if threshold_of(n) >= needed)
        )
    return fewest


def training_layout(
    job: Job, num_sites: int, num_parameters: int, *, evaluates: bool
) -> ContributionLayout:
    """Give what a training site contributes to a round.

    Args:
        job: With secure aggregation on.
        num_sites: Training sites of the manifest.
        num_parameters: Of the manifest.
        evaluates: Whether sums over validation patients travel along.

    Raises:
        ConfigurationError: Bits, range and number of sites leave too few fraction bits.
        PrivacyError: The joint mechanism cannot be had with the job's numbers.
    """
    fields = [
        LaneField(WEIGHT, 1, WEIGHT_ONE),
        LaneField(CLIPPED, 1, max(1, _most_clipped(job, num_parameters))),
    ]
    if evaluates:
        fields.append(_sums_field(job.task, num_sites))
    return ContributionLayout(
        _words_of(job, num_sites, num_parameters), LaneLayout(tuple(fields), num_sites)
    )


def evaluation_layout(job: Job, num_sites: int) -> ContributionLayout:
    """Give what a site contributes to an evaluation of its own: sums alone."""
    return ContributionLayout(None, LaneLayout((_sums_field(job.task, num_sites),), num_sites))


def _words_of(job: Job, num_sites: int, num_parameters: int) -> VectorCodec | RingCodec:
    if job.privacy.mechanism == "joint":
        constants = joint_constants_of(job, num_sites, num_parameters)
        return RingCodec(bits=constants.ring_bits, length=num_parameters)
    section, vectors = job.secure_aggregation, contribution_vectors(job, num_parameters)
    ranges = {
        messages.UPDATE: section.value_range,
        messages.CONTROL_VARIATE_CHANGE: section.control_variate_range,
    }
    return VectorCodec(
        bits=section.bits,
        max_sites=num_sites,
        sections=tuple(Section(v.name, v.length, ranges[v.name]) for v in vectors),
        stochastic=section.stochastic_rounding,
    )


def _most_clipped(job: Job, num_parameters: int) -> int:
    return sum(vector.length for vector in contribution_vectors(job, num_parameters))


def _sums_field(task: TaskSection, num_sites: int) -> LaneField:
    # The sums themselves say what a count may be, once they are added up.
    length = len(empty_sums(task).to_vector())
    return LaneField(SUMS, length, (2**63 - 1) // num_sites)
