"""`fedward`: the command of coordinators and researchers.

Commands import what they need when they run, so `fedward --help` is there at once. An error is one
line with a hint under it; `--debug` shows the traceback.
"""

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from fedward_common.command_line import CommandLine
from fedward_server.consortium.cli_group import consortium_app
from fedward_server.coordinator.command_options import HomeOption, JsonOption
from fedward_server.coordinator.commands.cli_group import runs_app

DEFAULT_PARTS = 10
MAX_SEED = 2**63 - 1

app = typer.Typer(
    help="Federated learning across hospitals: images stay, a jointly trained model leaves.\n\n"
    "Try it: fedward demo --out demo-out",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
job_app = typer.Typer(help="Write and check job files.", no_args_is_help=True)
app.add_typer(job_app, name="job")
coordinator_app = typer.Typer(help="Serve hospitals and run runs.", no_args_is_help=True)
app.add_typer(coordinator_app, name="coordinator")
app.add_typer(consortium_app, name="consortium")
app.add_typer(runs_app)
_COMMAND_LINE = CommandLine.with_options(app, "fedward")


@app.command(
    epilog="Example: fedward simulate examples/pneumonia.toml "
    "--cohorts examples/pneumonia.cohorts.toml --data-root DATA --baselines --out out/pneumonia"
)
def simulate(
    job: Annotated[Path, typer.Argument(help="The job file.", show_default=False)],
    cohorts: Annotated[Path, typer.Option(help="Which data each simulated hospital holds.")],
    out: Annotated[Path, typer.Option(help="Folder for everything the simulation leaves.")],
    data_root: Annotated[
        Path | None,
        typer.Option(help="Folder that the cohorts' paths are relative to.  [default: theirs]"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of everything random.")] = 0,
    seeds: Annotated[
        str | None, typer.Option(help="Several seeds, a run each: 0,1,2", metavar="LIST")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the job: key=value,key=value", metavar="KEY=VALUE"),
    ] = None,
    baselines: Annotated[
        bool, typer.Option(help="Also train on pooled data, and at each site alone.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is in --out.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, max=1024, help="Worker processes; 0 runs sites in turn.  [default: cores]"
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, max=256, help="Torch threads a site trains with.")
    ] = 1,
    examples: Annotated[bool, typer.Option(help="Put a few test images into the report.")] = True,
    partition: Annotated[
        str | None,
        typer.Option(
            help="Ignore the file's sites and cut all patients into --sites of them: "
            "dirichlet:ALPHA, the smaller the less alike.",
            metavar="dirichlet:ALPHA",
        ),
    ] = None,
    sites: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="How many, with --partition.  [default: 10]"),
    ] = None,
    hold_out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The public set that the job's [hold_out] names."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print result.json on stdout.")] = False,
) -> None:
    """Simulate a federation on this machine, with the code that hospitals run."""
    from fedward_server.simulation.command import SimulateOptions, run_simulate

    run_simulate(
        SimulateOptions(
            job_file=job,
            cohorts_file=cohorts,
            data_root=data_root,
            out=out,
            seeds=_seeds(seed, seeds),
            overrides=tuple(_overrides(set_)),
            baselines=baselines,
            resume=resume,
            workers=workers,
            threads=threads,
            examples=examples,
            partition=_partition(partition, sites),
            hold_out=hold_out,
            json=json_,
        )
    )


@app.command(epilog="Example: fedward phantom --hospitals 3 --patients 40 --quirks --out hospitals")
def phantom(
    out: Annotated[Path, typer.Option(help="Folder for the hospitals; new or empty.")],
    hospitals: Annotated[int, typer.Option(min=1, max=5, help="How many.")] = 3,
    patients: Annotated[
        str,
        typer.Option(metavar="N", help="In each hospital, 10 or more; or one for each: 60,40,24"),
    ] = "40",
    kind: Annotated[
        Literal["chest", "ct", "both"],
        typer.Option(help="X-ray-like images, CT-like series, or both in one archive."),
    ] = "chest",
    image_size: Annotated[
        int, typer.Option(min=32, max=2048, help="Pixels along each side of a picture.")
    ] = 64,
    quirks: Annotated[
        bool, typer.Option("--quirks", help="Add every fault that `cohort check` must find.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of everything random.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print what was made on stdout.")] = False,
) -> None:
    """Make DICOM hospitals that Fedward draws itself, with lesions, masks and label files."""
    from fedward_server.simulation.phantom_command import PhantomOptions, run_phantom

    run_phantom(
        PhantomOptions(out, hospitals, patients, kind, image_size, quirks, seed), json_output=json_
    )


@app.command(
    epilog="Example: fedward dicomize examples/pneumonia.toml "
    "--cohorts examples/pneumonia.cohorts.toml --data-root DATA --out dicom/pneumonia"
)
def dicomize(
    job: Annotated[Path, typer.Argument(help="The job file.", show_default=False)],
    cohorts: Annotated[Path, typer.Option(help="Which data each hospital holds.")],
    out: Annotated[Path, typer.Option(help="Folder for the hospitals; new or empty.")],
    data_root: Annotated[
        Path | None,
        typer.Option(help="Folder that the cohorts' paths are relative to.  [default: theirs]"),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print what was made on stdout.")] = False,
) -> None:
    """Wrap arrays, pictures and volumes into DICOM hospitals, ready to be registered."""
    from fedward_server.simulation.dicomize_command import run_dicomize

    run_dicomize(job, cohorts, data_root, out, json_output=json_)


@app.command(epilog="Example: fedward demo --out demo-out")
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo leaves.")] = Path(
        "demo-out"
    ),
    json_: Annotated[bool, typer.Option("--json", help="Print both results on stdout.")] = False,
) -> None:
    """Show a whole federation of three phantom hospitals, in under three minutes."""
    from fedward_server.simulation.demo import run_demo

    run_demo(out, json_output=json_)


