"""`result.json`: what a run found, schema `fedward-result/1`.

`docs/RESULT_SCHEMA.md` describes every field. Figures of the test split are those of the pooled
patients, made of merged sums; per-site figures exist in a simulation only.
"""

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_common.evaluation.operating_points import confusion_matrix, roc_points
from fedward_common.evaluation.sums import (
    ClassificationSums,
    MultiLabelSums,
    SegmentationSums,
    Sums,
    sums_from_vector,
)
from fedward_common.job.job_file import Job, PrivacySection, table_of_job
from fedward_common.patient_bands import PatientBand
from fedward_server.coordinator.pooled_evaluation import (
    Thresholds,
    figures_of,
    thresholds_for,
)
from fedward_server.coordinator.run_journal import RunHistory, unpacked
from fedward_server.coordinator.run_setup import RunSetup

SCHEMA = "fedward-result/1"

Result = dict[str, Any]


def result_of_run(
    setup: RunSetup,
    history: RunHistory,
    *,
    cohorts: Mapping[str, Mapping[str, Any] | None],
    site_sums: Mapping[str, NDArray[np.int64] | None],
    seconds: Mapping[str, float],
    site_privacy: Mapping[str, Mapping[str, Any]] | None = None,
) -> Result:
    """Put a finished run's result together; baselines and the model's hash are added by the caller.

    Args:
        setup: The run.
        history: Its finished journal.
        cohorts: Each site's own cohort report; empty in a real federation.
        site_sums: Each site's own test sums; empty in a real federation.
        seconds: `total`, `training`, `evaluation`, `overhead`.
        site_privacy: What the run cost a unit of each site; nothing in a real federation.
    """
    job, manifest = setup.job, setup.manifest
    final = history.final or {}
    selected = final["selected"]
    thresholds = thresholds_for(selected, job.task)
    pooled = sums_from_vector(unpacked(final["sums"]), job.task)
    return {
        "schema": SCHEMA,
        "run_id": manifest.run,
        "seed": manifest.seed,
        "status": "completed",
        "error": None,
        "job": table_of_job(job),
        "rounds_planned": job.job.rounds,
        "rounds_completed": len(history.checkpoints),
        "stopped_early": history.stopped_early,
        "selected": {
            "round": selected["round"],
            "metric": job.selection_metric,
            "value": selected["value"],
            "weights": "ema" if job.strategy.ema_decay > 0 else "global",
        },
        "sites": _sites(history, cohorts),
        "participants": history.participants,
        "failures": history.failures,
        "metrics": figures_of(pooled, job.task, thresholds, split="test"),
        "metrics_per_site": _per_site(site_sums, setup, thresholds),
        "baselines": None,
        "history": [
            {
                "round": entry["round"],
                "metrics": entry["figures"],
                "sites": entry["sites"],
                "seconds": entry["seconds"],
            }
            for entry in history.evaluations
        ],
        **_decisions(pooled, job.task.class_names, thresholds),
        "privacy": _privacy(history, job.privacy, site_privacy or {}),
        "secure_aggregation": _secure_aggregation(setup, history),
        "hold_out": _hold_out(job, history),
        "seconds": dict(seconds),
        "num_parameters": manifest.num_parameters,
        "versions": versions(),
    }


