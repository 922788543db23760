"""What a result means, in plain sentences: the verdict, who could see what, how figures are made.

Each statement follows from the result alone and promises nothing that is not recorded there.
"""

from collections.abc import Mapping

from fedward_server.reports.comparison import (
    headline_metric,
    is_multi_label,
    local_mean,
    pooled_metrics,
    pooled_test_metrics,
)
from fedward_server.reports.figure_text import (
    UNDEFINED,
    Result,
    counted,
    figure_value,
    finite,
    interval_text,
    metric_in_sentence,
    metric_label,
    number_text,
    reason_text,
    rounds_text,
    value_text,
)
from fedward_server.reports.privacy_view import is_private, is_simulation, protects

_SAME = 0.0005


def verdict(result: Result) -> str:
    """Say in one sentence what came out, with the interval and the baselines where they exist."""
    if result.get("status") == "failed":
        return _failure_sentence(result)
    name = headline_metric(result)
    if name is None:
        return "The run completed, but recorded no test metric."
    figure = pooled_test_metrics(result)[name]
    value = figure_value(figure)
    if value is None:
        return f"The {metric_label(name)} of the model is undefined: {reason_text(figure)}."
    reached = f"The federated model reached {_quantity(name)} of {value:.3f}"
    if (interval := interval_text(figure)) != UNDEFINED:
        reached += f" (95 % interval {interval})"
    support = figure_value(figure, "support")
    if support is not None:
        reached += f" on {counted(round(support), 'pooled test case')}"
        reached += " or more of each finding" if is_multi_label(result) else ""
    compared = _baseline_clauses(result, name, value)
    return reached + (": " + ", and ".join(compared) if compared else "") + "."


def _failure_sentence(result: Result) -> str:
    error = str(result.get("error") or "no reason was recorded")
    return f"The run failed after {rounds_text(result)}: {error.rstrip('.')}."


def _quantity(name: str) -> str:
    shown = metric_in_sentence(name)
    return f"{'an' if shown[0] in 'AaEeIiOo' else 'a'} {shown}"


def _baseline_clauses(result: Result, name: str, value: float) -> list[str]:
    clauses = []
    if (pooled := figure_value(pooled_metrics(result).get(name))) is not None:
        distance = _distance(value, pooled)
        clauses.append(f"{distance} a model trained on all data in one place ({pooled:.3f})")
    if (alone := local_mean(result, name)) is not None:
        distance = _distance(value, alone)
        clauses.append(f"{distance} the mean of the models each site trained alone ({alone:.3f})")
    return clauses


def _distance(value: float, other: float) -> str:
    if abs(value - other) < _SAME:
        return "equal to"
    return f"{abs(value - other):.3f} {'above' if value > other else 'below'}"


def updates_hidden(result: Result) -> bool:
    """Say whether secure aggregation kept single updates from the coordinator."""
    return bool((result.get("secure_aggregation") or {}).get("enabled"))


def aggregation_statement(result: Result) -> str:
    """Say what the coordinator could see of one site's update."""
    section = result.get("secure_aggregation") or {}
    if updates_hidden(result):
        simulated = (
            " In a simulation one machine holds all sites and keys: this shows what a coordinator "
            "would see, and hides nothing from whoever ran it."
        )
        seen = f"the coordinator saw {_what_was_seen(section)}, never the update or the evaluation "
        seen += "of one site, as long as fewer than a third of a round's sites work with it."
        seen += simulated if is_simulation(result) else ""
        return "Secure aggregation was on: " + seen + _what_was_left_out(section)
    return (
        "Secure aggregation was off: each site's update and its evaluation sums were visible to "
        "the coordinator in every round. Whoever runs the coordinator could examine them, and a "
        "single update can give away something about the images it was trained on."
    )


def aggregation_line(result: Result) -> str:
    """Say in one line what the coordinator saw of the sites; "" where nothing was recorded."""
    section = result.get("secure_aggregation")
    if not section:
        return ""
    if not updates_hidden(result):
        return "Secure aggregation: off, the coordinator saw each site's update and evaluation"
    line = f"Secure aggregation: the coordinator saw {_what_was_seen(section)}"
    return f"{line}; in a simulation it hides nothing" if is_simulation(result) else line


def _what_was_seen(section: Mapping[str, object]) -> str:
    ready, threshold = finite(section.get("sites_ready")), finite(section.get("threshold"))
    if ready is None or threshold is None:
        return "only sums over sites"
    least, most = round(threshold), round(ready)
    of_them = f"all {most}" if least == most else f"at least {least} of {most}"
    return f"only sums over {of_them} sites"


def _what_was_left_out(section: Mapping[str, object]) -> str:
    text = ""
    if clipped := finite(section.get("values_clipped")):
        text += (
            f" {counted(round(clipped), 'value')} of updates had no room in it and were clipped."
        )
    lost = section.get("rounds_left_out")
    if isinstance(lost, list) and lost:
        named = ", ".join(str(number) for number in lost)
        text += f" The sum was lost in {counted(len(lost), 'round')} ({named}), left out."
    return text


