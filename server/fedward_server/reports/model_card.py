"""The model card: what a model is for, what it was made from, how good it is, where it ends.

Markdown, after Mitchell et al. 2019, arXiv:1810.03993, cut to what a result records.
"""

import re
from typing import Any

from fedward_server.reports.comparison import (
    has_baselines,
    is_multi_label,
    main_metrics,
    pooled_test_metrics,
)
from fedward_server.reports.figure_text import (
    UNDEFINED,
    Result,
    count_text,
    counted,
    rounds_text,
)
from fedward_server.reports.report_view import (
    finding_reasons,
    finding_rows,
    metric_rows,
    site_rows,
    threshold_rows,
)
from fedward_server.reports.statements import (
    aggregation_statement,
    figure_notes,
    privacy_statement,
    protection_notes,
    selection_sentence,
    undefined_reasons,
    verdict,
)

_WEIGHTINGS = {
    "bands": "sites weighted by the band of their patients",
    "uniform": "every site weighted alike",
}
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&])")


def model_card_text(result: Result) -> str:
    """Write the card of one run's model; names and reasons are escaped for Markdown."""
    job = result.get("job") or {}
    sections = (
        _title(result, job),
        _intended_use(result, job),
        _data(result),
        _training(result, job),
        _metrics(result),
        _limits(result),
        _privacy(result),
        _reproducibility(result),
    )
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _plain(text: object) -> str:
    """Escape what Markdown or HTML would read as markup, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def _bullets(lines: tuple[str, ...]) -> list[str]:
    return [f"- {_plain(line)}" for line in lines]


def _title(result: Result, job: dict[str, Any]) -> list[str]:
    about = job.get("job") or {}
    return [f"# Model card: {_plain(about.get('name', 'unnamed'))}", "", _plain(verdict(result))]


def _intended_use(result: Result, job: dict[str, Any]) -> list[str]:
    about, task = job.get("job") or {}, job.get("task") or {}
    purpose = about.get("purpose") or "The job states no purpose."
    lines = ["## Intended use", "", _plain(purpose), ""]
    kind = _plain(task.get("kind", "not recorded"))
    if is_multi_label(result):
        lines.append("Task: multi-label classification; each finding is present or absent alone:")
    else:
        lines.append(f"Task: {kind} with these classes:")
    lines.append("")
    for entry in task.get("classes") or []:
        definition = f": {_plain(entry['definition'])}" if entry.get("definition") else ""
        lines.append(f"- {_plain(entry.get('name'))} ({entry.get('id')}){definition}")
    for key, label in (("protocol_reference", "Protocol"), ("ethics_reference", "Ethics")):
        if about.get(key):
            lines += ["", f"{label}: {_plain(about[key])}"]
    return [*lines, "", "For research only. Not a medical device; not for the care of patients."]


def _data(result: Result) -> list[str]:
    lines = ["## Data", "", "| Site | Band | Unit | Training | Validation | Test |"]
    lines.append("|---|---|---|---:|---:|---:|")
    for site in site_rows(result):
        names = " | ".join(_plain(text) for text in (site.name, site.band, site.unit))
        lines.append(f"| {names} | {' | '.join(site.counts)} |")
    lines += [
        "",
        (
            "A site publishes the band of its training count alone. Exact counts are known where "
            "sites were simulated; a dash stands for one that is not."
        ),
    ]
    excluded = [
        f"- Left out at {_plain(site.name)}: {_plain('; '.join(site.exclusions))}"
        for site in site_rows(result)
        if site.exclusions
    ]
    excluded += [
        f"- Not annotated at {_plain(site.name)}: {_plain('; '.join(site.not_annotated))}"
        for site in site_rows(result)
        if site.not_annotated
    ]
    return [*lines, "", *excluded] if excluded else lines


def _training(result: Result, job: dict[str, Any]) -> list[str]:
    model, training = job.get("model") or {}, job.get("training") or {}
    strategy, optimizer = job.get("strategy") or {}, training.get("optimizer") or {}
    lines = [
        (
            f"- Model: {_plain(model.get('name', UNDEFINED))}, "
            f"{count_text(result.get('num_parameters'))} parameters"
        ),
        (f"- Length: {rounds_text(result)}, each of {_steps_text(training.get('local_steps'))}"),
        (
            f"- Local optimizer: {_plain(optimizer.get('name', UNDEFINED))}, "
            f"learning rate {optimizer.get('learning_rate', UNDEFINED)}"
        ),
        (
            f"- Strategy: {_plain(strategy.get('name', UNDEFINED))}, "
            f"{_WEIGHTINGS.get(str(strategy.get('weighting')), 'weighting not recorded')}"
        ),
    ]
    if sentence := selection_sentence(result):
        lines.append(f"- {_plain(sentence)}")
    return ["## Training", "", *lines]


def _steps_text(steps: object) -> str:
    return counted(steps, "local step") if isinstance(steps, int) else f"{UNDEFINED} local steps"


def _metrics(result: Result) -> list[str]:
    rows, compared = metric_rows(result), has_baselines(result)
    if not rows:
        return ["## Metrics", "", "No test metric was recorded."]
    titles = ["Metric", "Federated", "95 % interval", "Cases"]
    titles += ["Pooled data", "Local mean"] if compared else []
    lines = [f"| {' | '.join(titles)} |", "|---|" + "---:|" * (len(titles) - 1)]
    for row in rows:
        cells = [_plain(row.label), row.value, row.interval, row.support]
        cells += [row.pooled, row.local] if compared else []
        lines.append(f"| {' | '.join(cells)} |")
    lines += _findings(result)
    reasons = undefined_reasons(main_metrics(result, pooled_test_metrics(result)))
    reasons += finding_reasons(result)
    notes = [*_bullets(reasons), *_bullets(figure_notes(result))]
    if thresholds := threshold_rows(result):
        listed = ", ".join(f"{name} {value}" for name, value in thresholds)
        notes.append(f"- Decision thresholds kept with the model: {_plain(listed)}.")
    return ["## Metrics", "", *lines, "", *notes]


def _findings(result: Result) -> list[str]:
    rows = finding_rows(result)
    if not rows:
        return []
    titles = ("Finding", "AUC", "95 % interval", "Sensitivity", "Specificity", "F1")
    lines = ["", f"| {' | '.join((*titles, 'With', 'Without'))} |", "|---|" + "---:|" * 7]
    for row in rows:
        rates = (row.auc, row.interval, row.sensitivity, row.specificity, row.f1)
        lines.append(f"| {' | '.join((_plain(row.name), *rates, row.positives, row.negatives))} |")
    return lines


def _limits(result: Result) -> list[str]:
    sites = ", ".join(_plain(site) for site in result.get("sites") or {}) or "the sites"
    return [
        "## Limits",
        "",
        "- No claim of clinical validity is made. The model has not been tested in care.",
        (
            f"- Test cases come from the sites that trained the model ({sites}). Other hospitals, "
            "scanners, protocols and patient groups may give other results."
        ),
        "- Age, sex, ethnicity and other subgroups were not examined here.",
        (
            "- The intervals tell the uncertainty of the test sample, not that of training again "
            "with another seed or at other sites."
        ),
    ]


def _privacy(result: Result) -> list[str]:
    statements = (aggregation_statement(result), privacy_statement(result))
    return ["## Privacy", "", *_bullets((*statements, *protection_notes(result)))]


def _reproducibility(result: Result) -> list[str]:
    versions = result.get("versions") or {}
    return [
        "## Reproducibility",
        "",
        f"- Run: {_plain(result.get('run_id', UNDEFINED))}",
        f"- Seed: {_plain('none' if result.get('seed') is None else result['seed'])}",
        f"- SHA-256 of the model: {result.get('model_sha256') or 'no model was kept'}",
        f"- Versions: {_plain(', '.join(f'{n} {v}' for n, v in versions.items()) or UNDEFINED)}",
    ]
