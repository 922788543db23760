"""The jobs that a site was asked for, and what the hospital decided about each.

```
jobs/RUN/manifest.cbor    what was asked for; written last, and never replaced by another
jobs/RUN/roster.cbor      the signed roster that it names
jobs/RUN/asked.json       when, and by which coordinator
jobs/RUN/decision.json    approved, refused or withdrawn; by whom, when, and with which cohort
jobs/paused.json          while nothing is done for any job
```
Files are whole or not there. Who writes holds `jobs/.lock`.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fedward_client.site_home import SiteHome
from fedward_common.atomic_files import write_atomically
from fedward_common.errors import (
    ConfigurationError,
    CorruptFileError,
    FedwardError,
    UnverifiedMessageError,
)
from fedward_common.file_lock import held_lock
from fedward_common.settings import from_table
from fedward_common.wire.manifest import Manifest, decode_manifest, hash_of_manifest

MAX_WAITING = 100

Decided = Literal["approved", "refused", "withdrawn"]
State = Literal["waiting", "approved", "under way", "tested", "refused", "withdrawn"]


@dataclass(frozen=True)
class Decision:
    """What somebody at the hospital decided.

    Attributes:
        cohort: The one that the job may use; empty unless approved.
        manifest_sha256: Of the manifest that was decided on.
    """

    state: Decided
    by: str
    utc_seconds: float
    cohort: str
    manifest_sha256: str


@dataclass(frozen=True)
class KeptJob:
    """One job as the home has it.

    Attributes:
        asked_utc_seconds: When it was first asked for; None where it was accepted unasked.
        accepted_utc_seconds: When this site accepted it; None where it has not.
    """

    run: str
    manifest: Manifest
    manifest_sha256: str
    asked_utc_seconds: float | None
    decision: Decision | None
    accepted_utc_seconds: float | None
    is_tested: bool

    @property
    def state(self) -> State:
        """Where the job stands."""
        decided = self.decision.state if self.decision else None
        if decided == "withdrawn":
            return "withdrawn"
        if self.accepted_utc_seconds is not None:
            return "tested" if self.is_tested else "under way"
        return decided or "waiting"

    @property
    def approved_utc_seconds(self) -> float | None:
        """When a person or the policy let it in; None where neither has."""
        if self.decision is not None and self.decision.state == "approved":
            return self.decision.utc_seconds
        return self.accepted_utc_seconds


@contextlib.contextmanager
def jobs_locked(home: SiteHome) -> Iterator[Path]:
    """Give the folder of jobs, for one writer at a time."""
    folder = home.folder / "jobs"
    folder.mkdir(mode=0o700, exist_ok=True)
    with held_lock(folder / ".lock"):
        yield folder


def job_folder(home: SiteHome, run: str) -> Path:
    """Folder of one job; the run's name is checked before it becomes a path."""
    return home.folder / "jobs" / home.run_folder(run).name


def keep_asked_job(
    home: SiteHome, run: str, manifest: bytes, roster: bytes, *, coordinator: str, now: float
) -> bool:
    """Keep what a coordinator asks for, and say whether it is new.

    Raises:
        UnverifiedMessageError: `MANIFEST_DIFFERS`: it was asked for with another manifest before,
            and somebody may be looking at that one.
        FedwardError: `TOO_MANY_JOBS_WAIT`.
    """
    with jobs_locked(home):
        folder = job_folder(home, run)
        file = folder / "manifest.cbor"
        if file.exists():
            if file.read_bytes() != manifest:
                raise UnverifiedMessageError(
                    "the run was asked for with another manifest", code="MANIFEST_DIFFERS"
                )
            return False
        waiting = [one for one in _names_in(home) if read_decision(home, one) is None]
        if len(waiting) >= MAX_WAITING:
            raise FedwardError(
                f"{len(waiting)} jobs are undecided, at most {MAX_WAITING} are kept",
                hint="decide on some: fedward-site jobs",
                code="TOO_MANY_JOBS_WAIT",
            )
        folder.mkdir(mode=0o700, exist_ok=True)
        asked = {"utc_seconds": round(now, 3), "coordinator": coordinator}
        write_atomically(folder / "asked.json", json.dumps(asked).encode(), mode=0o600)
        write_atomically(folder / "roster.cbor", roster, mode=0o600)
        write_atomically(file, manifest, mode=0o600)
        return True


