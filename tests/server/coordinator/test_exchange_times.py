"""Where the time of an exchange went, as the coordinator's log tells it."""

from typing import Any

from tests.tiny_federation import FakeClock

from fedward_server.coordinator.exchange_times import ExchangeTimes

Line = dict[str, Any]


def test_each_exchange_is_told_once_the_next_begins_and_the_last_at_the_end() -> None:
    clock, lines = FakeClock(), list[Line]()

    def tell(event: str, **fields: Any) -> None:
        lines.append({"event": event} | fields)

    times = ExchangeTimes(tell, "first", clock.now_seconds)
    for _ in range(2):
        began = clock.now
        clock.sleep(1)
        times.sent("train.round", "3", began)
    clock.sleep(60)  # the sites train
    began = clock.now
    clock.sleep(4)
    times.received(began)
    clock.sleep(5)  # the coordinator computes, which is of no exchange
    assert lines == []
    times.sent("query.share", "3", clock.now)
    assert lines == [
        {
            "event": "exchange.ended", "run": "first", "type": "train.round", "round": "3",
            "sent": 2, "answered": 1, "seconds": 66, "sending_seconds": 2, "receiving_seconds": 4,
        }
    ]  # fmt: skip
    times.end()
    times.end()
    assert [line["type"] for line in lines] == ["train.round", "query.share"]


def test_an_answer_to_no_exchange_is_nothing() -> None:
    clock, lines = FakeClock(), list[str]()
    times = ExchangeTimes(lambda event, **_: lines.append(event), "first", clock.now_seconds)
    times.received(0)
    times.end()
    assert lines == []