def privacy_statement(result: Result) -> str:
    """Say what bound differential privacy puts on what can be learned, or that there is none."""
    privacy = result.get("privacy") or {}
    unit = str(privacy.get("unit") or "image")
    if not is_private(result):
        return (
            "There was no differential privacy: nothing bounds what the updates or the finished "
            f"model reveal about a single {unit}. Treat the model file as carefully as data "
            "derived from patients."
        )
    statement = (
        f"Differential privacy ({privacy['mechanism']}) "
        f"{'protects' if protects(result) else 'would protect'} each {unit}: epsilon "
        f"{_epsilon_text(privacy.get('epsilon'))} at delta {_small_text(privacy.get('delta'))}, "
        f"{_accounted(privacy.get('accountant'))}."
    )
    if not protects(result):
        statement += (
            f" Here it protects no {unit}, for the noise came from a seed that others know."
        )
    if privacy["mechanism"] == "joint":
        statement += " It holds against whoever sees sums over all sites only."
        if not updates_hidden(result):
            statement += (
                " Here the coordinator saw each site's part, which carries only a share of the "
                "noise, so against the coordinator the bound is weaker."
            )
    return statement


def _accounted(accountant: object) -> str:
    if accountant == "PLD":
        return "accounted by privacy loss distributions (PLD)"
    return f"accounted with {accountant or 'an accountant that was not recorded'}"


def _epsilon_text(epsilon: object) -> str:
    if isinstance(epsilon, Mapping):
        return ", ".join(f"{_small_text(value)} ({site})" for site, value in epsilon.items())
    return _small_text(epsilon)


def _small_text(value: object) -> str:
    number = finite(value)
    return "not recorded" if number is None else f"{number:.4g}"


def protection_notes(result: Result) -> tuple[str, ...]:
    """List what limits the protection: the unit, exact evaluation, noise that can be repeated."""
    privacy = result.get("privacy") or {}
    notes = []
    if (unit := privacy.get("unit")) and unit != "patient":
        notes.append(
            f"The unit is the {unit}, because the data name no patients: "
            f"one patient may stand behind several of them."
        )
    if not privacy.get("evaluation_private"):
        notes.append(
            "Evaluation is exact: the sums from which the validation and test figures are made "
            "carry no noise."
        )
    if is_private(result) and not protects(result):
        notes.append(
            "The noise came from a seed, as in any simulation, so whoever knows the seed can "
            "remove it: this run shows what privacy costs and protects nobody "
            "(noise_is_private: false in result.json)."
        )
    return tuple(notes)


def figure_notes(result: Result) -> tuple[str, ...]:
    """Say how the figures are made: pooled over sites, and how exact the AUC is."""
    notes = [
        (
            "A figure is of all sites' patients pooled, not an average of averages: their sums "
            "are added up first, and each figure is computed once from the sums. "
            "Intervals cover 95 % and reflect the number of test cases alone."
        )
    ]
    figures = pooled_test_metrics(result)
    bounds = [figure_value(figures[name], "bin_bound") for name in figures if "auc" in name]
    if known := [bound for bound in bounds if bound is not None]:
        moved = f"moves it by {max(known):.2g} at most" if max(known) else "did not move it"
        notes.append(
            "The AUC is computed from histograms of scores, which can be added up across sites; "
            f"sorting scores into bins {moved}."
        )
    if left_out := _excluded_texts(result):
        notes.append("Cases left out of a figure: " + "; ".join(left_out) + ".")
    return tuple(notes)


def _excluded_texts(result: Result) -> list[str]:
    figures = pooled_test_metrics(result).items()
    counts = {name: figure_value(figure, "excluded") or 0 for name, figure in figures}
    return [f"{metric_label(name)} {count:,.0f}" for name, count in counts.items() if count]


def selection_sentence(result: Result) -> str:
    """Say which round's weights were kept, and why, and which rounds' were not; empty without."""
    selected = result.get("selected") or {}
    if not selected:
        return ""
    metric = metric_in_sentence(str(selected.get("metric", "loss")))
    averaged = " (moving average of the global weights)" if selected.get("weights") == "ema" else ""
    return (
        f"The weights of round {selected.get('round')}{averaged} were kept: "
        f"their validation {metric} was the best, "
        f"{number_text(finite(selected.get('value')))}." + _rejected_text(result)
    )


def _rejected_text(result: Result) -> str:
    """Name the rounds that the gate on a public set left out, with a space before it."""
    section = result.get("hold_out") or {}
    rejected = section.get("rounds_rejected")
    if not isinstance(rejected, list) or not rejected:
        return ""
    named = ", ".join(str(number) for number in rejected)
    metric = metric_in_sentence(str(section.get("metric", "loss")))
    drop = number_text(finite(section.get("largest_drop")))
    return (
        f" {counted(len(rejected), 'round')} ({named}) made the {metric} on a public "
        f"hold-out set worse by more than {drop}, and the weights before were kept."
    )


def undefined_reasons(figures: Mapping[str, object], where: str = "") -> tuple[str, ...]:
    """List the undefined figures with their reasons, those of one reason together."""
    grouped: dict[str, list[str]] = {}
    for name, figure in figures.items():
        if value_text(figure) == UNDEFINED:
            grouped.setdefault(reason_text(figure), []).append(metric_label(name))
    prefix = f"{where}, " if where else ""
    return tuple(f"{prefix}{', '.join(names)}: {reason}" for reason, names in grouped.items())
