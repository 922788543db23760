"""How far ahead orders may run, and what becomes of them when they are broken off."""

import threading

import pytest

from fedward_client.dicom.order_batch import BrokenOffError, OrderBatch


class Worker:
    killed = False

    def kill(self) -> None:
        self.killed = True


def test_an_order_waits_while_too_many_bytes_do_unless_it_is_the_next_one() -> None:
    batch = OrderBatch(waiting_bytes=100)
    batch.wait_to_begin(5)
    batch.answered(60)
    batch.wait_to_begin(6)
    batch.answered(60)
    batch.wait_to_begin(0)  # the next to be taken
    began = threading.Event()

    def begin() -> None:
        batch.wait_to_begin(7)
        began.set()

    thread = threading.Thread(target=begin)
    thread.start()
    assert not began.is_set()
    batch.taken(60)
    thread.join(timeout=20)
    assert began.is_set()


def test_breaking_off_kills_who_is_at_work_and_lets_nothing_begin() -> None:
    batch = OrderBatch()
    at_work, done = Worker(), Worker()
    for worker in (at_work, done):
        batch.give_to(worker)
    batch.take_from(done)
    batch.break_off()
    assert (at_work.killed, done.killed) == (True, False)
    with pytest.raises(BrokenOffError):
        batch.wait_to_begin(1)
    with pytest.raises(BrokenOffError):
        batch.give_to(done)
    with pytest.raises(BrokenOffError):
        batch.take_from(at_work)


def test_breaking_off_wakes_orders_that_wait_for_room() -> None:
    batch = OrderBatch(waiting_bytes=1)
    batch.answered(5)
    problems: list[BaseException] = []

    def begin() -> None:
        try:
            batch.wait_to_begin(7)
        except BrokenOffError as problem:
            problems.append(problem)

    thread = threading.Thread(target=begin)
    thread.start()
    batch.break_off()
    thread.join(timeout=20)
    assert len(problems) == 1
