"""The folder that holds everything of one site: cohorts, trust, runs, cache.

```
site.toml           the site's name and consortium
cohorts/NAME/       a registered cohort and its snapshots (`cohort_folder`)
cohorts/NAME.toml   a cohort that is a list of files
trust/              public key of the coordinator; own signing key (0600)
consortium/         its authority's certificate, the site's own, and the newest roster seen
enrolment/          what is sent to the consortium's office (`enrolment.membership_files`)
split.key           key of the patient split; the same patient always falls into the same split
excluded_patients.json  who was taken out of every cohort; always there, sealed
split_record.sqlite     the split of every patient that was ever in a snapshot, sealed
policy.toml         what a job may spend of the patients' privacy (`site_policy`)
ledger_begun.json   says which ledger was begun here; sealed
ledger/             what was spent; trust/ledger-head.json vouches for its last entry as well
runs/RUN/           accepted manifest of a run, the snapshots it goes on with, and which messages
                    were answered (`daemon.answered_questions`)
jobs/RUN/           what was asked for, and what was decided (`jobs.job_store`)
egress/RUN.jsonl    what left, by kind and size (`jobs.egress_record`)
cache/              decoded job views; cache/native/ has what they are made from (`native_cache`)
reports/            what was excluded, for the site's own eyes
run/                while the daemon runs: its socket, when its node was answered, what is at work
audit.jsonl         who decided, what was refused; refusals.json has counts of it (`daemon.audit`)
site.log, tasks.log what happened, by code; what libraries of C print
```
Nothing here is ever sent.
"""

import functools
import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path

from fedward_client.home_seal import EXCLUDED_PATIENTS, sealed_table
from fedward_common.atomic_files import write_atomically
from fedward_common.errors import ConfigurationError


@dataclass(frozen=True)
class SiteHome:
    """Paths below one site's home folder."""

    folder: Path

    @property
    def settings_file(self) -> Path:
        """`site.toml`."""
        return self.folder / "site.toml"

    @functools.cached_property
    def excluded_patients_file(self) -> Path:
        """`excluded_patients.json`."""
        return self.folder / "excluded_patients.json"

    @functools.cached_property
    def policy_file(self) -> Path:
        """`policy.toml`."""
        return self.folder / "policy.toml"

    @property
    def ledger(self) -> Path:
        """Folder of the privacy ledger."""
        return self.folder / "ledger"

    @property
    def cohorts(self) -> Path:
        """Folder of cohort files."""
        return self.folder / "cohorts"

    @property
    def trust(self) -> Path:
        """Folder of keys."""
        return self.folder / "trust"

    @functools.cached_property
    def consortium(self) -> Path:
        """Folder of what says who belongs to the consortium."""
        return self.folder / "consortium"

    @property
    def authority_file(self) -> Path:
        """Certificate of the consortium's authority; whom it certified is believed."""
        return self.consortium / "authority.der"

    @property
    def certificate_file(self) -> Path:
        """The site's own certificate."""
        return self.consortium / "certificate.der"

    @property
    def cache(self) -> Path:
        """Folder of decoded images."""
        return self.folder / "cache"

    @property
    def daemon_folder(self) -> Path:
        """Folder of what is there only while the daemon runs."""
        return self.folder / "run"

    @property
    def reports(self) -> Path:
        """Folder of local reports."""
        return self.folder / "reports"

    def run_folder(self, run_id: str) -> Path:
        """Folder of one run; `run_id` is checked before it becomes a path."""
        if not run_id.isalnum():
            raise ConfigurationError(f"run id {run_id[:40]!r} is no plain name")
        return self.folder / "runs" / run_id

    def split_key(self) -> bytes:
        """Give the 32-byte key of the patient split."""
        path = self.folder / "split.key"
        try:
            key = bytes.fromhex(path.read_text().strip())
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{path} cannot be read", hint="restore it") from error
        if len(key) != 32:
            raise ConfigurationError(f"{path} does not hold 32 bytes", hint="restore it")
        return key

    def pseudonym_key(self) -> bytes:
        """Give the 32-byte key of the pseudonyms; it follows from the split key."""
        return pseudonym_key_of(self.split_key())

    def seal_key(self) -> bytes:
        """Give the 32-byte key of the seals (`home_seal`); it follows from the split key."""
        return _seal_key_of(self.split_key())


def pseudonym_key_of(split_key: bytes) -> bytes:
    """Give the key of the pseudonyms of the site that has this split key."""
    return hmac.new(split_key, b"fedward pseudonym key v1", hashlib.sha256).digest()


def _seal_key_of(split_key: bytes) -> bytes:
    return hmac.new(split_key, b"fedward seal key v1", hashlib.sha256).digest()


def create_site_home(folder: Path, *, split_key: bytes) -> SiteHome:
    """Make the folders of a site's home, for its owner alone; what is there stays.

    Raises:
        ConfigurationError: Its key is gone though patients were excluded: under another key nobody
            would be known as one of them.
    """
    home = SiteHome(folder)
    inner = (home.cohorts, home.trust, home.consortium, home.cache, home.reports, folder / "runs")
    for path in (folder, *inner):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    key_file = folder / "split.key"
    if not key_file.exists():
        nobody = sealed_table(_seal_key_of(split_key), EXCLUDED_PATIENTS, {})
        _require_nobody_excluded(home, key_file, len(nobody))
        # before the key, for with a key there must be a list
        write_private_file(home.excluded_patients_file, nobody)
        write_private_file(key_file, split_key.hex().encode())
    return home


def _require_nobody_excluded(home: SiteHome, key_file: Path, empty_bytes: int) -> None:
    """An empty list is what a first command left that was killed; every one has this size."""
    path = home.excluded_patients_file
    if path.exists() and path.stat().st_size > empty_bytes:
        raise ConfigurationError(
            f"{key_file} is missing, and {path} names patients by it",
            hint="restore the key from the backup; a new one would let them in again",
        )


def write_private_file(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read."""
    write_atomically(path, content, mode=0o600)
