"""Where the seconds of a real round go: a coordinator and three sites as processes, over TLS.

    python -m benchmarks.real_round
    python -m benchmarks.real_round --parameters 31000000 --rounds 2
    python -m benchmarks.real_round --rounds 4 --kills 3

All run on this machine, over loopback; the run is launched by `fedward launch`. The lines that
coordinator and sites write tell the times. "sending" and "receiving" are the coordinator's own part
of an exchange; "fetching", "working" and "handing over" that of the slowest site's task loop. The
rest is the link between the two and waiting for polls. Memory is how far a process rises above what
it held before the run, in sizes of the model.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.real_federation import Line, Process, RealFederation, make_real_federation
from tests.tiny_federation import SITES, changed, tiny_job

from benchmarks.measuring import FEDWARD, parser, show
from fedward_common.job.job_file import table_of_job
from fedward_common.toml_writing import toml_of

RUN = "round"
LIMITS = {
    "seconds beside training, at most": 30.0,
    "seconds of a round with 31M parameters, at most": 180.0,
    "model sizes at the coordinator, below": 4.0,
    "seconds to go on after a kill, at most": 60.0,
}
_BLOCKS = 4
_STEP_SECONDS = 600.0
_START_SECONDS = 60.0
_TRAINING = "train.round"


def main() -> None:
    """Measure and print."""
    options = parser(__doc__ or "")
    options.add_argument("--parameters", type=int, default=10_000, help="about so many")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--kills", type=int, default=0, help="of the coordinator, one a round")
    options.add_argument("--idle-seconds", type=float, default=10.0, help="watched after the run")
    options.add_argument("--poll-seconds", type=float, default=1.0, help="of the sites")
    options.add_argument("--open", action="store_true", help="without secure aggregation")
    options.add_argument("--keep", type=Path, help="where to work, and leave everything")
    asked = options.parse_args()
    if not 0 <= asked.kills < asked.rounds:
        options.error("--kills must be below --rounds")
    with tempfile.TemporaryDirectory() as name:
        _show(measure(asked.keep or Path(name), asked), asked)


def _show(tables: dict[str, Any], asked: argparse.Namespace) -> None:
    if asked.json:
        show("", tables.pop("rounds"), as_json=True, **tables, limits=LIMITS)
        return
    for title in ("rounds", "exchanges", "memory", "kills"):
        if rows := tables.pop(title):
            show(title, rows, as_json=False)
    for name, value in tables.items():
        print(f"{name.replace('_', ' ')}: {value}")
    print(f"limits: {LIMITS}")


def measure(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Run one federation from its start to its end."""
    real = make_real_federation(folder, _job(asked))
    real.poll_seconds = asked.poll_seconds
    load = os.getloadavg()[0]
    try:
        return _measured(real, asked) | {"load_before_and_after": [load, os.getloadavg()[0]]}
    finally:
        real.close()


def _measured(real: RealFederation, asked: argparse.Namespace) -> dict[str, Any]:
    coordinators = [real.start_coordinator()]
    sites = {site: real.start_site(site) for site in SITES}
    for process in sites.values():
        for event in ("node.connected", "tasks.ready"):
            if all(line["event"] != event for line in process.lines):
                process.wait_for(event, _START_SECONDS)
    before = _memory_of(coordinators[0], sites)
    num_parameters = _launch(real)
    kills = []
    for number in range(1, asked.kills + 1):
        kills.append(_kill(real, coordinators, number))
    coordinators[-1].wait_for("run.finished", _STEP_SECONDS * asked.rounds, run=RUN)
    model_mebibytes = 4 * num_parameters / (1 << 20)
    after = _memory_of(coordinators[-1], sites)
    idle = _idle_shares(coordinators[-1], sites, asked.idle_seconds)
    told = [line for process in coordinators for line in process.lines]
    answers = [line for process in sites.values() for line in process.all_lines()]
    answered = [line for line in answers if line["event"] == "message.answered"]
    return {
        "rounds": _rounds(told, answered),
        "exchanges": _exchanges(told, answered),
        "memory": _memory_rows(before, after, model_mebibytes),
        "kills": kills,
        "parameters": num_parameters,
        "idle_shares_of_a_core": idle,
    }


def _job(asked: argparse.Namespace) -> Any:
    job = tiny_job("classification")
    return changed(
        job,
        f"job.rounds={asked.rounds}",
        f"model.options.width={_width(asked.parameters)}",
        f"model.options.blocks={_BLOCKS}",
        "model.options.groups=4",
        "training.local_steps=2",
        "strategy.name='fedavg'",
        "strategy.momentum=0.0",
        "strategy.ema_decay=0.0",
        f"evaluation.every={asked.rounds}",
        f"secure_aggregation.enabled={'false' if asked.open else 'true'}",
        f"quorum.deadline_seconds={_STEP_SECONDS:g}",
        "quorum.required_sites=3",
    )


def _width(num_parameters: int) -> int:
    """Give the width of a network of at least so many parameters."""
    width = 4
    while _size(width) < num_parameters:
        width += 4
    return width


def _size(width: int) -> int:
    incoming, size = 1, 0
    for block in range(_BLOCKS):
        outgoing = width * 2**block
        size += 9 * (incoming + outgoing) * outgoing
        incoming = outgoing
    return size


