"""What the contributions of a round are added up to, and how the sum becomes new global weights.

One sum at a time: it begins empty, belongs to one attempt, and goes with it. Nothing is made of a
sum before the quorum is met.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedward_common.errors import (
    MalformedMessageError,
    QuorumError,
    WeightsMismatchError,
)
from fedward_common.job.job_file import Job
from fedward_common.job.learning_rate import learning_rate_at
from fedward_common.privacy.joint_constants import joint_constants_of
from fedward_common.privacy.joint_mechanism import JointConstants, decode
from fedward_common.secagg.codec import RingCodec, VectorCodec
from fedward_common.wire import messages
from fedward_common.wire.contribution import ContributionVector, contribution_vectors
from fedward_common.wire.envelope import Arrays
from fedward_server.coordinator.global_model import GlobalModel, require_usable
from fedward_server.coordinator.run_setup import RunSetup
from fedward_server.optimizers import Scaffold

Contribution = Arrays

# A median needs all updates beside each other; so many numbers of each at a time.
_BLOCK = 1 << 14


@dataclass(frozen=True)
class MaskedTotal:
    """What is left of masked contributions when the masks are off.

    Attributes:
        words: Sum of the ring elements.
        codec: What they mean.
        num_sites: Whose contributions are in it.
        weight: Sum of the sites' weights.
    """

    words: NDArray[np.uint32] | NDArray[np.uint64]
    codec: VectorCodec | RingCodec
    num_sites: int
    weight: float


class RoundSum(Protocol):
    """The sum of one attempt at a round."""

    @property
    def contribution(self) -> frozenset[str]:
        """Names of the arrays that a site's answer has for this sum."""

    def beside_weights(self) -> dict[str, bytes]:
        """Give the float32 vectors that sites need for the round besides the weights, by name."""

    def clear(self) -> None:
        """Forget whatever was added."""

    def add(self, unverified: Contribution, weight: float) -> None:
        """Add one site's contribution; other arrays beside it are left alone.

        Raises:
            FedwardError: It cannot be one; nothing was added, and its code says why.
        """

    def take(self, total: MaskedTotal) -> None:
        """Take all sites' contributions at once, where they come as one sum without masks.

        Raises:
            FedwardError: It cannot be one; nothing was taken.
        """

    def require_enough(self, what: str) -> None:
        """Check that the sum may be looked at.

        Raises:
            QuorumError: Too few sites are in it.
        """

    def commit(self, round_number: int) -> None:
        """Make the next global weights of the sum, which is empty afterwards.

        Raises:
            UnusableUpdateError: The result is not finite; the weights stay as they were.
            QuorumError: Too few sites are in it, and nothing of it was looked at.
        """


def round_sum_of(setup: RunSetup, model: GlobalModel) -> RoundSum:
    """Give the sum that a run's mechanism needs.

    Raises:
        PrivacyError: The joint mechanism cannot be had with the job's numbers.
    """
    job, manifest = setup.job, setup.manifest
    num_sites, num_parameters = len(manifest.training_sites), manifest.num_parameters
    if job.privacy.mechanism == "joint":
        return JointSum(model, job, joint_constants_of(job, num_sites, num_parameters))
    if isinstance(model.optimizer, Scaffold):
        return ScaffoldSum(model, model.optimizer, job, num_sites)
    (vector,) = contribution_vectors(job, num_parameters)
    if job.strategy.name == "median":
        return UpdateMedian(model, vector)
    return UpdateSum(model, vector, job.secure_aggregation.mean_norm_limit)


