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

from fedward_common.evaluation.operating_points import Threshold, confusion_matrix, roc_points
from fedward_common.evaluation.sums import ClassificationSums, Sums, sums_from_vector
from fedward_common.job.job_file import table_of_job
from fedward_common.patient_bands import PatientBand
from fedward_server.coordinator.pooled_evaluation import figures_of, threshold_for
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
) -> Result:
    """Put a finished run's result together; baselines and the model's hash are added by the caller.

    Args:
        setup: The run.
        history: Its finished journal.
        cohorts: Each site's own cohort report; empty in a real federation.
        site_sums: Each site's own test sums; empty in a real federation.
        seconds: `total`, `training`, `evaluation`, `overhead`.
    """
    job, manifest = setup.job, setup.manifest
    final = history.final or {}
    selected = final["selected"]
    threshold = threshold_for(selected, job.task)
    pooled = sums_from_vector(unpacked(final["sums"]), job.task)
    return {
        "schema": SCHEMA,
        "run_id": manifest.run,
        "seed": manifest.seed,
        "status": "completed",
        "error": None,
        "job": table_of_job(job),
        "rounds_planned": job.job.rounds,
        "rounds_completed": history.round,
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
        "metrics": figures_of(pooled, job.task, threshold, split="test"),
        "metrics_per_site": _per_site(site_sums, setup, threshold),
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
        **_curves(pooled, job.task.class_names, threshold),
        "privacy": _privacy(history),
        "secure_aggregation": {"enabled": job.secure_aggregation.enabled},
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
            "excluded": report.get("exclusions", {}),
        }
    return sites


def _per_site(
    site_sums: Mapping[str, NDArray[np.int64] | None],
    setup: RunSetup,
    threshold: Threshold | None,
) -> dict[str, Any] | None:
    task = setup.job.task
    known = {site: sums for site, sums in sorted(site_sums.items()) if sums is not None}
    if not known:
        return None
    return {
        site: figures_of(sums_from_vector(vector, task), task, threshold, split="test")
        for site, vector in known.items()
    }


def _curves(
    pooled: Sums, class_names: tuple[str, ...], threshold: Threshold | None
) -> dict[str, Any]:
    if not isinstance(pooled, ClassificationSums):
        return {"confusion": None, "roc": None, "thresholds": None}
    names = class_names[1:] if pooled.num_classes == 2 else class_names
    roc = []
    for curve, name in enumerate(names):
        if not pooled.histograms[curve].any(axis=1).all():
            continue  # no curve where one of the two classes is missing
        false_rate, true_rate = roc_points(pooled, curve)
        roc.append(
            {
                "class": name,
                "false_positive_rate": false_rate.tolist(),
                "true_positive_rate": true_rate.tolist(),
            }
        )
    return {
        "confusion": {
            "classes": list(class_names),
            "counts": confusion_matrix(pooled, threshold).tolist(),
        },
        "roc": roc,
        "thresholds": {class_names[1]: threshold.probability} if threshold else None,
    }


def _privacy(history: RunHistory) -> dict[str, Any]:
    units = sorted({terms["unit"] for terms in history.accepted.values()})
    return {
        "mechanism": "none",
        "unit": units[0] if len(units) == 1 else " and ".join(units),
        "epsilon": None,
        "delta": None,
        "accountant": None,
        "evaluation_private": False,
        "noise_is_private": False,
    }


def versions() -> dict[str, str]:
    """Name the releases a result depends on."""
    packages = ("fedward", "flwr", "torch", "numpy", "monai")
    found = {name: importlib.metadata.version(name) for name in packages}
    return found | {"python": platform.python_version()}
