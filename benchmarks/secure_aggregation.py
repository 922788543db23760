"""What secure aggregation costs: a site beside Flower's SecAgg+, masks beside their keystream.

    python -m benchmarks.secure_aggregation
    python -m benchmarks.secure_aggregation --parameters 31000000 --repeats 1

Processor time of one thread, the fastest of some repeats. Each client runs in a process of its own,
which says how far its memory rises above what it held with the update in hand.
A keystream row is the bare cipher (`update_into` alone) over as many bytes as the masks have: no
masking can be faster. Unmasking takes away the self masks of all survivors, and the pair masks
between them and the sites that left after keys were shared.
"""

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from benchmarks.measuring import parser, run_child, show
from fedward_common.crypto.mask_stream import BLOCK_BYTES, Mask, apply_masks
from fedward_common.crypto.secret_bytes import SecretBytes

if TYPE_CHECKING:
    from benchmarks.aggregation_clients import AggregationClient

CLIENTS = ("Flower SecAgg+", "Fedward, 32 bits", "Fedward, 24 bits")
LIMITS = {
    "times faster, at least": 6.0,
    "share sent with 32 bits, at most": 0.51,
    "share sent with 24 bits, at most": 0.39,
    "extra vectors, at most": 1.1,
    "ratio to the keystream, at most": 1.5,
}


def main() -> None:
    """Measure and print."""
    options = _options()
    asked = options.parse_args()
    if not 0 <= asked.dropouts < asked.mask_sites:
        options.error("--dropouts must leave a site of --mask-sites")
    if asked.child:
        sys.stdout.write(json.dumps(measure_client(asked.child, asked)) + "\n")
        return
    tables: dict[str, list[dict[str, Any]]] = {}
    if asked.only != "masks":
        rows = [_in_own_process(name, asked) for name in CLIENTS]
        beside_flower(rows)
        tables[f"A site: {asked.parameters} parameters, {asked.sites} sites"] = rows
    if asked.only != "clients":
        tables[f"Masks: {asked.parameters} words of 32 bits, {asked.mask_sites} sites"] = mask_rows(
            asked.parameters, asked.mask_sites, asked.dropouts, asked.repeats
        )
    if asked.json:
        tables = {"": [row for rows in tables.values() for row in rows]}
    for title, rows in tables.items():
        show(title, rows, as_json=asked.json, limits=LIMITS)


def measure_client(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Run one client in this process."""
    client = make_client(name, asked.parameters, asked.sites)
    update = update_of(asked.parameters)
    # A first small run, so that what is imported late is not counted.
    make_client(name, 1000, asked.sites).mask(update[:1000])
    extra, masked = extra_mebibytes(lambda: client.mask(update))
    upload = client.upload_bytes(masked)
    del masked
    seconds = fastest_of(asked.repeats, lambda: client.mask(update))
    return {
        "client": name,
        "deal s": fastest_of(asked.repeats, client.deal),
        "mask s": seconds,
        "MB sent": upload / 1e6,
        "extra vectors": extra * (1 << 20) / update.nbytes,
    }


def make_client(name: str, num_parameters: int, num_sites: int) -> "AggregationClient":
    """Make the client of one of `CLIENTS`."""
    from benchmarks.aggregation_clients import FedwardClient, FlowerClient

    if name == CLIENTS[0]:
        return FlowerClient(num_sites)
    return FedwardClient(num_parameters, num_sites, 24 if "24" in name else 32)


def beside_flower(rows: Sequence[dict[str, Any]]) -> None:
    """Add to each row how it stands to the first."""
    theirs = rows[0]
    for row in rows:
        row["times faster"] = theirs["mask s"] / row["mask s"]
        row["share sent"] = row["MB sent"] / theirs["MB sent"]


def mask_rows(
    num_words: int, num_sites: int, num_dropouts: int, repeats: int
) -> list[dict[str, Any]]:
    """Compare a site's masking and the coordinator's unmasking with the bare keystream."""
    num_survivors = num_sites - num_dropouts
    words = np.zeros(num_words, dtype=np.uint32)
    rows = []
    for what, num_masks in {
        "a site masks": num_sites,
        f"unmasking, {num_dropouts} dropouts": num_survivors * (1 + num_dropouts),
    }.items():
        masks = [Mask(SecretBytes(os.urandom(32)), bool(k % 2)) for k in range(num_masks)]
        keystream, masking = in_turn(
            repeats,
            functools.partial(bare_keystream, words.nbytes, num_masks),
            functools.partial(apply_masks, words, np.zeros(1, dtype=np.uint64), masks),
        )
        rows.append(
            {
                "work": what,
                "masks": num_masks,
                "keystream s": keystream,
                "seconds": masking,
                "ratio": masking / keystream,
                "GB/s": num_masks * words.nbytes / keystream / 1e9,
            }
        )
    return rows


def bare_keystream(num_bytes: int, num_masks: int) -> None:
    """Make the keystream of every mask, block by block, and do nothing with it."""
    zeros, room = memoryview(bytes(BLOCK_BYTES)), bytearray(BLOCK_BYTES)
    for _ in range(num_masks):
        context = Cipher(algorithms.AES(os.urandom(32)), modes.CTR(bytes(16))).encryptor()
        for start in range(0, num_bytes, BLOCK_BYTES):
            context.update_into(zeros[: num_bytes - start], room)


def update_of(num_parameters: int) -> NDArray[np.float32]:
    """Make an update whose values look like those of a trained network, in no more memory."""
    update = np.empty(num_parameters, dtype=np.float32)
    np.random.default_rng(1).standard_normal(dtype=np.float32, out=update)
    update *= np.float32(0.01)
    return update


def in_turn(repeats: int, *works: Callable[[], object]) -> list[float]:
    """Give the fastest processor seconds of each, taken in turn: the machine may be shared."""
    seconds = [float("inf")] * len(works)
    for _ in range(repeats):
        for place, work in enumerate(works):
            started = time.process_time()
            work()
            seconds[place] = min(seconds[place], time.process_time() - started)
    return seconds


def fastest_of(repeats: int, work: Callable[[], object]) -> float:
    """Give the fastest processor seconds of one."""
    return in_turn(repeats, work)[0]


def extra_mebibytes(work: Callable[[], Any]) -> tuple[float, Any]:
    """Give how far the process's memory rises while it works, and what the work gives (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is held now
    before = _mebibytes("VmRSS")
    given = work()
    return _mebibytes("VmHWM") - before, given


def _mebibytes(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def _in_own_process(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    arguments = [sys.executable, "-m", "benchmarks.secure_aggregation", "--child", name]
    for option in ("parameters", "sites", "repeats"):
        arguments += [f"--{option}", str(getattr(asked, option))]
    row: dict[str, Any] = json.loads(run_child(arguments).stdout)
    return row


def _options() -> argparse.ArgumentParser:
    options = parser(__doc__ or "")
    options.add_argument("--parameters", type=int, default=1_000_000)
    options.add_argument("--sites", type=int, default=10, help="of the clients")
    options.add_argument("--mask-sites", type=int, default=100, help="of the masks")
    options.add_argument("--dropouts", type=int, default=5)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--only", choices=("clients", "masks"))
    options.add_argument("--child", choices=CLIENTS, help=argparse.SUPPRESS)
    return options


if __name__ == "__main__":
    main()
