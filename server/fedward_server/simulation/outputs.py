"""Files a person takes away from a simulation."""

import json
from pathlib import Path

from fedward_common.atomic_files import write_atomically
from fedward_server.model_store import write_model
from fedward_server.reports.examples import ExamplePrediction
from fedward_server.reports.html_report import write_html_report
from fedward_server.reports.model_card import model_card_text
from fedward_server.simulation.simulate import FinishedRun
from fedward_server.simulation.site_side import example_side

_MAX_EXAMPLES = 6


def write_outputs(run: FinishedRun, *, examples: bool) -> None:
    """Write model, result, report and model card of one run.

    Args:
        run: A finished run; its result gets the model's hash.
        examples: Put a few test images into the report.
    """
    from fedward_server.simulation.initial_weights import spec_of_job

    pictures = _examples(run) if examples else []
    run.result["model_sha256"] = write_model(
        run.folder / "model",
        run.setup.job,
        spec_of_job(run.setup.job),
        best=run.best,
        last=run.last,
        result=run.result,
    )
    write_json(run.folder / "result.json", run.result)
    write_atomically(run.folder / "model_card.md", model_card_text(run.result).encode())
    write_html_report(run.folder / "report.html", run.result, pictures)


def write_json(path: Path, content: object) -> None:
    """Write strict JSON, whole or not at all."""
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False).encode())


def _examples(run: FinishedRun) -> list[ExamplePrediction]:
    accepted = [site for site, about in run.result["sites"].items() if about["accepted"]]
    count = max(1, _MAX_EXAMPLES // max(1, len(accepted)))
    pictures = []
    for site, home in sorted(run.homes.items()):
        if site not in accepted:
            continue
        found = example_side().example_predictions(home, run.setup.manifest.run, run.best, count)
        for number, example in enumerate(found, start=1):
            title = f"Example {number}"
            pictures.append(ExamplePrediction(site=site, title=title, **example))
    return pictures[:_MAX_EXAMPLES]
