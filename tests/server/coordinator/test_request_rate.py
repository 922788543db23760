"""How often one address, and all together, may ask to join."""

from tests.tiny_federation import FakeClock

from fedward_server.coordinator.request_rate import Allowance, RequestRate


def rate_of(clock: FakeClock, one: Allowance, all_: Allowance | None = None) -> RequestRate:
    return RequestRate(clock, one, all_ or Allowance(1e6, 1e6))


def num_admitted(rate: RequestRate, address: str, tries: int = 100) -> int:
    return sum(rate.admits(address) for _ in range(tries))


def test_an_address_may_ask_a_little_at_once_and_then_slowly() -> None:
    clock = FakeClock()
    rate = rate_of(clock, Allowance(5, 0.5))
    assert num_admitted(rate, "a") == 5
    clock.now += 4
    assert num_admitted(rate, "a") == 2
    clock.now += 1e6
    assert num_admitted(rate, "a") == 5


def test_one_address_takes_nothing_from_another() -> None:
    rate = rate_of(FakeClock(), Allowance(5, 1))
    assert num_admitted(rate, "a") == 5
    assert num_admitted(rate, "b") == 5


def test_many_addresses_together_are_bounded_and_refusals_cost_nobody_else() -> None:
    clock = FakeClock()
    rate = rate_of(clock, Allowance(2, 1), Allowance(10, 1))
    assert sum(num_admitted(rate, str(n), 50) for n in range(20)) == 10
    clock.now += 3
    assert num_admitted(rate, "new") == 2
    assert num_admitted(rate, "newer") == 1


def test_a_clock_that_stands_still_lets_nobody_ask_for_ever() -> None:
    rate = RequestRate(FakeClock())
    assert num_admitted(rate, "a", 1000) == 20


def test_strangers_of_many_addresses_do_not_make_it_grow() -> None:
    rate = rate_of(FakeClock(), Allowance(1, 0))
    for n in range(10_000):
        rate.admits(str(n))
    assert len(rate._each) == 4096
