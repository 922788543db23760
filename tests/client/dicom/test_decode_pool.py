import importlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.client.cohorts.small_cohorts import dicom_bytes
from tests.client.dicom.decoder_faults import OPERATIONS as FAULTS
from tests.client.dicom.made_files import ABORTING_JPEG, gradient

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom import decode_process
from fedward_client.dicom.decode_pool import Decoded, DecodeLimits, DecodePool
from fedward_client.dicom.decode_worker import OPERATIONS
from fedward_common.errors import ConfigurationError

LIMITS = DecodeLimits(
    memory_bytes=600 * 2**20, cpu_seconds=0.5, wall_seconds=20.0, answer_bytes=2**21
)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(limits=LIMITS, operations=FAULTS | OPERATIONS) as made:
        yield made


def code_of(pool: DecodePool, operation: str, **arguments: object) -> str:
    with pytest.raises(UnusableCaseError) as raised:
        pool.run(operation, **arguments)
    assert str(raised.value) == f"a case cannot be used: {raised.value.code}"
    return raised.value.code


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


def test_an_image_comes_back_with_its_facts(pool: DecodePool, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom_bytes(gradient(), PixelSpacing=["0.5", "0.25"]))
    found = pool.run("image", path=str(path))
    np.testing.assert_array_equal(found.array, gradient())
    assert found.array.dtype == np.int16
    assert found.facts == {"spacing_mm": [0.5, 0.25], "photometric": "MONOCHROME2", "frames": 1}


def test_a_worker_stays_for_many_orders(pool: DecodePool) -> None:
    assert len({pool.run("sound", number=n).facts["pid"] for n in range(20)}) == 1


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("abort", "E_DECODER_CRASHED"),
        ("segfault", "E_DECODER_CRASHED"),
        ("leave", "E_DECODER_CRASHED"),
        ("spin", "E_DECODER_TIMEOUT"),
        ("fill", "E_DECODER_MEMORY"),
        ("too_much", "E_DECODER_CRASHED"),
        ("no_numbers", "E_DECODER_CRASHED"),
        ("no_array", "E_IMAGE_UNREADABLE"),
        ("quote", "E_IMAGE_UNREADABLE"),
        ("refuse", "E_MASK_VALUE"),
    ],
)
def test_an_order_that_goes_wrong_costs_itself_only(
    operation: str, code: str, pool: DecodePool
) -> None:
    assert pool.run("sound", number=1).facts["number"] == 1
    assert code_of(pool, operation) == code
    assert pool.run("sound", number=2).facts["number"] == 2


def test_a_decoder_that_waits_for_ever_is_ended_by_the_clock() -> None:
    limits = DecodeLimits(wall_seconds=0.3)
    with DecodePool(limits=limits, operations=FAULTS) as pool:
        assert code_of(pool, "hang") == "E_DECODER_TIMEOUT"


def test_processor_time_is_counted_for_each_order(pool: DecodePool) -> None:
    first = pool.run("limits").facts["RLIMIT_CPU"]
    assert code_of(pool, "spin") == "E_DECODER_TIMEOUT"
    assert pool.run("limits").facts["RLIMIT_CPU"] <= first + 1