class UpdateSum:
    """The weighted mean of the sites' updates, added up in the model's own buffer.

    Args:
        model: Takes the updates.
        vector: The update in a contribution.
        mean_norm_limit: L2 norm of a mean update that came as one sum; 0 takes any.
    """

    def __init__(
        self, model: GlobalModel, vector: ContributionVector, mean_norm_limit: float = 0.0
    ) -> None:
        self._model, self._vector = model, vector
        self._mean_norm_limit = mean_norm_limit
        self.contribution = frozenset({vector.name})

    def beside_weights(self) -> dict[str, bytes]:
        """Nothing."""
        return {}

    def clear(self) -> None:
        """Forget whatever was added."""
        self._model.begin_round()

    def add(self, unverified: Contribution, weight: float) -> None:
        """Add one site's update."""
        self._model.add(_verified(unverified, self._vector), weight)

    def take(self, total: MaskedTotal) -> None:
        """Take the sum of all updates."""
        self.take_vectors(_decoded(total), total.weight)

    def take_vectors(self, sums: Mapping[str, NDArray[np.float32]], weight: float) -> None:
        """Take the sum of all updates by its name; other vectors beside it are left alone."""
        update = sums[self._vector.name]
        self._model.take_sum(update, weight, mean_norm_limit=self._mean_norm_limit)

    def require_enough(self, what: str) -> None:
        """Any number will do; the job's quorum decides."""

    def commit(self, round_number: int) -> None:
        """Take the mean update."""
        self._model.commit_round()


class UpdateMedian:
    """The median of the sites' updates, coordinate by coordinate, in the place of their mean.

    As long as more than half of the sites in a round are honest, each coordinate lies between the
    least and the largest that one of these sent, whatever the others did (Yin et al. 2018,
    arXiv:1803.01498, definition 1). All updates of a round are kept until its commit.

    Args:
        model: Takes the median as the round's one update.
        vector: The update in a contribution.
    """

    def __init__(self, model: GlobalModel, vector: ContributionVector) -> None:
        self._model, self._vector = model, vector
        self._updates: list[NDArray[np.float32]] = []
        self.contribution = frozenset({vector.name})

    def beside_weights(self) -> dict[str, bytes]:
        """Nothing."""
        return {}

    def clear(self) -> None:
        """Forget whatever was added."""
        self._updates.clear()

    def add(self, unverified: Contribution, weight: float) -> None:
        """Keep one site's update; every weight is 1."""
        update = _verified(unverified, self._vector).view(np.ndarray)
        require_usable(update, "an update")
        self._updates.append(update)

    def take(self, total: MaskedTotal) -> None:
        """Refuse: a sum has no median. Jobs with masks are refused when they are read."""
        raise MalformedMessageError("a median is made of single updates, and a sum came")

    def require_enough(self, what: str) -> None:
        """Any number will do; the job's quorum decides."""

    def commit(self, round_number: int) -> None:
        """Take the median of the updates."""
        updates, self._updates = self._updates, []
        median = np.empty(self._vector.length, dtype=np.float32)
        for at in range(0, median.size, _BLOCK):
            block = slice(at, at + _BLOCK)
            median[block] = np.median([update[block] for update in updates], axis=0)
        self._model.take_sum(median, 1.0)
        self._model.commit_round()


class ScaffoldSum:
    """Updates as ever, and the changes of the sites' control variates beside them.

    The global control variate moves by the sum of the changes over the number of all training
    sites, those who did not answer included: it stays the mean of what each site holds.

    Args:
        model: Takes the updates.
        strategy: Holds the global control variate.
        job: Says what a contribution has.
        num_sites: Training sites of the run.
    """

    def __init__(self, model: GlobalModel, strategy: Scaffold, job: Job, num_sites: int) -> None:
        update, self._change = contribution_vectors(job, strategy.control_variate.size)
        self._updates = UpdateSum(model, update, job.secure_aggregation.mean_norm_limit)
        self._strategy = strategy
        self._changes = np.zeros_like(strategy.control_variate)
        self._share = np.float32(1 / num_sites)
        self.contribution = frozenset({update.name, self._change.name})

    def beside_weights(self) -> dict[str, bytes]:
        """The global control variate."""
        return {messages.CONTROL_VARIATE: self._strategy.control_variate.tobytes()}

    def clear(self) -> None:
        """Forget whatever was added."""
        self._updates.clear()
        self._changes[:] = 0

    def add(self, unverified: Contribution, weight: float) -> None:
        """Add one site's update and change, or neither."""
        change = _verified(unverified, self._change)
        require_usable(change, "a change")
        self._updates.add(unverified, weight)
        self._changes += change

    def take(self, total: MaskedTotal) -> None:
        """Take the sums of all updates and of all changes."""
        sums = _decoded(total)
        self._updates.take_vectors(sums, total.weight)
        self._changes[:] = sums[self._change.name]

    def require_enough(self, what: str) -> None:
        """Any number will do; the job's quorum decides."""

    def commit(self, round_number: int) -> None:
        """Take the mean update, and move the global control variate."""
        self._updates.commit(round_number)
        self._changes *= self._share
        self._strategy.control_variate += self._changes
        self._changes[:] = 0


