"""A whole simulation: homes, the federated run, baselines, and everything in `--out`.

```
OUT/simulation.json   what was asked, so that --resume goes on with the same
OUT/sites/NAME/       homes of the simulated hospitals, shared by all seeds and baselines
OUT/keys/             the simulation's throwaway coordinator, authority and rosters
OUT/journal/          journal and checkpoints of the federated run
OUT/baselines/NAME/   journals of the baselines
OUT/result.json, report.html, model_card.md, model/
```
With several seeds, all but `simulation.json`, `sites/` and `keys/` lie in `OUT/seed-N/`, and
`OUT/result.json` sums up. The pooled site's home stays in `OUT/baselines/pooled-site/`.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_common.atomic_files import full_disk_named, write_atomically
from fedward_common.errors import (
    ConfigurationError,
    DiskFullError,
    FedwardError,
    LockedError,
    QuorumError,
    StoppedError,
)
from fedward_common.identities import SiteId
from fedward_common.job.job_file import Job, table_of_job
from fedward_common.privacy.joint_constants import require_joint_quorum
from fedward_server.coordinator.checkpoints import CheckpointStore
from fedward_server.coordinator.hold_out_set import require_hold_out
from fedward_server.coordinator.observer import RunObserver
from fedward_server.coordinator.run_journal import RunHistory
from fedward_server.coordinator.run_setup import RunSetup
from fedward_server.result import Result, result_of_run
from fedward_server.simulation.federation import Engine, Federation, run_federation
from fedward_server.simulation.homes import Homes, make_homes
from fedward_server.simulation.site_side import SiteSide, site_side

FEDERATED = "federated"
POOLED = "pooled"  # shown in result.json; a local baseline is shown by its site

ObserverOf = Callable[[str], RunObserver]


@dataclass(frozen=True)
class SimulationPlan:
    """What to simulate.

    Attributes:
        cohorts_table: The parsed cohorts file.
        data_root: The folder its paths are relative to.
        seeds: At least one; each is a run of its own.
        partition: Cut all patients into so many sites with this Dirichlet alpha, instead of the
            sites of the cohorts file.
        hold_out: The set that the job's `[hold_out]` names.
    """

    job: Job
    cohorts_table: Mapping[str, Any]
    data_root: Path
    out: Path
    seeds: tuple[int, ...]
    baselines: bool
    engine: Engine
    partition: tuple[int, float] | None = None
    hold_out: Path | None = None


@dataclass(frozen=True)
class FinishedRun:
    """A run's result with what the report needs beside it."""

    folder: Path
    result: Result
    setup: RunSetup
    homes: Mapping[SiteId, Path]
    best: NDArray[np.float32]
    last: NDArray[np.float32]


def simulate(
    plan: SimulationPlan, observer_of: ObserverOf, *, resume: bool
) -> Iterator[FinishedRun]:
    """Run every seed, with its baselines where asked, and give each run as it is finished.

    Args:
        plan: What to simulate.
        observer_of: Gives the observer of a run by its label, such as `seed 1: pooled`.
        resume: Go on with what is in `plan.out`.

    Raises:
        ConfigurationError: The folder is in use, or holds another simulation.
        FedwardError: A federated run cannot go on.
    """
    side = site_side()
    side.check_cohorts(plan.cohorts_table, plan.data_root)
    require_joint_quorum(plan.job, _num_sites(plan))
    if not resume or plan.hold_out is not None:  # a run that began has a copy
        require_hold_out(plan.job, plan.hold_out)
    _claim_folder(plan, resume=resume)
    key_file = plan.out / "keys" / "coordinator.key"

    def homes_in(folder: Path, *, pooled: bool) -> Homes:
        return make_homes(
            side,
            folder,
            plan.cohorts_table,
            plan.data_root,
            key_file=key_file,
            pooled=pooled,
            partition=plan.partition,
        )

    homes = homes_in(plan.out / "sites", pooled=False)
    # What a run was asked for once stays part of its result.
    baselines = plan.baselines or (plan.out / "baselines").exists()
    if baselines:  # refused now, if at all, and not after the federated run
        _job_of_one_site(plan.job, len(homes.sites), stands_for=len(homes.sites))
    pooled = homes_in(plan.out / "baselines" / "pooled-site", pooled=True) if baselines else None
    for seed in plan.seeds:
        yield _run_seed(plan, seed, side, homes, pooled, key_file, observer_of)