def test_a_file_that_kills_gdcm_is_a_crash_and_nothing_is_printed(
    pool: DecodePool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(ABORTING_JPEG)
    assert code_of(pool, "image", path=str(path)) == "E_DECODER_CRASHED"
    assert capfd.readouterr() == ("", "")


def test_a_worker_spoilt_by_one_file_costs_no_other(pool: DecodePool) -> None:
    pids = [pool.run("spoilt").facts["pid"] for _ in range(3)]
    assert len(set(pids)) == 3
    for _ in range(5):  # the third would not fit beside the two before
        pool.run("leak")


@pytest.mark.parametrize("orders_before", [0, 1])
def test_a_worker_that_the_system_killed_costs_no_file(tmp_path: Path, orders_before: int) -> None:
    sign = tmp_path / "sign"
    sign.touch()
    with DecodePool(limits=LIMITS, operations=FAULTS) as fresh:
        for number in range(orders_before):
            fresh.run("sound", number=number)
        assert fresh.run("killed_once", path=str(sign)).facts["number"] == 1
    assert not sign.exists()


def test_workers_write_no_files_no_dumps_and_hold_what_they_may(
    pool: DecodePool, tmp_path: Path
) -> None:
    facts = pool.run("limits").facts
    assert (facts["RLIMIT_AS"], facts["RLIMIT_CORE"], facts["RLIMIT_FSIZE"]) == (600 * 2**20, 0, 0)
    assert code_of(pool, "write_file", path=str(tmp_path / "x")) == "E_IMAGE_UNREADABLE"
    assert (tmp_path / "x").stat().st_size == 0


def test_a_worker_knows_no_more_of_its_surroundings_than_it_needs(
    pool: DecodePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDWARD_SECRET", "x")
    with DecodePool(operations=FAULTS) as fresh:
        facts = fresh.run("environment").facts
    assert facts["folder"] == "/"
    assert not {"FEDWARD_SECRET", "HOME", "PATH"} & set(facts["names"])


def test_nothing_that_a_decoder_says_gets_out(
    pool: DecodePool, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        pool.run("chatter")
        code_of(pool, "quote")
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_map_answers_in_order_while_others_fail(pool: DecodePool) -> None:
    def orders() -> Iterator[tuple[str, dict[str, int]]]:
        for number in range(12):
            yield ("abort", {}) if number % 5 == 4 else ("sound", {"number": number})

    with DecodePool(3, LIMITS, operations=FAULTS) as several:
        answers = list(several.map(orders()))
    found = [a.facts["number"] if isinstance(a, Decoded) else a.code for a in answers]
    crashed = "E_DECODER_CRASHED"
    assert found == [0, 1, 2, 3, crashed, 5, 6, 7, 8, crashed, 10, 11]


def test_map_takes_orders_only_a_little_ahead(pool: DecodePool) -> None:
    taken = 0

    def orders() -> Iterator[tuple[str, dict[str, int]]]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield "sound", {"number": number}

    answers = pool.map(orders())
    next(answers)
    assert taken <= 4
    answers.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("ending", [KeyboardInterrupt, RuntimeError])
def test_orders_under_way_do_not_outlive_the_walk_that_wanted_them(
    ending: type[BaseException],
) -> None:
    """The orders hang for ever and have ten minutes: only by being killed can they end."""
    limits = DecodeLimits(wall_seconds=600.0)

    def orders() -> Iterator[tuple[str, dict[str, int]]]:
        yield "sound", {"number": 1}
        yield "sound", {"number": 2}
        for _ in range(8):
            yield "hang", {}

    with DecodePool(2, limits, operations=FAULTS) as pool:
        answers = pool.map(orders())
        with pytest.raises(ending):
            for _ in answers:
                raise ending
        answers.close()  # type: ignore[attr-defined]
        assert pool.run("sound", number=3).facts["number"] == 3


def test_threads_share_a_pool() -> None:
    found: list[int] = []

    with DecodePool(2, LIMITS, operations=FAULTS) as shared:

        def ask(number: int) -> None:
            found.append(shared.run("sound", number=number).facts["number"])

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(found) == list(range(8))


def test_a_closed_pool_has_no_workers_and_starts_new_ones_when_asked() -> None:
    pool = DecodePool(operations=FAULTS)
    pid = pool.run("sound", number=1).facts["pid"]
    pool.close()
    assert not is_running(pid)
    assert pool.run("sound", number=1).facts["pid"] != pid
    pool.close()


def test_a_forgotten_pool_takes_its_workers_with_it() -> None:
    pool = DecodePool(operations=FAULTS)
    pid = pool.run("sound", number=1).facts["pid"]
    del pool
    assert not is_running(pid)


def test_a_forked_process_uses_workers_of_its_own(pool: DecodePool) -> None:
    before = pool.run("sound", number=1).facts["pid"]
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, str(pool.run("sound", number=2).facts["pid"]).encode())
            pool.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    theirs = int(os.read(reading, 100))
    os.close(reading)
    os.close(writing)
    assert theirs != before
    assert not is_running(theirs)
    assert pool.run("sound", number=3).facts["pid"] == before


@pytest.mark.parametrize("operation", ["spin", "hang"])
def test_a_worker_dies_with_its_parent_in_the_middle_of_an_order(operation: str) -> None:
    program = (
        "from fedward_client.dicom.decode_pool import DecodePool\n"
        "from tests.client.dicom.decoder_faults import OPERATIONS\n"
        "pool = DecodePool(operations=OPERATIONS)\n"
        "print(pool.run('sound', number=1).facts['pid'], flush=True)\n"
        f"pool.run('{operation}')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    watch = os.pidfd_open(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    assert poll.poll(20_000), "the worker is still there"
    os.close(watch)


def test_a_worker_that_cannot_start_is_no_fault_of_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = DecodeLimits(memory_bytes=2**24)
    with DecodePool(limits=small) as pool, pytest.raises(ConfigurationError, match="not start"):
        pool.run("image", path="a")
    monkeypatch.setattr(decode_process, "_WORKER_MODULE", "no_such_module")
    with DecodePool() as pool, pytest.raises(ConfigurationError):
        pool.run("image", path="a")


def test_a_library_that_is_missing_is_no_fault_of_a_file(pool: DecodePool) -> None:
    with pytest.raises(ConfigurationError, match="lacks a library"):
        pool.run("missing")
    assert pool.run("sound", number=1).facts["number"] == 1


def test_an_operation_that_nobody_knows_is_refused_here(pool: DecodePool) -> None:
    with pytest.raises(KeyError):
        pool.run("os.system")


def test_file_names_of_any_bytes_arrive(pool: DecodePool, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff\xfe\xc3\xa4")
    path.write_bytes(dicom_bytes(gradient()))
    assert pool.run("image", path=str(path)).array.shape == (32, 32)


@pytest.mark.parametrize(
    "answer", [b"\xff\xff\xff\xff", b"\2\0\0\0{x", b"\2\0\0\0[]", b"\2\0\0\0{}"]
)
def test_an_answer_that_is_none_is_a_crash(answer: bytes, pool: DecodePool) -> None:
    process = decode_process.DecodeProcess(2**30, FAULTS)
    other = process._link
    ours, theirs = socket.socketpair()
    process._link = ours
    theirs.sendall(answer)
    with pytest.raises(UnusableCaseError, match="E_DECODER_CRASHED"):
        process.ask("sound", {}, cpu_seconds=1, wall_seconds=5, max_bytes=100)
    other.close()
    theirs.close()
    assert not process.is_alive


def test_every_operation_exists() -> None:
    for place in OPERATIONS.values():
        module, _, function = place.partition(":")
        assert callable(getattr(importlib.import_module(module), function)), place
