"""What the contributions of a round are added up to, and how the sum becomes new global weights.

One sum at a time: it begins empty, belongs to one attempt, and goes with it. Nothing is made of a
sum before the quorum is met.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedward_common.errors import MalformedMessageError, QuorumError, WeightsMismatchError
from fedward_common.job.job_file import Job
from fedward_common.job.learning_rate import learning_rate_at
from fedward_common.privacy.joint_constants import joint_constants_of
from fedward_common.privacy.joint_mechanism import JointConstants, decode
from fedward_common.wire import messages
from fedward_server.coordinator.global_model import GlobalModel
from fedward_server.coordinator.run_setup import RunSetup

Contribution = NDArray[np.float32] | NDArray[np.int64]


class RoundSum(Protocol):
    """The sum of one attempt at a round."""

    @property
    def contribution(self) -> str:
        """Name of the array that a site's answer has for this sum."""

    def clear(self) -> None:
        """Forget whatever was added."""

    def add(self, unverified: Contribution, weight: float) -> None:
        """Add one site's contribution.

        Raises:
            FedwardError: It cannot be one; nothing was added, and its code says why.
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
    if job.privacy.mechanism != "joint":
        return UpdateSum(model, manifest.num_parameters)
    constants = joint_constants_of(job, len(manifest.training_sites), manifest.num_parameters)
    return JointSum(model, job, constants)


class UpdateSum:
    """The weighted mean of the sites' updates, added up in the model's own buffer."""

    contribution = messages.UPDATE

    def __init__(self, model: GlobalModel, num_parameters: int) -> None:
        self._model, self._num_parameters = model, num_parameters

    def clear(self) -> None:
        """Forget whatever was added."""
        self._model.begin_round()

    def add(self, unverified: Contribution, weight: float) -> None:
        """Add one site's update."""
        _require_vector(unverified, np.dtype(np.float32), self._num_parameters)
        self._model.add(unverified.view(np.float32), weight)

    def require_enough(self, what: str) -> None:
        """Any number will do; the job's quorum decides."""

    def commit(self, round_number: int) -> None:
        """Take the mean update."""
        self._model.commit_round()


class JointSum:
    """Shares of the joint mechanism, added modulo the ring; decoded as a whole or not at all.

    The coordinator takes the step that no site could: minus the learning rate of the round times
    the noisy mean gradient is the round's one update, which the strategy then treats as ever.

    Args:
        model: Whose weights the steps move.
        job: Learning rate and schedule.
        constants: The run's.
    """

    contribution = messages.SHARES

    def __init__(self, model: GlobalModel, job: Job, constants: JointConstants) -> None:
        self._model, self._job, self._constants = model, job, constants
        self._total = np.zeros(constants.num_parameters, dtype=np.uint64)
        self._mask = np.uint64((1 << constants.ring_bits) - 1)
        self._num_sites = 0

    def clear(self) -> None:
        """Forget whatever was added."""
        self._total[:] = 0
        self._num_sites = 0

    def add(self, unverified: Contribution, weight: float) -> None:
        """Add one site's share; every weight is 1."""
        _require_vector(unverified, np.dtype(np.int64), self._constants.num_parameters)
        share = unverified.view(np.uint64)
        if share.max() > self._mask:
            raise MalformedMessageError(
                f"a share has numbers beyond the ring of {self._constants.ring_bits} bits"
            )
        self._total += share  # modulo 2**64, of which the ring's size is a divisor
        self._num_sites += 1

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


def _require_vector(
    unverified: Contribution, dtype: "np.dtype[np.float32] | np.dtype[np.int64]", length: int
) -> None:
    if unverified.dtype != dtype or unverified.shape != (length,):
        raise WeightsMismatchError(
            f"a contribution of {unverified.dtype} of shape {unverified.shape}; {dtype} of shape "
            f"({length},) is needed"
        )
