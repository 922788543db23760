import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward_client.ledger.charges import Tally, count_of, is_unbounded, merged, with_count
from fedward_common.privacy.disclosures import (
    Disclosure,
    Gaussian,
    JointSteps,
    SampledGaussian,
    Unbounded,
)

MECHANISMS: tuple[Disclosure, ...] = (
    SampledGaussian(1.0, 0.5, 1),
    SampledGaussian(1.0, 0.25, 1),
    SampledGaussian(2.0, 0.5, 1),
    Gaussian(1.0, 1),
    JointSteps(1.0, 0.5, 1, 1e-12),
)
counted = st.builds(with_count, st.sampled_from(MECHANISMS), st.integers(1, 50))
charges = st.lists(counted, max_size=8)


@given(some=charges, seed=st.randoms())
def test_a_sum_does_not_depend_on_the_order(some: list[Disclosure], seed: object) -> None:
    shuffled = list(some)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    assert merged(some) == merged(shuffled)
    assert sum(map(count_of, merged(some))) == sum(map(count_of, some))


@given(some=charges, more=charges)
def test_what_is_left_and_what_is_spent_come_to_the_whole(
    some: list[Disclosure], more: list[Disclosure]
) -> None:
    left = Tally([*some, *more]).left_after(Tally(some))
    assert merged([*left, *some]) == merged([*some, *more])


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda one: type(one).__name__)
def test_steps_of_one_mechanism_add_up_and_those_of_another_stand_apart(
    mechanism: Disclosure,
) -> None:
    two, three = with_count(mechanism, 2), with_count(mechanism, 3)
    assert merged((two, three)) == (with_count(mechanism, 5),)
    other = SampledGaussian(9.0, 0.5, 1)
    assert len(merged((two, other))) == 2
    assert Tally((three,)).num_left(mechanism, Tally((two,))) == 1
    assert Tally((three,)).num_left(other, Tally()) == 0


def test_what_has_no_bound_is_held_once_and_for_any_number() -> None:
    unbounded = Unbounded("no mechanism")
    assert is_unbounded((steps := MECHANISMS[0], unbounded))
    assert not is_unbounded((steps,))
    held = Tally((unbounded,))
    assert held.num_left(unbounded, Tally((unbounded, unbounded))) is None
    assert held.left_after(Tally()) == (unbounded,)
    assert held.left_after(Tally((unbounded,))) == ()
    assert Tally((steps,)).num_left(unbounded, Tally()) == 0
