"""What `fedward-site jobs | show | approve | refuse | withdraw | pause | resume` do and print."""

import dataclasses
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedward_client.cohorts.registered.cohort_work import open_site_home
from fedward_client.jobs.job_in_words import Difference, words_of
from fedward_client.jobs.job_store import all_jobs, find_job
from fedward_client.jobs.order_socket import do
from fedward_client.jobs.orders import Order, plain_job
from fedward_client.jobs.site_status import settings_of
from fedward_common.command_line import printable


def list_jobs(home_folder: Path, *, json_output: bool) -> None:
    """List what was asked for, the newest first."""
    jobs = all_jobs(open_site_home(home_folder))
    if json_output:
        print_json({"jobs": [plain_job(job) for job in jobs]})
        return
    if not jobs:
        say("No coordinator has asked for a job yet.")
        return
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("run", "job", "asked", "state", "by", "cohort"):
        table.add_column(name, overflow="fold")
    for job in jobs:
        plain = plain_job(job)
        texts = (job.run[:12], plain["name"], moment(plain["asked"] or plain["accepted"]))
        cells = (*texts, job.state, plain["by"] or "", plain["cohort"] or "")
        table.add_row(*(escape(printable(one)) for one in cells))
    _console().print(table)
    if any(job.state == "waiting" for job in jobs):
        say("What a job would do: fedward-site show RUN")


def show_job(home_folder: Path, run: str, *, json_output: bool) -> None:
    """Say what a job would train, on what, at what cost, and what is new in it."""
    home = open_site_home(home_folder)
    job = find_job(home, run)
    words = words_of(home, job, settings_of(home))
    if json_output:
        shown = {"words": dict(words.lines), "forbidden": words.forbidden or None}
        compared = {"compared_with": words.compared_with or None}
        differences = [dataclasses.asdict(one) for one in words.differences]
        print_json(plain_job(job) | shown | compared | {"differences": differences})
        return
    say(f"Run {job.run}: {job.state}; manifest {job.manifest_sha256[:16]}")
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for topic, text in words.lines:
        table.add_row(topic, escape(printable(text)))
    _console().print(table)
    _show_differences(words.compared_with, words.differences)
    if job.state == "waiting":
        say(f"To let it in: fedward-site approve {job.run[:12]} --cohort NAME; else: refuse")


def _show_differences(compared_with: str, differences: tuple[Difference, ...]) -> None:
    if not compared_with:
        say("No other job was let in before it.")
        return
    if not differences:
        say(f"It has the same settings as the job before it, run {compared_with[:12]}.")
        return
    say(f"What differs from the job before it, run {compared_with[:12]}:")
    for one in differences:
        say(f"  {one.setting}: {_value(one.now)} (was {_value(one.before)})")


def _value(value: object) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def approve_job(home_folder: Path, run: str, cohort: str | None, *, json_output: bool) -> None:
    """Let a job in with one cohort."""
    job = do(open_site_home(home_folder), Order("approve", run, cohort))
    if json_output:
        print_json(job)
        return
    say(f"Run {job['run']} may train on cohort {job['cohort']!r}; approved by {job['by']}.")
    say("The coordinator asks again within seconds, as long as its run is open.")


def refuse_job(home_folder: Path, run: str, *, json_output: bool) -> None:
    """Keep a job out."""
    job = do(open_site_home(home_folder), Order("refuse", run))
    if json_output:
        print_json(job)
        return
    say(f"Run {job['run']} is refused; the coordinator is told so when it asks again.")


def withdraw_job(home_folder: Path, run: str, *, json_output: bool) -> None:
    """End a job at this site."""
    job = do(open_site_home(home_folder), Order("withdraw", run))
    if json_output:
        print_json(job)
        return
    say(f"Run {job['run']} trains no further round here. What left before is not taken back.")
    if job["budget_given_back"]:
        say("What it had reserved and not begun was given back to the patients' budget.")


def pause_site(home_folder: Path, *, json_output: bool) -> None:
    """Do nothing for any job from now on."""
    done = do(open_site_home(home_folder), Order("pause"))
    if json_output:
        print_json(done)
        return
    say("Nothing is begun any more for any job; what is under way is finished.")


def resume_site(home_folder: Path, *, json_output: bool) -> None:
    """Work again."""
    done = do(open_site_home(home_folder), Order("resume"))
    if json_output:
        print_json(done)
        return
    say("The site works again." if done["was_paused"] else "The site was not paused.")


def moment(utc_seconds: float | None) -> str:
    """Give a moment as people write it; empty for none."""
    if utc_seconds is None:
        return ""
    return datetime.fromtimestamp(utc_seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def say(text: str) -> None:
    """Print a line, with nothing in it taken for markup."""
    Console(highlight=False, soft_wrap=True).print(escape(printable(text)))


def _console() -> Console:
    return Console(highlight=False)


def print_json(content: dict[str, Any]) -> None:
    """Print JSON on stdout."""
    sys.stdout.write(json.dumps(content, indent=1) + "\n")
