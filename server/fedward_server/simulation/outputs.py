"""Files a person takes away from a simulation."""

import json
from collections.abc import Sequence
from pathlib import Path

from fedward_common.atomic_files import write_atomically
from fedward_common.models.parameter_spec import ParameterSpec
from fedward_server.model_store import write_model
from fedward_server.reports.examples import ExamplePrediction
from fedward_server.reports.html_report import write_html_report
from fedward_server.reports.model_card import model_card_text
from fedward_server.simulation.simulate import FinishedRun, summed_up
from fedward_server.simulation.site_side import example_side

_MAX_EXAMPLES = 6


def write_outputs(out: Path, runs: Sequence[FinishedRun], *, examples: bool) -> None:
    """Write model, result, report and model card of each run, and the summary of all.

    Args:
        out: The simulation's folder.
        runs: Every seed's run.
        examples: Put a few test images into each report.
    """
    for run in runs:
        run.result["model_sha256"] = write_model(
            run.folder / "model",
            run.setup.job,
            _spec_of(run),
            best=run.best,
            last=run.last,
            result=run.result,
        )
        _write_json(run.folder / "result.json", run.result)
        card = model_card_text(run.result)
        write_atomically(run.folder / "model_card.md", card.encode())
        pictures = _examples(run) if examples else []
        write_html_report(run.folder / "report.html", run.result, pictures)
    if len(runs) > 1:
        _write_json(out / "result.json", summed_up(runs))


def _spec_of(run: FinishedRun) -> ParameterSpec:
    from fedward_server.simulation.initial_weights import spec_of_job

    return spec_of_job(run.setup.job)


def _write_json(path: Path, content: object) -> None:
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
