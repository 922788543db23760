import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.client.ledger.ledgers import patients

from fedward_client.ledger.histories import (
    MAX_HISTORIES,
    histories_of,
    longest_histories,
    union_of,
)
from fedward_client.ledger.patient_sets import patient_set_of

chosen = st.frozensets(st.integers(0, 20), max_size=15)


@given(members=chosen, earlier=st.lists(chosen, max_size=12))
@settings(max_examples=100, deadline=None)
def test_each_patient_is_in_one_history_with_all_its_sets(
    members: frozenset[int], earlier: list[frozenset[int]]
) -> None:
    found = histories_of(
        patient_set_of(patients(members)), [patient_set_of(patients(one)) for one in earlier]
    )
    wanted: dict[tuple[int, ...], int] = {}
    for member in members:
        sets = tuple(k for k, one in enumerate(earlier) if member in one)
        wanted[sets] = wanted.get(sets, 0) + 1
    assert {one.sets: one.num_patients for one in found} == wanted


@given(members=chosen, earlier=st.lists(chosen, max_size=12))
@settings(max_examples=100, deadline=None)
def test_every_history_is_part_of_one_that_is_kept_and_no_kept_one_of_another(
    members: frozenset[int], earlier: list[frozenset[int]]
) -> None:
    found = histories_of(
        patient_set_of(patients(members)), [patient_set_of(patients(one)) for one in earlier]
    )
    kept = longest_histories(found)
    for one in found:
        assert any(set(one.sets) <= set(other.sets) for other in kept)
    for one in kept:
        assert not any(one != other and set(one.sets) <= set(other.sets) for other in kept)


def test_where_too_many_remain_one_stands_for_all_and_has_all_their_sets() -> None:
    pairs = [(a, b) for a in range(20) for b in range(a)]
    assert len(pairs) > MAX_HISTORIES
    members = patient_set_of(patients(range(len(pairs))))
    earlier = [
        patient_set_of(patients([k for k, pair in enumerate(pairs) if number in pair]))
        for number in range(20)
    ]
    (kept,) = longest_histories(histories_of(members, earlier))
    assert kept.sets == tuple(range(20))
    assert kept.num_patients == len(pairs)


def test_nobody_has_no_history_and_a_newcomer_an_empty_one() -> None:
    nobody, one = patient_set_of(patients([])), patient_set_of(patients([3]))
    assert histories_of(nobody, [one]) == []
    assert [h.sets for h in histories_of(one, [])] == [()]
    assert [h.sets for h in histories_of(one, [nobody])] == [()]


@given(sets=st.lists(chosen, max_size=6))
@settings(max_examples=50, deadline=None)
def test_a_union_has_everybody_once(sets: list[frozenset[int]]) -> None:
    found = union_of([patient_set_of(patients(one)) for one in sets])
    wanted = patient_set_of(patients(frozenset[int]().union(*sets)))
    assert np.array_equal(found.rows, wanted.rows)
