"""`fedward plan`: what a launch would do, before anything is written, sent or spent."""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedward_server.coordinator.commands.plan_figures import (
    coordinator_memory_bytes,
    noise_by_size,
    round_bytes,
    sum_rules,
)
from fedward_server.coordinator.commands.planned_run import PlannedRun, planned_run
from fedward_server.coordinator.commands.shown import (
    bytes_text,
    print_json,
    print_line,
    print_pairs,
    print_table,
)
from fedward_server.coordinator.coordinator_home import CoordinatorHome

Plan = dict[str, Any]


def run_plan(
    home: CoordinatorHome, job_file: Path, *, sites: Sequence[str], json_output: bool
) -> None:
    """Print the plan of a run.

    Raises:
        FedwardError: Whatever `fedward launch` would refuse.
    """
    planned = planned_run(home, job_file, sites, 0, now_seconds=time.time())
    plan = plan_of(planned)
    if json_output:
        print_json(plan)
    else:
        _print(plan)


def plan_of(planned: PlannedRun) -> Plan:
    """Give what `fedward plan --json` prints; sizes are in bytes."""
    job, num_sites = planned.job, len(planned.training_sites)
    num_parameters = planned.spec.num_parameters
    plain, evaluating = (
        round_bytes(job, num_sites, num_parameters, evaluates=due) for due in (False, True)
    )
    rules = sum_rules(job, num_sites)
    return {
        "job": job.job.name,
        "consortium": planned.roster.consortium,
        "roster_version": planned.roster.version,
        "training_sites": list(planned.training_sites),
        "evaluating_sites": list(planned.evaluating_sites),
        "organisations": len(
            {planned.roster.entry_of(site).organisation for site in planned.training_sites}
        ),
        "model": job.model.name,
        "num_parameters": num_parameters,
        "rounds": job.job.rounds,
        "local_steps": job.training.local_steps,
        "evaluated_every_rounds": job.evaluation.every,
        "round_bytes_of_a_site": dataclasses.asdict(plain),
        "evaluating_round_bytes_of_a_site": dataclasses.asdict(evaluating),
        "quorum": {
            "required_sites": job.quorum.required_sites,
            "minimum_share": job.quorum.minimum_share,
            "acceptance_seconds": job.quorum.acceptance_seconds,
            "deadline_seconds": job.quorum.deadline_seconds,
            "attempts": job.quorum.attempts,
        },
        "secure_aggregation": dataclasses.asdict(rules) if rules else None,
        "coordinator_memory_bytes": coordinator_memory_bytes(job, num_sites, num_parameters),
        "privacy": {
            "mechanism": job.privacy.mechanism,
            "epsilon": job.privacy.epsilon,
            "delta": job.privacy.delta,
            "by_site_size": [
                _finite(dataclasses.asdict(one))
                for one in noise_by_size(job, num_sites, num_parameters)
            ],
        },
    }


def _finite(row: Plan) -> Plan:
    """JSON has no infinity: where noise bounds nothing, there is no epsilon."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def _print(plan: Plan) -> None:
    print_pairs(
        [
            ("job", plan["job"]),
            ("consortium", f"{plan['consortium']}, roster version {plan['roster_version']}"),
            ("train", ", ".join(plan["training_sites"])),
            ("only evaluate", ", ".join(plan["evaluating_sites"]) or "none"),
            ("model", f"{plan['model']}, {plan['num_parameters']:,} parameters"),
            ("rounds", f"{plan['rounds']} of {plan['local_steps']} local steps"),
            ("quorum", _quorum_text(plan["quorum"])),
            ("a site sends a round", _traffic_text(plan, "up")),
            ("a site receives a round", _traffic_text(plan, "down")),
            ("secure aggregation", _sum_text(plan["secure_aggregation"])),
            (
                "the coordinator's memory",
                f"about {bytes_text(plan['coordinator_memory_bytes'])} beside Python and Flower",
            ),
        ]
    )
    _print_noise(plan["privacy"])


def _quorum_text(quorum: Mapping[str, Any]) -> str:
    return (
        f"{quorum['required_sites']} sites with {quorum['minimum_share']:.0%} of the patients "
        f"within {quorum['deadline_seconds']:.0f} s, {quorum['attempts']} attempts; a start waits "
        f"{quorum['acceptance_seconds']:.0f} s for who is away or paused"
    )


def _traffic_text(plan: Plan, way: str) -> str:
    plain, evaluating = plan["round_bytes_of_a_site"], plan["evaluating_round_bytes_of_a_site"]
    text = bytes_text(plain[way])
    if evaluating[way] != plain[way]:
        every = plan["evaluated_every_rounds"]
        often = "each round" if every == 1 else f"every {every} rounds"
        text += f"; {bytes_text(evaluating[way])} where it evaluates, {often}"
    protocol = plain[f"protocol_{way}"]
    return text + (f"; about {bytes_text(protocol)} of keys and shares" if protocol else "")


def _sum_text(rules: Mapping[str, int] | None) -> str:
    if rules is None:
        return "OFF: the coordinator sees each site's update"
    return (
        f"a sum of {rules['num_sites']} sites needs {rules['threshold']} to the end, so "
        f"{rules['dropouts_tolerated']} may leave; {rules['largest_coalition']} may be dishonest"
    )


def _print_noise(privacy: Mapping[str, Any]) -> None:
    if privacy["mechanism"] == "none":
        print_line("No differential privacy: patients of every site are marked unbounded.")
        return
    print_line(f"Privacy {privacy['mechanism']}, delta {privacy['delta']:g}, by training patients:")
    print_table(
        ("patients", "chance a step", "noise multiplier", "epsilon of the run"),
        (
            (
                row["patients"],
                _number(row["sampling_rate"]),
                _number(row["noise_multiplier"]),
                row["refused_with"] or _number(row["epsilon"]),
            )
            for row in privacy["by_site_size"]
        ),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