def _num_sites(plan: SimulationPlan) -> int:
    return plan.partition[0] if plan.partition else len(plan.cohorts_table["sites"])


def _claim_folder(plan: SimulationPlan, *, resume: bool) -> None:
    file = plan.out / "simulation.json"
    asked = {
        "job": table_of_job(plan.job),
        "cohorts": plan.cohorts_table,
        "data_root": str(plan.data_root),
        "seeds": list(plan.seeds),
        "threads": plan.engine.threads,
        "partition": plan.partition,
    }
    text = json.dumps(asked, indent=1, sort_keys=True, default=str)
    if resume and file.exists():
        differing = _differing(file, json.loads(text))
        if differing:
            raise ConfigurationError(
                f"{plan.out} was started with another {differing}",
                hint="give the options it was started with, or another --out folder",
            )
        return
    if plan.out.exists() and any(not path.name.startswith(".") for path in plan.out.iterdir()):
        raise ConfigurationError(
            f"{plan.out} is not empty",
            hint="--resume goes on with the simulation in it; or choose another --out folder",
        )
    with full_disk_named(plan.out):
        # Homes and reports in it hold images.
        plan.out.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(file, text.encode())


_ASKED = {
    "cohorts": "cohorts file",
    "data_root": "data root",
    "seeds": "list of seeds",
    "threads": "number of threads",
}


def _differing(file: Path, asked: Mapping[str, Any]) -> str:
    """Name what a resumed simulation was started with and is not asked for now; "" if nothing."""
    try:
        begun = json.loads(file.read_text(encoding="utf-8"))
        return ", ".join(_ASKED.get(key, key) for key in asked if begun.get(key) != asked[key])
    except (ValueError, AttributeError) as error:
        raise ConfigurationError(
            f"{file} is no longer what was written", hint="choose another --out folder"
        ) from error


def _run_seed(
    plan: SimulationPlan,
    seed: int,
    side: SiteSide,
    homes: Homes,
    pooled: Homes | None,
    key_file: Path,
    observer_of: ObserverOf,
) -> FinishedRun:
    several = len(plan.seeds) > 1
    folder = plan.out / f"seed-{seed}" if several else plan.out
    prefix = f"seed {seed}: " if several else ""

    def federation(where: Path, job: Job, homes: Homes, trainers: tuple[SiteId, ...]) -> Federation:
        return Federation(where, job, seed, homes.sites, homes.roster, trainers, key_file)

    main = federation(folder / "journal", plan.job, homes, tuple(homes.sites))
    main = replace(main, hold_out=plan.hold_out)
    observer = observer_of(prefix + FEDERATED)
    try:
        setup, history = run_federation(main, plan.engine, observer)
    except QuorumError:
        _tell_problems(observer, homes, side)
        raise
    finished = _finished(folder, setup, history, homes, side, plan.engine)
    if pooled is not None:
        alone, together = (
            _job_of_one_site(plan.job, len(homes.sites), stands_for=count)
            for count in (1, len(homes.sites))
        )
        at = folder / "baselines"
        runs = {POOLED: federation(at / POOLED, together, pooled, tuple(pooled.sites))}
        for site in homes.sites:
            runs[site] = federation(at / f"local-{site}", alone, homes, (site,))
        outcomes = _run_baselines(runs, plan.engine, side, prefix, observer_of)
        finished.result["baselines"] = {"pooled": outcomes.pop(POOLED), "local": outcomes}
    return finished


def _tell_problems(observer: RunObserver, homes: Homes, side: SiteSide) -> None:
    """Quote what sites wrote in their own reports: here one person owns them all."""
    for site, home in homes.sites.items():
        report = side.cohort_summary(home) or {}
        if "problem" in report:
            observer.note(f"{site}: {report['problem']}")


