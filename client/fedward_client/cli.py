"""`fedward-site`: the command of a hospital.

Commands import what they need when they run, so `fedward-site --help` is there at once. An error is
one line with a hint under it; `--debug` shows the traceback. Nothing printed names a patient.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from fedward_client.command_options import HomeOption, JsonOption
from fedward_client.enrolment.cli_commands import add_enrolment_commands
from fedward_client.jobs.cli_commands import add_job_commands
from fedward_client.ledger_group import LedgerGroup
from fedward_common.command_line import CommandLine

app = typer.Typer(
    help="A hospital's side of federated learning: its images never leave.\n\n"
    "Begin: fedward-site cohort add chest --dicom DICOM --labels labels.csv --task job.toml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cohort_app = typer.Typer(help="Register images and labels, and check them.", no_args_is_help=True)
app.add_typer(cohort_app, name="cohort")
ledger_app = typer.Typer(
    cls=LedgerGroup,
    help="What was spent of the patients' privacy, for the hospital's own eyes.\n\n"
    "fedward-site ledger [COHORT] shows it.",
    epilog="Example: fedward-site ledger chest",
)
app.add_typer(ledger_app, name="ledger")
add_enrolment_commands(app)
add_job_commands(app)
_COMMAND_LINE = CommandLine.with_options(app, "fedward-site")

NameArgument = Annotated[str, typer.Argument(help="The cohort.", show_default=False)]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show what would change; write no snapshot and no split.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="It is meant, whatever it harms.")]


@cohort_app.command(
    epilog="Example: fedward-site cohort add chest --dicom DICOM --labels labels.csv "
    "--task job.toml --map 0=normal --map 1=pneumonia --map unclear=exclude"
)
def add(
    name: NameArgument,
    home: HomeOption,
    labels: Annotated[Path, typer.Option(help="CSV file with a line for each case.")],
    task: Annotated[
        Path, typer.Option(help="Job file that says what is predicted.", metavar="JOB.toml")
    ],
    dicom: Annotated[Path | None, typer.Option(help="Folder of DICOM files.")] = None,
    dicomweb: Annotated[
        Path | None, typer.Option(help="Settings of a DICOMweb server.", metavar="FILE.toml")
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="VALUE=CLASS",
            help="What a local value means: a class of the task, 'exclude' or 'not annotated'.",
        ),
    ] = None,
    split_map: Annotated[
        list[str] | None,
        typer.Option(metavar="VALUE=SPLIT", help="A local word for train, validation or test."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=COLUMN",
            help="Where a column has no usual name: sop_instance_uid, file, series_instance_uid, "
            "study_instance_uid, accession_number, label, patient, split, mask_path, "
            "seg_sop_instance_uid, image_id, frame, or a class of a multi-label task.",
        ),
    ] = None,
    unit: Annotated[
        Literal["patient", "lesion", "image"],
        typer.Option(help="What is protected; 'image' only where there are no patient ids."),
    ] = "patient",
    cases: Annotated[
        Literal["images", "series"] | None,
        typer.Option(help="Single images, or series as volumes.  [default: by key and modality]"),
    ] = None,
    spacing_mm: Annotated[
        str | None,
        typer.Option(metavar="Z,Y,X", help="Resample volumes to this spacing."),
    ] = None,
    max_excluded_share: Annotated[
        float, typer.Option(min=0, max=1, help="Limit of unusable cases.")
    ] = 0.2,
    min_patients: Annotated[int, typer.Option(min=1, help="Limit of patients.")] = 10,
    burned_in: Annotated[
        Literal["refuse", "allow"],
        typer.Option(help="Images that may have text burned into their pixels."),
    ] = "refuse",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    json_: JsonOption = False,
) -> None:
    """Register a cohort: index the headers, match the labels, make snapshot NAME@1."""
    from fedward_client.cohort_commands import add_cohort
    from fedward_client.cohorts.registered.registration_request import (
        RegistrationRequest,
        key_value_pairs,
        spacing_of,
    )

    request = RegistrationRequest(
        name=name,
        labels=labels,
        task=task,
        dicom=dicom,
        dicomweb=dicomweb,
        label_values=key_value_pairs("--map", map_),
        split_values=key_value_pairs("--split-map", split_map),
        columns=key_value_pairs("--column", column),
        unit=unit,
        cases=cases,
        spacing_mm=spacing_of(spacing_mm),
        max_excluded_share=max_excluded_share,
        min_patients=min_patients,
        burned_in=burned_in,
    )
    add_cohort(home, request, dry_run=dry_run, yes=yes, json_output=json_)


@cohort_app.command(
    epilog="Example: fedward-site cohort update chest --dry-run, then without --dry-run"
)
def update(
    name: NameArgument,
    home: HomeOption,
    labels: Annotated[Path | None, typer.Option(help="Another label file from now on.")] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="VALUE=CLASS",
            help="What a local value means from now on; the values not named keep their meaning.",
        ),
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    json_: JsonOption = False,
) -> None:
    """Look for changes; make the next snapshot if there are any.

    Without --yes nothing is done where the test split would shrink, or a tenth of the patients
    would be lost; on a terminal you are asked.
    """
    from fedward_client.cohort_commands import update_cohort
    from fedward_client.cohorts.registered.registration_request import (
        UpdateRequest,
        key_value_pairs,
    )

    request = UpdateRequest(name, labels, key_value_pairs("--map", map_))
    update_cohort(home, request, dry_run=dry_run, yes=yes, json_output=json_)


@cohort_app.command(epilog="Example: fedward-site cohort remove chest")
def remove(
    name: NameArgument, home: HomeOption, yes: YesOption = False, json_: JsonOption = False
) -> None:
    """Remove a cohort that no run uses; its patients' splits, exclusions and reports shown stay."""
    from fedward_client.cohort_commands import remove_registration

    remove_registration(home, name, yes=yes, json_output=json_)


