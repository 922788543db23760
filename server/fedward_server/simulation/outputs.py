"""What a person takes away from a simulated run: also a few test images of its sites."""

from fedward_server.reports.examples import ExamplePrediction
from fedward_server.run_outputs import write_run_outputs
from fedward_server.simulation.simulate import FinishedRun
from fedward_server.simulation.site_side import example_side

_MAX_EXAMPLES = 6


def write_outputs(run: FinishedRun, *, examples: bool) -> None:
    """Write model, result, report and model card of one run.

    Args:
        run: A finished run; its result gets the model's hash.
        examples: Put a few test images into the report.
    """
    write_run_outputs(
        run.folder,
        run.setup.job,
        run.result,
        best=run.best,
        last=run.last,
        pictures=_examples(run) if examples else [],
    )


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