def _job_of_one_site(job: Job, num_sites: int, *, stands_for: int = 1) -> Job:
    """Give the same work for a federation of one: no quorum, nobody to hide among or to mistrust.

    Where a step takes a number of patients, a site that stands for several takes theirs together,
    so that pooled training sees as many images as the federation. A sampling rate does so anyway;
    the expected patients of all sites are divided among them alike.
    """
    training, privacy = job.training, job.privacy
    if training.batch_patients is not None:
        training = replace(training, batch_patients=training.batch_patients * stands_for)
    if privacy.expected_batch_patients is not None:
        expected = privacy.expected_batch_patients * stands_for / num_sites
        privacy = replace(privacy, expected_batch_patients=expected)
    quorum = replace(job.quorum, required_sites=1, minimum_share=0.0)
    section = replace(job.secure_aggregation, enabled=False, mean_norm_limit=0.0)
    return replace(
        job,
        quorum=quorum,
        training=training,
        privacy=privacy,
        secure_aggregation=section,
        hold_out=None,
    )


def _finished(
    folder: Path,
    setup: RunSetup,
    history: RunHistory,
    homes: Homes,
    side: SiteSide,
    engine: Engine,
) -> FinishedRun:
    run = setup.manifest.run
    result = result_of_run(
        setup,
        history,
        cohorts={s: side.cohort_summary(home) for s, home in homes.sites.items()},
        site_sums={s: side.sums_on_test_split(home, run) for s, home in homes.sites.items()},
        seconds=_seconds(history, homes, side, run, engine),
        site_privacy=_privacy(homes, side, run),
    )
    store = CheckpointStore(setup.folder)
    best = store.load_weights((history.final or {})["selected"])
    return FinishedRun(folder, result, setup, homes.sites, best, store.load_last(history))


def _privacy(homes: Homes, side: SiteSide, run: str) -> dict[str, dict[str, Any]]:
    spent = {site: side.privacy_of_run(home, run) for site, home in homes.sites.items()}
    return {site: one for site, one in spent.items() if one is not None}


def _seconds(
    history: RunHistory, homes: Homes, side: SiteSide, run: str, engine: Engine
) -> dict[str, float]:
    """Split a run's seconds; where sites work side by side, theirs are those of a mean worker."""
    works = [side.seconds_of_run(home, run) for home in homes.sites.values()]
    workers = max(1, min(engine.num_workers, len(homes.sites)))
    training = sum(work["training"] for work in works) / workers
    evaluation = sum(work["evaluation"] for work in works) / workers
    return {
        "total": history.seconds,
        "training": training,
        "evaluation": evaluation,
        "overhead": max(0.0, history.seconds - training - evaluation),
    }


def _run_baselines(
    runs: Mapping[str, Federation],
    engine: Engine,
    side: SiteSide,
    prefix: str,
    observer_of: ObserverOf,
) -> dict[str, Any]:
    """Run one-site federations side by side, each with the threads a site of the main run has."""
    alone = Engine(num_workers=min(1, engine.num_workers), threads=engine.threads)

    stop = threading.Event()

    def one(name: str) -> dict[str, Any]:
        label = name if name == POOLED else f"local {name}"
        federation = runs[name]
        try:
            setup, history = run_federation(federation, alone, observer_of(prefix + label), stop)
        except (DiskFullError, LockedError, StoppedError):
            raise  # no outcome of a baseline, and --resume mends it
        except FedwardError as error:
            return {"metrics": None, "error": error.code, "message": str(error)}
        homes = Homes(federation.homes, federation.roster)
        seconds = _seconds(history, homes, side, setup.manifest.run, alone)
        result = result_of_run(setup, history, cohorts={}, site_sums={}, seconds=seconds)
        kept = ("metrics", "rounds_completed", "selected", "thresholds", "failures", "seconds")
        return {key: result[key] for key in kept}

    with ThreadPoolExecutor(max_workers=max(1, engine.num_workers)) as pool:
        try:
            return dict(zip(runs, pool.map(one, runs), strict=True))
        except BaseException:
            stop.set()  # else leaving the block would wait for every baseline to end
            raise


def summed_up(runs: Sequence[FinishedRun]) -> Result:
    """Give what `OUT/result.json` holds: the one result, or the spread over several seeds."""
    from fedward_server.reports.summary import seed_summary

    if len(runs) == 1:
        return runs[0].result
    return {
        "schema": "fedward-seeds/1",
        "summary": seed_summary([run.result for run in runs]),
        "results": [run.result for run in runs],
    }