class JointSum:
    """Shares of the joint mechanism, added modulo the ring; decoded as a whole or not at all.

    The coordinator takes the step that no site could: minus the learning rate of the round times
    the noisy mean gradient is the round's one update, which the strategy then treats as ever.

    Args:
        model: Whose weights the steps move.
        job: Learning rate and schedule.
        constants: The run's.
    """

    def __init__(self, model: GlobalModel, job: Job, constants: JointConstants) -> None:
        (self._vector,) = contribution_vectors(job, constants.num_parameters)
        self.contribution = frozenset({self._vector.name})
        self._model, self._job, self._constants = model, job, constants
        self._total = np.zeros(constants.num_parameters, dtype=np.uint64)
        self._mask = np.uint64((1 << constants.ring_bits) - 1)
        self._num_sites = 0

    def beside_weights(self) -> dict[str, bytes]:
        """Nothing."""
        return {}

    def clear(self) -> None:
        """Forget whatever was added."""
        self._total[:] = 0
        self._num_sites = 0

    def add(self, unverified: Contribution, weight: float) -> None:
        """Add one site's share; every weight is 1."""
        share = _verified(unverified, self._vector).view(np.uint64)
        if share.max() > self._mask:
            raise MalformedMessageError(
                f"a share has numbers beyond the ring of {self._constants.ring_bits} bits"
            )
        self._total += share  # modulo 2**64, of which the ring's size is a divisor
        self._num_sites += 1

    def take(self, total: MaskedTotal) -> None:
        """Take the sum of all shares."""
        if not isinstance(total.codec, RingCodec):
            raise MalformedMessageError("the joint mechanism adds up numbers of a ring")
        self._total = total.codec.sum_of(total.words)
        self._num_sites = total.num_sites

    def require_enough(self, what: str) -> None:
        """Fewer sites than the threshold carry too little noise."""
        needed = self._constants.threshold
        if self._num_sites < needed:
            raise QuorumError(
                f"{what}: shares of {self._num_sites} sites, the joint mechanism needs {needed}",
                hint="nothing was decoded; mend the sites and go on with --resume",
            )

    def commit(self, round_number: int) -> None:
        """Decode the sum and take one step."""
        self.require_enough(f"round {round_number}")
        self._total &= self._mask
        step = decode(self._constants, self._total)
        self.clear()
        training = self._job.training
        step *= -learning_rate_at(
            round_number - 1,
            self._job.job.rounds,
            1,
            training.schedule,
            training.optimizer.learning_rate,
        )
        self._model.begin_round()
        self._model.add(step.astype(np.float32), 1.0)
        self._model.commit_round()


def _decoded(total: MaskedTotal) -> dict[str, NDArray[np.float32]]:
    if not isinstance(total.codec, VectorCodec) or total.words.dtype != np.uint32:
        raise MalformedMessageError("updates are added up as 32-bit words")
    return total.codec.decode(total.words.view(np.uint32))


def _verified(unverified: Contribution, wanted: ContributionVector) -> NDArray[Any]:
    """Give one vector of a contribution, if it has the declared form."""
    vector = unverified[wanted.name]
    if vector.dtype != np.dtype(wanted.dtype) or vector.shape != (wanted.length,):
        raise WeightsMismatchError(
            f"{wanted.name} of {vector.dtype} of shape {vector.shape}; {wanted.dtype} of shape "
            f"({wanted.length},) is needed"
        )
    return vector
