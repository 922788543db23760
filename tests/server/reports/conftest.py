"""Results as a simulation writes them, made up but of realistic size and shape."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fedward_server.reports.examples import ExamplePrediction

Table = dict[str, Any]


def _figure(value: float | None, support: int = 624, reason: str | None = None) -> Table:
    half = None if value is None else 1.96 * math.sqrt(max(value * (1 - value), 0.001) / support)
    return {
        "value": value,
        "low": None if value is None or half is None else max(value - half, 0.0),
        "high": None if value is None or half is None else min(value + half, 1.0),
        "support": support,
        "reason": reason,
        "bin_bound": None,
        "excluded": 0,
    }


def _site(band: str, counts: tuple[int, int, int], excluded: dict[str, int]) -> Table:
    table = dict(zip(("train", "validation", "test"), counts, strict=True))
    return {
        "band": band,
        "weight": 1.0,
        "unit": "image",
        "counts": table,
        "cases": dict(table),
        "excluded": excluded,
    }


def _job(name: str, kind: str, class_names: tuple[str, ...]) -> Table:
    return {
        "job": {
            "name": name,
            "rounds": 150,
            "purpose": "Find pneumonia on chest radiographs of children.",
            "protocol_reference": "FW-2026-04",
            "ethics_reference": "",
        },
        "task": {
            "kind": kind,
            "classes": [
                {"id": i, "name": n, "definition": f"what everybody calls {n}"}
                for i, n in enumerate(class_names)
            ],
            "split": {"train": 0.8, "validation": 0.1, "test": 0.1},
        },
        "model": {"name": "resnet18-gn", "options": {"width": 32}, "start": "random", "frozen": []},
        "data": {"modality": "CR", "image_size": [64, 64], "intensity": "per-image"},
        "training": {
            "local_steps": 10,
            "batch_patients": 32,
            "optimizer": {"name": "sgd", "learning_rate": 0.05},
        },
        "strategy": {"name": "fedavgm", "momentum": 0.9, "weighting": "bands"},
        "privacy": {"mechanism": "none"},
        "secure_aggregation": {"enabled": False},
        "evaluation": {"every": 10, "select": "auto"},
    }


def _base(job: Table) -> Table:
    return {
        "schema": "fedward-result/1",
        "run_id": "run-2f6c1d",
        "seed": 0,
        "job": job,
        "rounds_planned": 150,
        "rounds_completed": 150,
        "stopped_early": False,
        "status": "completed",
        "error": None,
        "sites": {
            "hospA": _site("2000 to 4999", (2519, 285, 270), {"E_IMAGE_UNREADABLE": 3}),
            "hospB": _site("1000 to 1999", (1310, 146, 194), {}),
            "hospC": _site("500 to 999", (879, 93, 160), {"E_LABEL_UNMAPPED": 12}),
        },
        "participants": [
            [s for s in ("hospA", "hospB", "hospC") if s != "hospB" or r not in (12, 40, 41)]
            for r in range(1, 151)
        ],
        "failures": [
            {"round": 3, "attempt": 1, "site": "hospB", "code": "NON_FINITE"},
            {"round": 40, "attempt": 1, "site": "hospB", "code": "TRAINING_FAILED"},
            {"round": 41, "attempt": 1, "site": "hospB", "code": "TRAINING_FAILED"},
        ],
        "confusion": None,
        "roc": None,
        "thresholds": None,
        "privacy": {
            "unit": "image",
            "mechanism": "none",
            "epsilon": None,
            "delta": None,
            "accountant": None,
            "evaluation_private": False,
            "noise_is_private": False,
        },
        "secure_aggregation": {"enabled": False},
        "seconds": {"total": 803.1, "training": 702.2, "evaluation": 52.0, "overhead": 48.9},
        "model_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "num_parameters": 290_000,
        "versions": {"fedward": "0.1.0", "torch": "2.13.0", "flwr": "1.41.0", "python": "3.11.9"},
    }


def _history(names: tuple[str, ...]) -> list[Table]:
    rows = []
    for number in range(10, 151, 10):
        progress = 1 - math.exp(-number / 35)
        metrics = {
            name: _figure(0.5 + (0.46 - 0.05 * i) * progress, 524) for i, name in enumerate(names)
        }
        loss = {**_figure(0.69 - 0.5 * progress, 524), "low": None, "high": None}
        rows.append({"round": number, "metrics": {**metrics, "loss": loss}, "seconds": 5.3})
    return rows


def _classification() -> Table:
    names = ("auc", "balanced_accuracy", "accuracy")
    result = _base(_job("Pneumonia, three hospitals", "classification", ("normal", "pneumonia")))
    rates = np.linspace(0, 1, 51)
    metrics = dict(zip(names, map(_figure, (0.953, 0.884, 0.901)), strict=True))
    metrics["auc"]["bin_bound"] = 0.0004
    metrics["loss"] = {**_figure(0.241), "low": None, "high": None}
    reason = "the site's test cases are all of one class"
    baselines = {
        "pooled": {
            "metrics": dict(zip(names, map(_figure, (0.958, 0.89, 0.904)), strict=True)),
            "rounds_completed": 150,
            "seconds": {"total": 310.0},
        },
        "local": {
            site: {"metrics": dict(zip(names, map(_figure, values), strict=True))}
            for site, values in {
                "hospA": (0.931, 0.86, 0.88),
                "hospB": (0.902, 0.83, 0.85),
                "hospC": (0.861, 0.79, 0.8),
            }.items()
        },
    }
    return {
        **result,
        "selected": {"round": 140, "metric": "auc", "value": 0.962, "weights": "ema"},
        "metrics": metrics,
        "metrics_per_site": {
            "hospA": dict(zip(names, (_figure(v, 270) for v in (0.96, 0.9, 0.91)), strict=True)),
            "hospB": dict(zip(names, (_figure(v, 194) for v in (0.94, 0.87, 0.88)), strict=True)),
            "hospC": {
                "auc": _figure(None, 160, reason),
                "balanced_accuracy": _figure(None, 160, reason),
                "accuracy": _figure(0.87, 160),
            },
        },
        "baselines": baselines,
        "history": _history(names),
        "confusion": {"classes": ["normal", "pneumonia"], "counts": [[198, 36], [26, 364]]},
        "roc": [
            {
                "class": "pneumonia",
                "false_positive_rate": rates.tolist(),
                "true_positive_rate": (rates**0.08).tolist(),
            }
        ],
        "thresholds": {"pneumonia": 0.43},
    }


def _segmentation() -> Table:
    names = ("dice", "dice:anterior", "dice:posterior")
    classes = ("background", "anterior", "posterior")
    result = _base(_job("Hippocampus parts", "segmentation", classes))
    result["sites"]["hospC"].update(counts=None, cases=None, excluded={})
    return {
        **result,
        "selected": {"round": 150, "metric": "dice", "value": 0.87, "weights": "global"},
        "metrics": {
            "dice": _figure(0.871, 52),
            "dice:anterior": _figure(0.882, 52),
            "dice:posterior": _figure(None, 0, "no test case has this structure"),
        },
        "metrics_per_site": None,
        "baselines": None,
        "history": _history(names),
    }


def _multi_label() -> Table:
    """Three findings, the last one without a test case that has it."""
    names = ("pleural effusion", "nodule", "rib fracture")
    result = _base(_job("Findings", "classification", names))
    result["job"]["task"]["multi_label"] = True
    result["sites"]["hospA"] |= {
        "not_annotated": {"train": 12, "validation": 0, "test": 1},
        "findings": {
            "train": {
                n: {"present": 7, "absent": 9, "not_annotated": i} for i, n in enumerate(names)
            }
        },
    }
    rates = ("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1")
    reason = "no patient in the test split has 'rib fracture'"
    metrics = {rate: _figure(None, 0, reason) for rate in rates}
    for i, name in enumerate(names):
        cases = {"positives": 0 if i == 2 else 31 + i, "negatives": 400}
        for rate in rates:
            value = None if i == 2 and rate not in ("accuracy", "specificity") else 0.9 - i / 100
            metrics[f"{rate}:{name}"] = (
                _figure(value, 431, reason if value is None else None) | cases
            )
    return {
        **result,
        "selected": {"round": 150, "metric": "auc", "value": 0.87, "weights": "global"},
        "metrics": metrics | {"loss": {**_figure(0.241), "low": None, "high": None}},
        "metrics_per_site": {"hospA": metrics},
        "baselines": None,
        "history": _history(("auc", *(f"auc:{name}" for name in names))),
        "thresholds": dict(zip(names, (0.43, 0.21, 0.5), strict=True)),
    }


def _bare() -> Table:
    """Every part that may be null is null."""
    nothing = ("seed", "selected", "metrics", "metrics_per_site", "baselines", "history", "sites")
    more = ("participants", "failures", "seconds", "model_sha256", "num_parameters", "versions")
    result = _base(_job("Bare", "classification", ("a", "b")))
    return {**result, **dict.fromkeys((*nothing, *more)), "privacy": None}


@pytest.fixture
def classification() -> Table:
    return _classification()


@pytest.fixture
def multi_label() -> Table:
    return _multi_label()


@pytest.fixture
def segmentation() -> Table:
    return _segmentation()


@pytest.fixture
def bare() -> Table:
    return _bare()


@pytest.fixture
def any_result() -> Callable[[str], Table]:
    makers = {
        "classification": _classification,
        "multi-label": _multi_label,
        "segmentation": _segmentation,
        "bare": _bare,
    }
    return lambda kind: copy.deepcopy(makers[kind]())


@pytest.fixture
def segmentation_examples() -> list[ExamplePrediction]:
    return [_example(site, place) for site in ("hospA", "hospB") for place in (0, 6)]


def _example(site: str, shift: int) -> ExamplePrediction:
    rows, columns = np.mgrid[0:48, 0:64].astype(np.float32)
    ripple = np.sin(rows / 5) + np.cos(columns / (4 + shift))
    truth = np.zeros((48, 64), dtype=np.uint8)
    truth[(rows - 20) ** 2 + (columns - 28) ** 2 < 120] = 1
    truth[(rows - 34) ** 2 + (columns - 44) ** 2 < 60] = 2
    prediction = np.roll(truth, (2, 1 + shift // 3), axis=(0, 1))
    image = (ripple + truth).astype(np.float32)
    return ExamplePrediction(site, f"slice {20 + shift}", image, truth, prediction, "Dice 0.86")
