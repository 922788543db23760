"""`fedward simulate`: from options to a finished folder, with progress and a table at the end."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from fedward_common.errors import ConfigurationError, StoppedError
from fedward_common.job.job_file import read_job
from fedward_common.models.catalogue import check_model
from fedward_common.settings import read_toml
from fedward_server.simulation.fork_server import start_fork_server

Result = dict[str, Any]


@dataclass(frozen=True)
class SimulateOptions:
    """The command's options, parsed."""

    job_file: Path
    cohorts_file: Path
    out: Path
    data_root: Path | None = None
    seeds: tuple[int, ...] = (0,)
    overrides: tuple[str, ...] = ()
    baselines: bool = False
    resume: bool = False
    workers: int | None = None
    threads: int = 1
    examples: bool = True
    partition: tuple[int, float] | None = None
    hold_out: Path | None = None
    json: bool = False


def run_simulate(options: SimulateOptions) -> None:
    """Simulate, write everything below `options.out`, and print what was found.

    Raises:
        FedwardError: With one line and a hint.
    """
    result = simulate_options(options, table=Console(stderr=options.json))
    if options.json:
        sys.stdout.write(json.dumps(result, indent=1) + "\n")


def simulate_options(options: SimulateOptions, *, table: Console) -> Result:
    """Simulate; print the tables on `table`; give what `result.json` holds."""
    job = read_job(options.job_file, list(options.overrides))
    check_model(job)
    cohorts = read_toml(options.cohorts_file)
    workers = _num_workers(options.workers)
    if workers:
        start_fork_server()
    # The fork server imports torch by now; so does this process, at the same time.
    from fedward_server.reports.result_table import print_result, print_seed_summary
    from fedward_server.run_outputs import write_json
    from fedward_server.simulation.federation import Engine
    from fedward_server.simulation.outputs import write_outputs
    from fedward_server.simulation.progress import SimulationProgress
    from fedward_server.simulation.simulate import SimulationPlan, simulate, summed_up

    if workers == 0 or job.hold_out is not None:  # this process evaluates the hold-out set
        _use_threads(options.threads)
    data_root = (options.data_root or options.cohorts_file.parent).resolve()
    if not data_root.is_dir():
        raise ConfigurationError(f"{data_root} is no folder", hint="check --data-root")
    plan = SimulationPlan(
        job=job,
        cohorts_table=cohorts,
        data_root=data_root,
        out=options.out.resolve(),
        seeds=options.seeds,
        baselines=options.baselines,
        engine=Engine(workers, options.threads),
        partition=options.partition,
        hold_out=options.hold_out,
    )
    console = Console(stderr=True)
    try:
        with SimulationProgress(
            console,
            job.job.rounds,
            job.selection_metric,
            one_step_a_round=job.privacy.mechanism == "joint",
        ) as progress:
            runs = []
            for run in simulate(plan, progress.observer_of, resume=options.resume):
                write_outputs(run, examples=options.examples)
                runs.append(run)
    except KeyboardInterrupt as interrupt:
        raise StoppedError(
            "stopped; every committed round is kept",
            hint="the same command with --resume goes on",
        ) from interrupt
    for run in runs:
        print_result(table, run.result)
    if len(runs) > 1:
        write_json(plan.out / "result.json", summed_up(runs))
        print_seed_summary(table, [run.result for run in runs])
    for run in runs:
        report = run.folder / "report.html"
        table.print(f"\nReport: {report}", highlight=False, soft_wrap=True, markup=False)
    return summed_up(runs)


def _num_workers(asked: int | None) -> int:
    if asked is not None:
        return asked
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _use_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
