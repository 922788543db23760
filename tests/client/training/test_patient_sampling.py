import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward_client.training.patient_sampling import ShuffledPatients, batch_size_of
from fedward_common.errors import TrainingError
from fedward_common.job.job_file import TrainingSection

cohorts = st.lists(st.integers(1, 4), min_size=1, max_size=30).map(
    lambda counts: np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])
)


@given(cohort=cohorts, batch=st.integers(1, 30), seed=st.integers(0, 2**63 - 1))
def test_each_epoch_visits_each_patient_once(
    cohort: list[np.ndarray], batch: int, seed: int
) -> None:
    num_patients = len(cohort)
    sampler = ShuffledPatients(cohort, min(batch, num_patients), seed)
    steps = range(3 * num_patients)
    visited = np.concatenate([sampler.patients_of(step) for step in steps])
    epochs = visited[: 3 * num_patients].reshape(3, num_patients)
    assert (np.sort(epochs, axis=1) == np.arange(num_patients)).all()


@given(cohort=cohorts, batch=st.integers(1, 30), seed=st.integers(0, 99), data=st.data())
def test_a_batch_is_a_function_of_seed_and_step_alone(
    cohort: list[np.ndarray], batch: int, seed: int, data: st.DataObject
) -> None:
    size = min(batch, len(cohort))
    steps = data.draw(st.lists(st.integers(0, 200), min_size=1, max_size=5))
    used = ShuffledPatients(cohort, size, seed)
    for step in steps:
        fresh = ShuffledPatients(cohort, size, seed)
        np.testing.assert_array_equal(used.batch(step), fresh.batch(step))


@given(cohort=cohorts, step=st.integers(0, 1000))
def test_each_image_of_a_batch_belongs_to_its_patient(cohort: list[np.ndarray], step: int) -> None:
    sampler = ShuffledPatients(cohort, len(cohort), seed=1)
    pairs = zip(sampler.batch(step), sampler.patients_of(step), strict=True)
    assert all(case in cohort[patient] for case, patient in pairs)


def test_all_images_of_a_patient_come_up_in_time() -> None:
    sampler = ShuffledPatients([np.array([3, 9, 27])], 1, seed=0)
    assert {int(sampler.batch(step)[0]) for step in range(60)} == {3, 9, 27}


def test_another_seed_gives_another_order() -> None:
    cohort = np.split(np.arange(50), 50)
    orders = [ShuffledPatients(cohort, 50, seed).batch(0).tolist() for seed in (1, 2)]
    assert orders[0] != orders[1]


@pytest.mark.parametrize("cohort", [[], [np.arange(2), np.arange(0)]])
def test_a_site_without_training_patients_is_named(cohort: list[np.ndarray]) -> None:
    with pytest.raises(TrainingError) as caught:
        ShuffledPatients(cohort, 1, seed=0)
    assert caught.value.code == "NO_TRAINING_PATIENTS"


@pytest.mark.parametrize(
    ("section", "num_patients", "expected"),
    [
        (TrainingSection(1, batch_patients=32), 7, 7),
        (TrainingSection(1, batch_patients=32), 700, 32),
        (TrainingSection(1, sampling_rate=0.05), 700, 35),
        (TrainingSection(1, sampling_rate=0.05), 3, 1),
        (TrainingSection(1, sampling_rate=1.0), 3, 3),
    ],
)
def test_a_batch_has_at_least_one_patient_and_at_most_all(
    section: TrainingSection, num_patients: int, expected: int
) -> None:
    assert batch_size_of(section, num_patients) == expected