def _sites(history: RunHistory, cohorts: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    sites: dict[str, Any] = {}
    refused = {f["site"]: f["code"] for f in history.failures if f["round"] == 0}
    for site in sorted({*history.accepted, *refused, *cohorts}):
        terms = history.accepted.get(site)
        report = cohorts.get(site) or {}
        sites[site] = {
            "accepted": terms is not None,
            "refused_with": None if terms else refused.get(site),
            "trains": bool(terms and terms["trains"]),
            "band": str(PatientBand(terms["band_low"], terms["band_high"])) if terms else None,
            "weight": terms["weight"] if terms else None,
            "unit": terms["unit"] if terms else report.get("unit"),
            "counts": report.get("patients"),
            "cases": report.get("cases"),
            "classes": report.get("classes"),
            "findings": report.get("findings"),
            "not_annotated": report.get("not_annotated"),
            "excluded": report.get("exclusions", {}),
        }
    return sites


def _per_site(
    site_sums: Mapping[str, NDArray[np.int64] | None],
    setup: RunSetup,
    thresholds: Thresholds,
) -> dict[str, Any] | None:
    task = setup.job.task
    known = {site: sums for site, sums in sorted(site_sums.items()) if sums is not None}
    if not known:
        return None
    return {
        site: figures_of(sums_from_vector(vector, task), task, thresholds, split="test")
        for site, vector in known.items()
    }


def _decisions(
    pooled: Sums, class_names: tuple[str, ...], thresholds: Thresholds
) -> dict[str, Any]:
    """Give confusion, ROC curves and thresholds, each None where the task has none."""
    if isinstance(pooled, SegmentationSums):
        return {"confusion": None, "roc": None, "thresholds": None}
    if isinstance(pooled, MultiLabelSums):
        confusion, names = None, class_names
        roc = [_curve(n, one, 0) for n, one in zip(names, pooled.findings, strict=True)]
    else:
        threshold = thresholds[0] if thresholds else None
        counts = confusion_matrix(pooled, threshold).tolist()
        confusion = {"classes": list(class_names), "counts": counts}
        names = class_names[1:] if pooled.num_classes == 2 else class_names
        roc = [_curve(name, pooled, curve) for curve, name in enumerate(names)]
    drawn = {name: t.probability for name, t in zip(names, thresholds, strict=False)}
    return {
        "confusion": confusion,
        # no curve where one of the two classes is missing
        "roc": [curve for curve in roc if curve["false_positive_rate"]],
        "thresholds": drawn or None,
    }


def _curve(name: str, sums: ClassificationSums, curve: int) -> dict[str, Any]:
    false_rate, true_rate = roc_points(sums, curve)
    return {
        "class": name,
        "false_positive_rate": false_rate.tolist(),
        "true_positive_rate": true_rate.tolist(),
    }


def _privacy(
    history: RunHistory, section: PrivacySection, site_privacy: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Say what a unit was promised: by site in a simulation, else the cap that all sites keep."""
    units = sorted({terms["unit"] for terms in history.accepted.values()})
    is_private = section.mechanism != "none"
    spent = {site: one["epsilon"] for site, one in sorted(site_privacy.items())}
    return {
        "mechanism": section.mechanism,
        "unit": units[0] if len(units) == 1 else " and ".join(units),
        "epsilon": (spent or section.epsilon) if is_private else None,
        "delta": section.delta,
        "accountant": "PLD" if is_private else None,
        "per_site": dict(sorted(site_privacy.items())) if is_private and site_privacy else None,
        "evaluation_private": False,
        # Only a simulation knows its sites, and in a simulation noise comes from the seed.
        "noise_is_private": is_private and not site_privacy,
    }


def _secure_aggregation(setup: RunSetup, history: RunHistory) -> dict[str, Any]:
    """Say what stood between the coordinator and one site's numbers."""
    job, last = setup.job, history.aggregation or {}
    if not job.secure_aggregation.enabled:
        return {"enabled": False, "answers_sealed": bool(setup.manifest.answer_key)}
    is_joint = job.privacy.mechanism == "joint"
    lost = [
        number
        for number, sites in enumerate(history.participants, start=1)
        if not sites and number not in history.rejected
    ]
    return {
        "enabled": True,
        "suite": setup.manifest.suite,
        "bits": job.privacy.ring_bits if is_joint else job.secure_aggregation.bits,
        "sites_ready": last.get("sites_ready"),
        "threshold": last.get("threshold"),
        "values_clipped": history.values_clipped,
        "rounds_left_out": lost,
    }


def _hold_out(job: Job, history: RunHistory) -> dict[str, Any] | None:
    """Say by which public set rounds were judged, and which it left out; None without one."""
    if job.hold_out is None:
        return None
    return {
        "sha256": job.hold_out.sha256,
        "metric": job.hold_out.metric_of(job.selection_metric),
        "largest_drop": job.hold_out.largest_drop,
        "rounds_rejected": history.rejected,
    }


def versions() -> dict[str, str]:
    """Name the releases a result depends on."""
    packages = ("fedward", "flwr", "torch", "numpy", "monai")
    found = {name: importlib.metadata.version(name) for name in packages}
    return found | {"python": platform.python_version()}