def read_decision(home: SiteHome, run: str) -> Decision | None:
    """Give what was decided about a job; None while nothing was.

    Raises:
        CorruptFileError: It is damaged.
    """
    path = job_folder(home, run) / "decision.json"
    try:
        return from_table(Decision, json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, ConfigurationError) as error:
        raise _damaged(path) from error


def write_decision(home: SiteHome, run: str, decision: Decision) -> None:
    """Write a decision down; the caller holds the lock."""
    folder = job_folder(home, run)
    folder.mkdir(mode=0o700, exist_ok=True)
    content = json.dumps(asdict(decision), indent=1).encode()
    write_atomically(folder / "decision.json", content, mode=0o600)


def paused_by(home: SiteHome) -> dict[str, Any] | None:
    """Give who paused the site and when; None while it works.

    Raises:
        CorruptFileError: The note is damaged; the site counts as paused.
    """
    path = home.folder / "jobs" / "paused.json"
    try:
        content = json.loads(path.read_bytes())
        return {"by": str(content["by"]), "utc_seconds": float(content["utc_seconds"])}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error


def all_jobs(home: SiteHome) -> list[KeptJob]:
    """Give every job that was asked for or accepted, the newest first.

    Raises:
        CorruptFileError: One of them is damaged.
    """
    accepted = (file.parent.name for file in home.folder.glob("runs/*/manifest.cbor"))
    jobs = [read_job(home, run) for run in {*_names_in(home), *accepted}]
    return sorted(jobs, key=lambda job: (-_moment_of(job), job.run))


def _moment_of(job: KeptJob) -> float:
    return job.asked_utc_seconds or job.accepted_utc_seconds or 0.0


def _names_in(home: SiteHome) -> list[str]:
    return sorted(file.parent.name for file in home.folder.glob("jobs/*/manifest.cbor"))


def find_job(home: SiteHome, name: str) -> KeptJob:
    """Give the job of a run, by its name or by the beginning of it.

    Raises:
        ConfigurationError: There is none, or there are several.
        CorruptFileError: It is damaged.
    """
    accepted = (file.parent.name for file in home.folder.glob("runs/*/manifest.cbor"))
    known = {*_names_in(home), *accepted}
    found = [name] if name in known else sorted(run for run in known if run.startswith(name))
    if not name or len(found) != 1:
        what = "none begins" if not found else f"{len(found)} begin"
        raise ConfigurationError(
            f"no single job is meant by {name[:40]!r}: {what} so",
            hint="fedward-site jobs lists them; so many characters as are needed are enough",
        )
    return read_job(home, found[0])


def read_job(home: SiteHome, run: str) -> KeptJob:
    """Read one job of a home.

    Raises:
        CorruptFileError: It is damaged.
    """
    folder, accepted = job_folder(home, run), home.run_folder(run) / "manifest.cbor"
    is_accepted = accepted.exists()
    file = accepted if is_accepted else folder / "manifest.cbor"
    try:
        content = file.read_bytes()
        manifest = decode_manifest(content, as_record=True)
    except (OSError, FedwardError) as error:
        raise _damaged(file) from error
    return KeptJob(
        run,
        manifest,
        hash_of_manifest(content),
        _asked_at(folder / "asked.json"),
        read_decision(home, run),
        accepted.stat().st_mtime if is_accepted else None,
        (accepted.parent / "test-sums.npy").exists(),
    )


def _asked_at(path: Path) -> float | None:
    try:
        return float(json.loads(path.read_bytes())["utc_seconds"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> CorruptFileError:
    return CorruptFileError(f"{path} is damaged", hint="restore it from the backup")