def _launch(real: RealFederation) -> int:
    """Launch the run as a person does; give its number of parameters."""
    job = real.folder / "job.toml"
    job.write_text(toml_of(table_of_job(real.tiny.job)))
    home = str(real.coordinator_home.folder)
    command = [FEDWARD, "launch", str(job), "--sites", ",".join(SITES), "--name", RUN]
    done = subprocess.run([*command, "--home", home], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"launch ended with {done.returncode}: {done.stderr}")
    from fedward_server.coordinator.commands.run_view import view_of

    return int(view_of(real.coordinator_home, RUN).manifest.num_parameters)


def _kill(real: RealFederation, coordinators: list[Process], number: int) -> dict[str, Any]:
    """Kill the coordinator in a round, and say how long it took until that round began anew."""
    coordinators[-1].wait_for("round.begins", _STEP_SECONDS, round=number)
    time.sleep(1.0)
    coordinators[-1].kill()
    killed = time.perf_counter()
    row: dict[str, Any] = {"round": number}
    coordinators.append(real.start_coordinator())
    for what, event in (
        ("ready after s", ""),
        ("sites found after s", "run.accepted"),
        ("round begun after s", "round.begins"),
        ("round committed after s", "round.committed"),
    ):
        if event:
            line = coordinators[-1].wait_for(event, _STEP_SECONDS)
            if "round" in line and line["round"] != number:
                break  # it was committed before the kill
        row[what] = round(time.perf_counter() - killed, 1)
    return row


def _rounds(told: Sequence[Line], answered: Sequence[Line]) -> list[dict[str, Any]]:
    rows = []
    begun: dict[int, float] = {}
    for line in told:
        if line["event"] == "round.begins":
            begun.setdefault(line["round"], _moment(line))
        if line["event"] != "round.committed" or line["round"] not in begun:
            continue
        number = line["round"]
        seconds = _moment(line) - begun[number]
        of_sites = [
            float(one["answer_seconds"])
            for one in answered
            if (one["type"], one["round"]) == (_TRAINING, str(number))
        ]
        training = max(of_sites, default=0.0)
        rows.append(
            {"round": number, "s": seconds, "training s": training, "beside s": seconds - training}
        )
    return rows


def _exchanges(told: Sequence[Line], answered: Sequence[Line]) -> list[dict[str, Any]]:
    ended = [line for line in told if line["event"] == "exchange.ended"]
    rows = []
    for kind in dict.fromkeys(str(line["type"]) for line in ended):
        these = [line for line in ended if line["type"] == kind]
        row: dict[str, Any] = {"exchange": kind, "times": len(these)}
        row |= {
            name: _mean([line[key] for line in these])
            for name, key in (
                ("s", "seconds"),
                ("sending", "sending_seconds"),
                ("receiving", "receiving_seconds"),
            )
        }
        of_sites = [line for line in answered if line["type"] == kind]
        row |= {
            name: _mean(_slowest(of_sites, key))
            for name, key in (
                ("fetching", "fetch_seconds"),
                ("working", "answer_seconds"),
                ("handing over", "hand_over_seconds"),
            )
        }
        parts = ("sending", "receiving", "fetching", "working", "handing over")
        row["link and polls"] = row["s"] - sum(row[part] for part in parts)
        rows.append(row)
    return rows


def _slowest(lines: Sequence[Line], key: str) -> list[float]:
    """Give the slowest site's figure of each round."""
    rounds = dict.fromkeys(str(line["round"]) for line in lines)
    return [max(line[key] for line in lines if line["round"] == number) for number in rounds]


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 2) if values else 0.0


def _moment(line: Line) -> float:
    return datetime.fromisoformat(line["time"]).timestamp()


# -- memory and processor (Linux) ----------------------------------------------------------------

Processes = dict[str, int]
MEBIBYTES_OF_PAGES = os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _memory_of(coordinator: Process, sites: dict[str, Process]) -> dict[str, dict[str, float]]:
    """Give what each process holds now and held at most."""
    return {
        name: {"now": _status(pid, "VmRSS"), "peak": _status(pid, "VmHWM")}
        for name, pid in _pids(coordinator, sites).items()
    }


def _pids(coordinator: Process, sites: dict[str, Process]) -> Processes:
    found = {"coordinator": coordinator.popen.pid}
    for site, process in sites.items():
        for pid in process.descendants():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            for module in ("supernode", "task_loop"):
                if f"fedward_client.daemon.{module}".encode() in words:
                    found[f"{site} {module}"] = pid
    return found


def _status(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def _memory_rows(
    before: dict[str, dict[str, float]], after: dict[str, dict[str, float]], model: float
) -> list[dict[str, Any]]:
    rows = []
    for name, figures in after.items():
        if name not in before:
            continue
        rise = figures["peak"] - before[name]["now"]
        rows.append(
            {
                "process": name,
                "before MiB": before[name]["now"],
                "peak MiB": figures["peak"],
                "rise, model sizes": round(rise / model, 2),
            }
        )
    return rows


def _idle_shares(
    coordinator: Process, sites: dict[str, Process], seconds: float
) -> dict[str, float]:
    """Give the share of one core that each process takes while nothing is to be done."""
    pids = _pids(coordinator, sites)
    begun = {name: _cpu_seconds(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    return {
        name: round((_cpu_seconds(pid) - begun[name]) / seconds, 3) for name, pid in pids.items()
    }


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
