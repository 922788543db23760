from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fedward_server.reports import report_view
from fedward_server.reports.examples import ExamplePrediction
from fedward_server.reports.figure_text import UNDEFINED
from fedward_server.reports.html_report import html_of, write_html_report

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'"
VOID = {"meta", "link", "br", "img", "use", "path", "input", "hr"}


class _Page(HTMLParser):
    """Collects the tags, attributes and text, and checks that tags are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def _poisoned(value: Any) -> Any:
    """Put hostile text into every name and every text of a result."""
    if isinstance(value, dict):
        return {key: _poisoned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_poisoned(inner) for inner in value]
    return value + HOSTILE if isinstance(value, str) and value not in KEPT else value


KEPT = {"completed", "failed", "classification", "segmentation", "auc", "dice", "ema", "none"}


@pytest.mark.parametrize("kind", ["classification", "multi-label", "segmentation", "bare"])
def test_text_from_elsewhere_is_harmless_wherever_it_stands(
    kind: str,
    any_result: Callable[[str], dict[str, Any]],
    segmentation_examples: list[ExamplePrediction],
) -> None:
    result = _poisoned(any_result(kind))
    for part in ("sites", "metrics_per_site", "metrics", "thresholds", "versions"):
        if result.get(part):
            result[part] = {**result[part], HOSTILE: next(iter(result[part].values()))}
    first = segmentation_examples[0]
    example = ExamplePrediction(
        HOSTILE, HOSTILE, first.image, first.truth, first.prediction, HOSTILE
    )
    page = _Page(html_of(result, [example]))
    assert not page.tags & {"script", "img", "iframe", "link", "foreignobject"}
    assert not any(name.startswith("on") for name in page.attributes)
    assert "<script>alert('x')</script>" in page.text


@pytest.mark.parametrize("kind", ["classification", "multi-label", "segmentation", "bare"])
def test_the_page_needs_nothing_from_outside(
    kind: str,
    any_result: Callable[[str], dict[str, Any]],
    segmentation_examples: list[ExamplePrediction],
) -> None:
    html = html_of(any_result(kind), segmentation_examples)
    namespaces = ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink")
    for namespace in namespaces:
        html = html.replace(namespace, "")
    assert "http" not in html.replace("http-equiv", "")
    assert "default-src 'none'" in html
    page = _Page(html)
    assert len(page.ids) == len(set(page.ids))


def test_a_classification_report_shows_every_part(classification: dict[str, Any]) -> None:
    text = _Page(html_of(classification)).text
    for part in (
        "Pneumonia, three hospitals",
        "0.936 to 0.970",
        "Federated, pooled, and alone",
        "hospA alone",
        "ROC on the test cases",
        "called pneumonia",
        "93.3 %",
        "all of one class",
        "2000 to 4999",
        "3 E_IMAGE_UNREADABLE: the image could not be read",
        "12, 40 to 41",
        "visible to the coordinator",
        "not an average of averages",
        "0.0004 at most",
        classification["model_sha256"],
        "[training.optimizer]",
        "[[task.classes]]",
    ):
        assert part in text, part


def test_a_segmentation_report_shows_structures_and_examples(
    segmentation: dict[str, Any], segmentation_examples: list[ExamplePrediction]
) -> None:
    text = _Page(html_of(segmentation, segmentation_examples)).text
    assert "Dice, posterior is undefined: no test case has this structure" in text
    assert "slice 26" in text
    assert "reference, solid" in text
    assert "Federated, pooled, and alone" not in text


def test_an_example_says_that_its_class_is_not_the_one_by_the_threshold(
    classification: dict[str, Any], segmentation_examples: list[ExamplePrediction]
) -> None:
    told = "Told is the likeliest class"
    examples = [replace(segmentation_examples[0], truth=None, prediction=None)]
    assert told in html_of(classification, examples)
    assert told not in html_of(classification)


def test_a_failed_run_has_a_report_too(bare: dict[str, Any]) -> None:
    bare.update(status="failed", error="hospA and hospB did not answer", rounds_completed=0)
    assert "The run failed after 0 of 150 rounds: hospA and hospB" in _Page(html_of(bare)).text


def test_each_part_may_be_null_alone(classification: dict[str, Any]) -> None:
    drawn = {"job", "selected", "metrics", "baselines", "history", "roc"}
    for key in drawn:
        _Page(html_of({**classification, key: None}))
    undrawn = {**classification, "baselines": None, "history": None, "roc": None}
    for key in classification.keys() - drawn:
        _Page(html_of({**undrawn, key: None}))


def test_a_result_without_any_part_is_a_page_still() -> None:
    assert "recorded no test metric" in _Page(html_of({})).text


def test_the_same_result_gives_the_same_file(
    tmp_path: Path,
    segmentation: dict[str, Any],
    segmentation_examples: list[ExamplePrediction],
) -> None:
    for name in ("a.html", "b.html"):
        write_html_report(tmp_path / name, segmentation, segmentation_examples)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


def as_a_coordinator_knows_it(result: dict[str, Any]) -> dict[str, Any]:
    """Take away what only a simulation tells."""
    unknown: dict[str, Any] = {"counts": None, "cases": None, "excluded": {}}
    sites = {name: {**site, **unknown} for name, site in result["sites"].items()}
    nothing = {"metrics_per_site": None, "baselines": None}
    return {**result, **nothing, "sites": sites, "seconds": {"total": 236.0}}


def test_the_report_of_hospitals_has_no_empty_columns_and_says_who_has_their_figures(
    classification: dict[str, Any],
) -> None:
    known = as_a_coordinator_knows_it(classification)
    text = _Page(html_of(known)).text
    assert "Site Published band Unit Share hospA" in text
    assert f"fedward-site result {known['run_id']}" in text
    assert "Time 3 min 56 s Model" in text
    assert "Share of the total" not in text
    assert "dash stands" not in text
    simulated = _Page(html_of(classification)).text
    assert "Training Validation Test Images Share" in simulated
    assert "Share of the total" in simulated


def test_a_site_has_its_share_of_a_round_or_only_evaluates(classification: dict[str, Any]) -> None:
    first, second, third = classification["sites"].values()
    first["weight"], second["weight"], third["weight"] = 3.0, 1.0, 1.0
    third["trains"] = False
    shares = [row.share for row in report_view.site_rows(classification)]
    assert shares == ["75.0 %", "25.0 %", "evaluates only"]
    for site in (first, second):
        site["weight"] = None
    third["trains"] = True
    shares = [row.share for row in report_view.site_rows(classification)]
    assert shares == [UNDEFINED, UNDEFINED, "100.0 %"]
