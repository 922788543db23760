"""Which images a step trains on: patients are drawn, never images, so nobody counts twice.

A batch is a pure function of seed and global step. Nothing is stored, and a round that is trained
again after a crash sees the same batches. For training without differential privacy: its analysis
needs independent draws, which these are not.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedward_common.errors import TrainingError
from fedward_common.job.job_file import TrainingSection
from fedward_common.randomness import derive_seed

IntArray = NDArray[np.int64]


def batch_size_of(section: TrainingSection, num_patients: int) -> int:
    """Give the number of patients in a step, at least 1 and at most all of them."""
    if section.batch_patients is not None:
        return min(section.batch_patients, num_patients)
    return max(1, round((section.sampling_rate or 0.0) * num_patients))


class ShuffledPatients:
    """Patients in a new random order each epoch, one random image of each.

    Each epoch visits every patient once; a batch that crosses into the next epoch may hold a
    patient of both.

    Args:
        cases_by_patient: Case indices of each patient, none empty.
        batch_size: Patients in a step, 1 to their number.
        seed: The site's run seed.

    Raises:
        TrainingError: There is no patient, or one without images; code `NO_TRAINING_PATIENTS`.
    """

    def __init__(self, cases_by_patient: Sequence[IntArray], batch_size: int, seed: int) -> None:
        self._num_cases = np.array([len(cases) for cases in cases_by_patient], dtype=np.int64)
        if self._num_cases.size == 0 or self._num_cases.min() == 0:
            raise TrainingError(
                f"{self._num_cases.size} training patients, "
                f"{int((self._num_cases == 0).sum())} of them without images; "
                "at least one is needed, each with an image",
                hint="look at the cohort's report: are all patients in other splits?",
                code="NO_TRAINING_PATIENTS",
            )
        self._cases: IntArray = np.concatenate(list(cases_by_patient)).astype(np.int64)
        self._first_case = np.cumsum(self._num_cases) - self._num_cases
        self._batch_size = batch_size
        self._seed = seed
        self._orders: dict[int, IntArray] = {}

    def batch(self, step: int) -> IntArray:
        """Give the case indices of global step `step`, shape (batch_size,)."""
        patients = self.patients_of(step)
        random = np.random.default_rng(derive_seed(self._seed, "image", step))
        chosen = random.integers(0, self._num_cases[patients])
        cases: IntArray = self._cases[self._first_case[patients] + chosen]
        return cases

    def patients_of(self, step: int) -> IntArray:
        """Give the patients of global step `step` as positions in `cases_by_patient`."""
        num_patients = self._num_cases.size
        begin, end = step * self._batch_size, (step + 1) * self._batch_size
        parts = [
            self._order_of(epoch)[max(begin - epoch * num_patients, 0) : end - epoch * num_patients]
            for epoch in range(begin // num_patients, (end - 1) // num_patients + 1)
        ]
        return np.concatenate(parts)

    def _order_of(self, epoch: int) -> IntArray:
        if epoch not in self._orders:
            random = np.random.default_rng(derive_seed(self._seed, "epoch", epoch))
            # Two epochs at most meet in a batch; older orders can be drawn again.
            kept = {e: order for e, order in self._orders.items() if e == epoch - 1}
            self._orders = kept | {epoch: random.permutation(self._num_cases.size)}
        return self._orders[epoch]