@cohort_app.command("rebuild-record", epilog="Example: fedward-site cohort rebuild-record")
def rebuild_record(home: HomeOption, yes: YesOption = False, json_: JsonOption = False) -> None:
    """Make a lost, damaged or outdated split record again, from all snapshots of the site."""
    from fedward_client.cohort_commands import rebuild_record

    rebuild_record(home, yes=yes, json_output=json_)


@cohort_app.command(epilog="Example: fedward-site cohort check chest")
def check(
    name: NameArgument,
    home: HomeOption,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Processes that decode.  [default: cores]"),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Decode every image, say what is wrong by code and line; exit status 1 beyond the limits."""
    from fedward_client.cohort_commands import check_cohort

    check_cohort(home, name, workers, json_output=json_)


@cohort_app.command(epilog="Example: fedward-site cohort report chest --local")
def report(
    name: NameArgument,
    home: HomeOption,
    local: Annotated[
        bool, typer.Option("--local", help="Exact counts and lines, for the hospital alone.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Also write it as a page to this file.")] = None,
    json_: JsonOption = False,
) -> None:
    """Show what a coordinator may see: bands, small cells suppressed, the same for ever."""
    from fedward_client.cohort_commands import report_cohort

    report_cohort(home, name, local=local, html=html, json_output=json_)


@cohort_app.command("list", epilog="Example: fedward-site cohort list")
def list_(home: HomeOption, json_: JsonOption = False) -> None:
    """List the registered cohorts and their snapshots."""
    from fedward_client.cohort_commands import list_cohorts

    list_cohorts(home, json_output=json_)


@cohort_app.command(epilog="Example: fedward-site cohort exclude --patients withdrawn.txt")
def exclude(
    home: HomeOption,
    patients: Annotated[
        Path, typer.Option(help="Patient ids, one a line, or a CSV file with such a column.")
    ],
    column: Annotated[
        str | None, typer.Option(help="The CSV file's column.  [default: the usual names]")
    ] = None,
    reason: Annotated[
        Literal["withdrawn", "error", "other"], typer.Option(help="Why, for the site's own record.")
    ] = "withdrawn",
    with_other_ids: Annotated[
        bool,
        typer.Option(
            "--with-other-ids", help="And all other ids with their name, birth date and sex."
        ),
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Take patients out of every cohort from the next round on; this cannot be undone."""
    from fedward_client.cohort_commands import exclude_patients

    exclude_patients(
        home, patients, column, reason, with_other_ids=with_other_ids, json_output=json_
    )


@ledger_app.command("show", epilog="Example: fedward-site ledger chest")
def show_ledger(
    home: HomeOption,
    cohort: Annotated[
        str | None, typer.Argument(help="Only runs on this cohort.", show_default=False)
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Show epsilon spent, reserved and left by run, and the most that any patient has spent."""
    from fedward_client.ledger_command import show_ledger

    show_ledger(home, cohort, json_output=json_)


@ledger_app.command("verify", epilog="Example: fedward-site ledger verify")
def verify_ledger(home: HomeOption, json_: JsonOption = False) -> None:
    """Read the whole ledger; exit status 1 if it was cut, edited or rolled back."""
    from fedward_client.ledger_command import verify_ledger

    verify_ledger(home, json_output=json_)


@ledger_app.command(
    "override",
    epilog='Example: fedward-site ledger override --first "head of radiology" '
    '--second "data protection officer" --reason "disk lost, no copy"',
)
def override_ledger(
    home: HomeOption,
    first: Annotated[str, typer.Option(help="Who signs.")],
    second: Annotated[str, typer.Option(help="Who else signs; another person.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the new ledger.")],
    assume_epsilon: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=1000.0,
            help="What every patient is taken to have spent; without it, no bound is left.",
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Begin a new ledger where the old one is damaged; nothing in the old one is trusted."""
    from fedward_client.ledger.override import Signatures
    from fedward_client.ledger_command import override

    override(home, Signatures(first, second, reason), assume_epsilon, json_output=json_)


@app.command(
    epilog="Example: fedward-site predict --model out/model --series DICOM/S1 --out S1.seg.dcm"
)
def predict(
    model: Annotated[Path, typer.Option(help="Model folder of a simulation or a run.")],
    series: Annotated[
        str, typer.Option(help="Folder of one series, or a SeriesInstanceUID.", metavar="UID|DIR")
    ],
    home: Annotated[
        Path | None,
        typer.Option("--home", envvar="FEDWARD_SITE_HOME", help="The site's folder, for a UID."),
    ] = None,
    cohort: Annotated[
        str | None, typer.Option(help="Cohort that a UID is looked up in.", metavar="NAME")
    ] = None,
    dicomweb: Annotated[
        Path | None,
        typer.Option(help="Settings of a DICOMweb server to use.", metavar="FILE.toml"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the result here, mode 0600.", metavar="FILE.dcm")
    ] = None,
    store: Annotated[
        bool, typer.Option("--store", help="Send the result to the DICOMweb server.")
    ] = False,
    spacing_mm: Annotated[
        str | None,
        typer.Option(
            metavar="Z,Y,X",
            help="Spacing that volumes were resampled to in training.  [default: the cohort's]",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite --out.")] = False,
    json_: JsonOption = False,
) -> None:
    """Run a model on one series; give a DICOM SEG or SR. Research use, not for clinical use."""
    from fedward_client.cohorts.registered.registration_request import spacing_of
    from fedward_client.prediction.command import PredictOptions, run_predict

    run_predict(
        PredictOptions(
            model=model,
            series=series,
            home=home,
            cohort=cohort,
            dicomweb=dicomweb,
            out=out,
            store=store,
            spacing_mm=spacing_of(spacing_mm),
            force=force,
            json=json_,
        )
    )


@app.command(epilog="Example: fedward-site start --home site")
def start(home: HomeOption) -> None:
    """Run the daemon until SIGTERM. Tells what happens in lines of JSON."""
    from fedward_client.daemon.start_command import start_site

    start_site(home)


def main() -> None:
    """Run the command line; whatever goes wrong is one line and a hint."""
    _COMMAND_LINE.run()
