import argparse
import json
import sys
from typing import Any

import numpy as np
import pytest
from benchmarks.aggregation_clients import LANE_NUMBERS, FedwardClient, FlowerClient
from benchmarks.secure_aggregation import (
    CLIENTS,
    beside_flower,
    in_turn,
    mask_rows,
    measure_client,
    update_of,
)
from tests.fresh_interpreter import printed_by

from benchmarks import secure_aggregation

PARAMETERS, SITES = 1000, 4
TINY = argparse.Namespace(parameters=PARAMETERS, sites=SITES, repeats=1)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    measured = [measure_client(name, TINY) for name in CLIENTS]
    beside_flower(measured)
    return measured


def test_every_client_is_measured_in_all_columns(rows: list[dict[str, Any]]) -> None:
    assert [row["client"] for row in rows] == list(CLIENTS)
    for row in rows:
        assert {k for k, v in row.items() if isinstance(v, float) and v > 0} >= {
            "deal s", "mask s", "MB sent", "times faster", "share sent",
        }  # fmt: skip
    assert rows[0]["times faster"] == rows[0]["share sent"] == 1.0


@pytest.mark.parametrize(("bits", "packed_bytes"), [(24, 3), (32, 4)])
def test_a_site_of_ours_sends_its_words_and_its_lane(bits: Any, packed_bytes: int) -> None:
    client = FedwardClient(PARAMETERS, SITES, bits)
    masked = client.mask(update_of(PARAMETERS))
    assert client.upload_bytes(masked) == packed_bytes * PARAMETERS + 8 * (1 + LANE_NUMBERS)


def test_a_site_of_ours_sends_something_else_each_time() -> None:
    client = FedwardClient(PARAMETERS, SITES, 32)
    first, second = (client.mask(update_of(PARAMETERS))[0] for _ in range(2))
    assert not np.array_equal(first, second)


def test_a_site_of_flowers_sends_a_factor_and_its_layers_as_64_bit_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.aggregation_clients.LAYER_VALUES", 400)
    client = FlowerClient(SITES)
    masked = client.mask(update_of(PARAMETERS))
    assert [layer.shape for layer in masked] == [(1,), (400,), (400,), (200,)]
    assert {layer.dtype for layer in masked} == {np.dtype(np.int64)}
    assert all(layer.min() >= 0 and layer.max() < 2**32 for layer in masked)
    assert client.upload_bytes(masked) > 8 * PARAMETERS


def test_masks_are_counted_for_a_site_and_for_the_coordinator() -> None:
    rows = mask_rows(PARAMETERS, num_sites=10, num_dropouts=2, repeats=1)
    assert [row["masks"] for row in rows] == [10, 8 + 8 * 2]
    assert all(row["ratio"] > 0 for row in rows)


def test_work_is_taken_in_turn() -> None:
    done: list[str] = []
    in_turn(2, lambda: done.append("a"), lambda: done.append("b"))
    assert done == ["a", "b", "a", "b"]


def test_memory_that_was_used_in_between_is_seen() -> None:
    # In a process of its own, as the benchmark does: what other tests left could go meanwhile.
    program = (
        "import numpy as np\n"
        "from benchmarks.secure_aggregation import extra_mebibytes\n"
        "work = lambda: int(np.ones(8 << 20, dtype=np.uint64).sum())  # 64 MiB, gone at the end\n"
        "print(*extra_mebibytes(work))\n"
    )
    extra, given = printed_by(program).split()
    assert int(given) == 8 << 20
    assert 60 < float(extra) < 96


@pytest.mark.slow
def test_a_tiny_run_prints_one_json_object(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    options = "--parameters 1000 --sites 3 --mask-sites 4 --dropouts 1 --repeats 1 --json"
    monkeypatch.setattr(sys, "argv", ["secure_aggregation", *options.split()])
    secure_aggregation.main()
    printed = json.loads(capfd.readouterr().out)
    assert [row.get("client", row.get("work")) for row in printed["rows"]] == [
        *CLIENTS, "a site masks", "unmasking, 1 dropouts",
    ]  # fmt: skip
    assert printed["limits"]["times faster, at least"] == 6.0


def test_more_dropouts_than_sites_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["secure_aggregation", "--mask-sites", "5"])
    with pytest.raises(SystemExit):
        secure_aggregation.main()
    assert "--dropouts" in capsys.readouterr().err