@app.command(
    epilog="Example: fedward epsilon --patients 4708 --batch 256 --steps 551 "
    "--noise-multiplier 1.021 --delta 1e-5"
)
def epsilon(
    patients: Annotated[int, typer.Option(metavar="N", help="Training patients of the site.")],
    batch: Annotated[int, typer.Option(metavar="N", help="Patients in a step, on average.")],
    steps: Annotated[int, typer.Option(metavar="N", help="Local steps of the whole run.")],
    noise_multiplier: Annotated[
        float, typer.Option(metavar="X", help="Noise over the clipping norm.")
    ],
    delta: Annotated[float, typer.Option(metavar="X", help="At most 1 / (10 patients).")],
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what private training with a given noise costs each patient."""
    from fedward_server.privacy_command import Schedule, epsilon_of_noise, show

    answer = epsilon_of_noise(Schedule(patients, batch, steps, delta), noise_multiplier)
    show(answer, json_output=json_)


@app.command(
    epilog="Example: fedward noise --patients 4708 --batch 256 --steps 551 --epsilon 8 --delta 1e-5"
)
def noise(
    patients: Annotated[int, typer.Option(metavar="N", help="Training patients of the site.")],
    batch: Annotated[int, typer.Option(metavar="N", help="Patients in a step, on average.")],
    steps: Annotated[int, typer.Option(metavar="N", help="Local steps of the whole run.")],
    epsilon: Annotated[float, typer.Option(metavar="X", help="What a patient may be charged.")],
    delta: Annotated[float, typer.Option(metavar="X", help="At most 1 / (10 patients).")],
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say how much noise private training needs to stay within an epsilon."""
    from fedward_server.privacy_command import Schedule, noise_for_epsilon, show

    answer = noise_for_epsilon(Schedule(patients, batch, steps, delta), epsilon)
    show(answer, json_output=json_)


@job_app.command("new", epilog="Example: fedward job new my-job.toml --task segmentation")
def job_new(
    file: Annotated[Path, typer.Argument(help="Where to write it.", show_default=False)],
    task: Annotated[str, typer.Option(help="classification, multi-label or segmentation")] = (
        "classification"
    ),
) -> None:
    """Write a commented job file to begin from."""
    from fedward_server.job_command import write_new_job

    write_new_job(file, task)


@job_app.command("check", epilog="Example: fedward job check my-job.toml")
def job_check(
    file: Annotated[Path, typer.Argument(help="The job file.", show_default=False)],
    json_: Annotated[bool, typer.Option("--json", help="Print the resolved job.")] = False,
) -> None:
    """Check a job file and show it with every default resolved."""
    from fedward_server.job_command import show_job

    show_job(file, json_output=json_)


@coordinator_app.command(
    "init", epilog="Example: fedward coordinator init --home coordinator --host 127.0.0.1"
)
def coordinator_init(
    home: HomeOption,
    host: Annotated[
        str | None,
        typer.Option(help="Name or IP address that hospitals connect to.", show_default=False),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where it listens.")] = 8443,
    office: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The consortium's office on this machine: join it at once, with its passphrase.",
            show_default=False,
        ),
    ] = None,
    organisation: Annotated[
        str | None,
        typer.Option(help="The legal body it belongs to; with --office.", show_default=False),
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of the office, one line, mode 0600.  [default: ask]"),
    ] = None,
    renew_tls: Annotated[
        bool, typer.Option("--renew-tls", help="Only make the next TLS certificate of a home.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Make a home with a TLS authority and settings of its own, for trying and small consortia."""
    from fedward_server.consortium.desk import desk_at
    from fedward_server.coordinator.init_command import run_coordinator_init, run_renew_tls

    if renew_tls:
        run_renew_tls(home)
        return
    if host is None:
        raise typer.BadParameter("--host is needed: where hospitals connect to")
    if (office is None) != (organisation is None):
        raise typer.BadParameter("--office and --organisation go together")
    desk = None if office is None else desk_at(office, passphrase_file)
    run_coordinator_init(
        home, host=host, port=port, organisation=organisation or "", desk=desk, json_output=json_
    )


@coordinator_app.command(
    "join", epilog="Example: fedward coordinator join --token-file coordinator.token --home DIR"
)
def coordinator_join(
    home: HomeOption,
    token: Annotated[str | None, typer.Argument(help="What the office gave.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The same in a file.")
    ] = None,
    answer: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What the office answered.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Ask the consortium's office for a certificate; then again with its --answer."""
    from fedward_server.consortium.coordinator_command import run_coordinator_join

    run_coordinator_join(home, token=token, token_file=token_file, answer=answer, json_output=json_)


@coordinator_app.command("start", epilog="Example: fedward coordinator start --home coordinator")
def coordinator_start(
    home: HomeOption,
    office: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The consortium's office on this machine: sites join and renew online.  "
            "[default: as coordinator.toml says, else by files]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve until SIGTERM; runs that are not over go on. Tells what happens in lines of JSON."""
    from fedward_server.coordinator.start_command import start_coordinator

    start_coordinator(home, office)


def _partition(text: str | None, num_sites: int | None) -> tuple[int, float] | None:
    if text is None:
        if num_sites is not None:
            raise typer.BadParameter("--sites needs --partition, such as dirichlet:0.3")
        return None
    kind, _, number = text.partition(":")
    try:
        alpha = float(number)
    except ValueError:
        alpha = math.nan
    if kind != "dirichlet" or not 0 < alpha <= 1e6:
        raise typer.BadParameter("write dirichlet:ALPHA with a number above 0: dirichlet:0.3")
    return num_sites or DEFAULT_PARTS, alpha


def _seeds(seed: int, seeds: str | None) -> tuple[int, ...]:
    if seeds is None:
        return (seed,)
    try:
        numbers = tuple(int(part) for part in seeds.split(","))
    except ValueError:
        raise typer.BadParameter("numbers with commas between them: 0,1,2") from None
    if len(set(numbers)) != len(numbers) or not 0 <= min(numbers) <= max(numbers) <= MAX_SEED:
        raise typer.BadParameter("each seed once, from 0 to 2^63 - 1")
    return numbers


def _overrides(values: list[str] | None) -> list[str]:
    """Split `a=1,b=2`, but not inside brackets or quotes: `a=[1,2]` is one."""
    parts: list[str] = []
    for value in values or []:
        depth, start, quoted = 0, 0, False
        for at, letter in enumerate(value):
            quoted ^= letter == '"'
            depth += (letter in "[{") - (letter in "]}")
            if letter == "," and depth == 0 and not quoted:
                parts.append(value[start:at])
                start = at + 1
        parts.append(value[start:])
    return parts


def main() -> None:
    """Run the command line; whatever goes wrong is one line and a hint."""
    _COMMAND_LINE.run()
