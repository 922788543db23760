"""Looks up what `site_health` says about a site: in its home, and never in a lock that work needs.

What a run needs is looked at through the same code that a run goes through; what a run would take
long for is looked at when it changed.
"""

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from fedward_client.daemon.clock_check import ClockState
from fedward_client.daemon.ledger_check import LedgerWatch
from fedward_client.daemon.present_work import asked_at, present_work
from fedward_client.daemon.site_health import SiteFacts, site_report
from fedward_client.enrolment.membership_files import own_certificate
from fedward_client.jobs.contributions import ContributionCount
from fedward_client.jobs.job_store import all_jobs, paused_by
from fedward_client.ledger.ledger_folder import ledger_folder
from fedward_client.site_home import SiteHome
from fedward_client.site_policy import read_policy
from fedward_common.consortium.certificates import read_authority
from fedward_common.consortium.roster import verify_roster
from fedward_common.errors import FedwardError
from fedward_common.health_report import HealthReport

_DAY_SECONDS = 86_400.0


class SiteWatch:
    """One site, as its own daemon sees it.

    Args:
        home: Of the site.
        running: Gives whether each child process runs.
        utc_seconds: Gives seconds since 1970.
        now_seconds: Gives monotonic seconds.
        clock: Gives what was found of the machine's clock.
    """

    def __init__(
        self,
        home: SiteHome,
        running: Callable[[], Mapping[str, bool]],
        utc_seconds: Callable[[], float],
        now_seconds: Callable[[], float],
        clock: Callable[[], ClockState] = ClockState,
    ) -> None:
        self._home = home
        self._running = running
        self._utc_seconds = utc_seconds
        self._now_seconds = now_seconds
        self._clock = clock
        self._ledger = LedgerWatch(lambda: ledger_folder(home))
        self._contributions = ContributionCount(home)
        self._one_at_a_time = threading.Lock()

    def report(self) -> HealthReport:
        """Look once; threads take turns."""
        with self._one_at_a_time:
            return site_report(self.facts())

    def facts(self) -> SiteFacts:
        """Look everything up."""
        now, clock = self._utc_seconds(), self._clock()
        certificate_code, ends = self._certificate(now)
        jobs_code, jobs = self._jobs()
        paused_code, is_paused = self._paused()
        return SiteFacts(
            utc_seconds=now,
            codes={
                "certificate": certificate_code,
                "roster": self._roster(now),
                "policy": _code_of(lambda: read_policy(self._home)),
                "jobs": jobs_code or paused_code,
                "ledger": self._ledger.code(self._now_seconds()),
                "clock": clock.code,
            },
            running=self._running(),
            asked_utc_seconds=asked_at(self._home),
            certificate_ends_utc_seconds=ends,
            free_bytes=_free_bytes(self._home.folder),
            is_paused=is_paused,
            jobs=jobs,
            work=present_work(self._home),
            clock_offset_seconds=clock.offset_seconds,
            contributions=self._contributions.so_far(),
        )

    def _certificate(self, now: float) -> tuple[str, float | None]:
        try:
            _, own = own_certificate(self._home, now_seconds=None)
        except (FedwardError, OSError) as error:
            return _name_of(error), None
        code = _code_of(lambda: own_certificate(self._home, now_seconds=now))
        return code, float(own.not_after_seconds)

    def _roster(self, now: float) -> str:
        """Look at the rosters of runs that this site was asked about within a day."""
        for asked in sorted(self._home.folder.glob("egress/*.jsonl")):
            kept = self._home.folder / "runs" / asked.stem / "roster.cbor"
            try:
                if now - asked.stat().st_mtime > _DAY_SECONDS or not kept.exists():
                    continue
                authority = read_authority(self._home.authority_file.read_bytes())
                verify_roster(kept.read_bytes(), authority, now_seconds=now)
            except (FedwardError, OSError) as error:
                return _name_of(error)
        return ""

    def _jobs(self) -> tuple[str, Mapping[str, int] | None]:
        try:
            return "", Counter(job.state for job in all_jobs(self._home))
        except (FedwardError, OSError) as error:
            return _name_of(error), None

    def _paused(self) -> tuple[str, bool]:
        try:
            return "", paused_by(self._home) is not None
        except (FedwardError, OSError) as error:
            return _name_of(error), True  # a damaged note counts as a pause


def _code_of(look: Callable[[], object]) -> str:
    try:
        look()
    except (FedwardError, OSError) as error:
        return _name_of(error)
    return ""


def _name_of(error: FedwardError | OSError) -> str:
    return error.code if isinstance(error, FedwardError) else "UNREADABLE"


def _free_bytes(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
