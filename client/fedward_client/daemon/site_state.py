"""An open site: its home, its keys, and the runs it has accepted.

Everything that decides is read from the home folder, which only the hospital writes; an accepted
manifest is stored there before the acceptance leaves, so any process of the site can go on with the
run: with the snapshots it was accepted with, however many are made since. What is kept in memory is
only faster to reach: the decoded job view and the network. Patients who were excluded are left out
of each message's work from the moment the site's list names them.
"""

import functools
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.cohort_report import cohort_report
from fedward_client.cohorts.registered.pinned_snapshots import (
    offered_sources,
    with_newest_snapshots,
    with_pinned_snapshots,
    write_pins,
)
from fedward_client.cohorts.views.job_view import JobView, prepare_job_view
from fedward_client.daemon.privacy_plan import PrivacyPlan, read_plan
from fedward_client.daemon.private_rounds import promise_privacy
from fedward_client.daemon.sealed_replies import require_sealed_answers
from fedward_client.daemon.site_log import log_at_home, site_log_of
from fedward_client.daemon.trusted_roster import (
    keep_roster,
    kept_roster,
    roster_of_accepted_run,
    trusted_roster,
    without_removed,
)
from fedward_client.jobs.job_gate import (
    cohort_for,
    note_acceptance,
    require_not_ended,
    require_wanted,
)
from fedward_client.site_home import SiteHome
from fedward_client.site_settings import SiteSettings as SiteSettings
from fedward_common.atomic_files import full_disk_named, sync_folder, write_all, write_atomically
from fedward_common.consortium.roster import Roster
from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.errors import (
    CohortError,
    ConfigurationError,
    MalformedMessageError,
    UnverifiedMessageError,
    WeightsMismatchError,
)
from fedward_common.identities import ConsortiumId, SiteId, parse_site_id
from fedward_common.job.job_file import Job
from fedward_common.models.parameter_spec import ParameterSpec
from fedward_common.secagg.layout import ContributionLayout
from fedward_common.settings import from_table, read_toml
from fedward_common.wire.manifest import Manifest, decode_manifest, hash_of_manifest

if TYPE_CHECKING:
    import torch

    from fedward_client.daemon.kept_round import KeptRound
    from fedward_client.daemon.secure_rounds import KnownRules
    from fedward_client.training.local_training import TrainingData
    from fedward_common.models.flat_vector import ModuleWeights

_MANIFEST = "manifest.cbor"
_VIEW = "view"
_SNAPSHOTS = "snapshots.json"


@dataclass(frozen=True)
class Network:
    """A network on this process's device, with its spec and its weights as one vector."""

    module: "torch.nn.Module"
    spec: ParameterSpec
    weights: "ModuleWeights"


@dataclass
class OpenRun:
    """One accepted run and what this process needs to work on it."""

    manifest: Manifest
    manifest_sha256: str
    roster: Roster
    job: Job
    folder: Path
    sources: Sequence[SourceSettings]
    view: JobView
    network: "Network"
    noted_splits: set[str] = field(default_factory=set, repr=False)
    layouts: dict[object, ContributionLayout] = field(default_factory=dict, repr=False)
    rules: "dict[str, KnownRules]" = field(default_factory=dict, repr=False)
    _unwritten: list[dict[str, Any]] = field(default_factory=list, repr=False)
    _written_at: float = float("-inf")

    @property
    def is_private(self) -> bool:
        """Whether this site trains with noise of its own."""
        return self.job.privacy.mechanism != "none"

    @functools.cached_property
    def privacy_plan(self) -> PrivacyPlan:
        """What was promised when the run was accepted.

        Raises:
            CorruptFileError: It is gone or damaged.
        """
        return read_plan(self.folder)

    @functools.cached_property
    def training_data(self) -> "TrainingData":
        """The train split, found once."""
        from fedward_client.training.local_training import TrainingData

        view = self.view
        return TrainingData(
            view.images,
            view.masks,
            view.labels,
            view.cases_by_patient("train"),
            partly_annotated=view.num_partly_annotated > 0,
        )

    def note_activity(self, *, at_once: bool, **fields: Any) -> None:
        """Append a line to the site's own record of the run; it never leaves.

        Unless `at_once`, lines of one second are written together: rounds may take milliseconds,
        and a kill costs no more than that second of the record.
        """
        self._unwritten.append(fields)
        if not at_once and time.monotonic() - self._written_at < 1:
            return
        path = self.folder / "activity.jsonl"
        with full_disk_named(path):
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                lines = (json.dumps(fields) + "\n" for fields in self._unwritten)
                write_all(file, "".join(lines).encode())
            finally:
                os.close(file)
        self._unwritten.clear()
        self._written_at = time.monotonic()


@dataclass
class OpenSite:
    """One site's home with its settings and keys.

    Attributes:
        rounds_in_memory: The simulation that asked for that; it counts for nobody else.
        open_rounds: What keeps the rounds under way, by run folder and purpose.
        utc_seconds: Gives seconds since 1970, for the time in which certificates count.
    """

    home: SiteHome
    site_id: SiteId
    consortium: ConsortiumId
    cohort: str
    key: SigningKey
    coordinator_key: VerifyingKey
    is_simulated: bool = False
    runs: dict[str, OpenRun] = field(default_factory=dict)
    rounds_in_memory: str = ""
    open_rounds: "dict[tuple[Path, str], KeptRound]" = field(default_factory=dict, repr=False)
    utc_seconds: Callable[[], float] = time.time

    def accept(self, manifest_bytes: bytes, roster_bytes: bytes, run: str) -> OpenRun:
        """Check a manifest and everything it needs here, and store it.

        Args:
            manifest_bytes: The manifest's canonical encoding.
            roster_bytes: The signed roster that it names.
            run: The run that the message was sent for.

        Raises:
            UnverifiedMessageError: It is of another consortium or run, or not the one accepted, or
                its roster is not to be believed.
            CohortError: The cohort cannot be used for this job.
            PrivacyError: The site's policy or its patients' budget does not allow it.
            FedwardError: It waits for a person, or one refused it (`job_gate`).
            WeightsMismatchError: The network built here is not the one the manifest names.
        """
        manifest = decode_manifest(manifest_bytes)
        if manifest.consortium != self.consortium or manifest.run != run:
            raise UnverifiedMessageError("the manifest is of another consortium or run")
        folder = self.home.run_folder(manifest.run)
        stored = folder / _MANIFEST
        if stored.exists() and stored.read_bytes() != manifest_bytes:
            raise UnverifiedMessageError("this run was accepted with another manifest")
        believed = roster_of_accepted_run if stored.exists() else trusted_roster
        roster = believed(self, manifest, roster_bytes)
        require_not_ended(self.home, manifest.run)
        if not stored.exists():
            require_wanted(self, manifest, manifest_bytes, roster_bytes)
            require_sealed_answers(self, manifest)
        offering = self._offering(cohort_for(self, manifest.run))
        opened = offering._open(manifest, manifest_bytes, roster, folder)
        opened = self._without_withdrawn(opened)
        trains = self.site_id in manifest.training_sites
        if trains and not opened.view.num_patients("train"):
            raise CohortError(
                "no patient with a label in the train split", code="E_NO_TRAINING_PATIENTS"
            )
        if not stored.exists():
            if trains:
                promise_privacy(offering, opened)
            keep_roster(folder, roster_bytes)
            note_acceptance(self, manifest.run)
            write_atomically(stored, manifest_bytes)
        self.runs[manifest.run] = opened
        return opened

    def accepted_run(self, run: str, manifest_sha256: str) -> OpenRun:
        """Give a run that was accepted before, by this process or another.

        Raises:
            UnverifiedMessageError: It was not, or with another manifest, or its roster is out of
                date by now, or this site is gone from a newer one.
        """
        if run not in self.runs:
            stored = self.home.run_folder(run) / _MANIFEST
            if not stored.exists():
                raise UnverifiedMessageError("this run was never accepted", code="UNKNOWN_RUN")
            manifest_bytes = stored.read_bytes()
            manifest = decode_manifest(manifest_bytes)
            roster = roster_of_accepted_run(self, manifest, kept_roster(stored.parent))
            offering = self._offering(cohort_for(self, run))
            self.runs[run] = offering._open(manifest, manifest_bytes, roster, stored.parent)
        found = self.runs[run]
        if found.manifest_sha256 != manifest_sha256:
            raise UnverifiedMessageError("the message names another manifest")
        self.runs[run] = self._without_removed(self._without_withdrawn(found))
        return self.runs[run]

    def _without_removed(self, run: OpenRun) -> OpenRun:
        """Give the run as it is for the members who are left."""
        roster = without_removed(self, run.roster)
        return run if roster is run.roster else replace(run, roster=roster)

    def _offering(self, cohort: str) -> "OpenSite":
        """Give this site with the cohort that a run may use; runs and all else are the same."""
        return self if cohort == self.cohort else replace(self, cohort=cohort)

    def _without_withdrawn(self, run: OpenRun) -> OpenRun:
        """Give the run as it is for the patients who are not excluded now."""
        from fedward_client.cohorts.registered.withdrawal import withdrawn_patients

        withdrawn = withdrawn_patients(self.home, run.sources)
        if withdrawn == run.view.withdrawn:
            return run
        return replace(run, view=run.view.without(withdrawn))

    def _open(
        self, manifest: Manifest, manifest_bytes: bytes, roster: Roster, folder: Path
    ) -> OpenRun:
        digest = hash_of_manifest(manifest_bytes)
        known = self.runs.get(manifest.run)
        if known is not None and known.manifest_sha256 == digest:
            return known
        job = manifest.job
        network = network_of(job)
        if network.spec.hash != manifest.parameter_spec_sha256:
            raise WeightsMismatchError("the manifest names another architecture")
        folder.mkdir(parents=True, exist_ok=True)
        if not self.is_simulated:
            sync_folder(folder.parent)
        is_accepted = (folder / _MANIFEST).exists()
        sources, view = self._data(job, folder / _SNAPSHOTS if is_accepted else None)
        if is_accepted:
            _require_same(folder / _VIEW, view.folder.name)
        else:
            write_pins(folder / _SNAPSHOTS, sources)
            write_atomically(folder / _VIEW, view.folder.name.encode())
        return OpenRun(manifest, digest, roster, job, folder, sources, view, network)

    def _data(self, job: Job, pins: Path | None) -> tuple[tuple[SourceSettings, ...], JobView]:
        """Open the cohort's view; with `pins`, of the snapshots that a run was accepted with."""
        try:
            sources = offered_sources(self.home, self.cohort)
            if pins is None:
                sources = with_newest_snapshots(sources)
            else:
                sources = with_pinned_snapshots(pins, sources)
            key = self.home.split_key()
            view = prepare_job_view(
                self.home.cache,
                sources,
                job.task,
                job.data,
                key,
                require_room=self._require_room,
            )
        except (CohortError, ConfigurationError) as error:
            # Only the code leaves; why, and on which lines, is for the hospital's own eyes.
            self._report({"code": error.code, "problem": str(error), "hint": error.hint})
            raise
        self._report(cohort_report(view, job.task))
        return sources, view

    def _require_room(self, num_bytes: int) -> None:
        from fedward_client.cohorts.cache.native_cache import open_native_cache

        open_native_cache(self.home).require_room(num_bytes)

    def _report(self, content: dict[str, Any]) -> None:
        text = json.dumps(content, indent=1, sort_keys=True)
        write_atomically(self.home.reports / f"cohort-{self.cohort}.json", text.encode())

    @property
    def log(self) -> logging.Logger:
        """The site's own log, in its home."""
        return site_log_of(self.home)


def _require_same(file: Path, fingerprint: str) -> None:
    """Let a run go on with the very data it was accepted with, and no other.

    Raises:
        CohortError: `E_COHORT_CHANGED`.
    """
    if not file.exists() or file.read_text() != fingerprint:
        raise CohortError(
            "the cohort's files changed since this run was accepted",
            hint="put them back as they were, or start a new run",
            code="E_COHORT_CHANGED",
        )


_sites: dict[Path, OpenSite] = {}
_networks: dict[str, Network] = {}


def network_of(job: Job) -> Network:
    """Give the process's one network of an architecture; its weights are whoever used it last's."""
    from fedward_client.training.local_training import pick_device
    from fedward_common.models.catalogue import architecture_of
    from fedward_common.models.flat_vector import ModuleWeights, spec_of
    from fedward_common.models.registry import build_model

    key = repr((architecture_of(job), job.model.options, job.data.image_size, job.model.frozen))
    if key not in _networks:
        module = build_model(job).to(pick_device())
        spec = spec_of(module, architecture_of(job))
        _networks[key] = Network(module, spec, ModuleWeights(module, spec))
    return _networks[key]


def forget_open_sites() -> None:
    """Close every site of this process, as a restart does; what is on disk stays."""
    _sites.clear()


def open_site(folder: Path) -> OpenSite:
    """Open a site's home, once in a process.

    Raises:
        ConfigurationError: Settings or keys are missing.
    """
    if folder not in _sites:
        _sites[folder] = _read_site(SiteHome(folder))
    return _sites[folder]


def _read_site(home: SiteHome) -> OpenSite:
    log_at_home(home)
    settings = from_table(SiteSettings, read_toml(home.settings_file))
    try:
        key = SigningKey.from_raw(bytes.fromhex((home.trust / "site.key").read_text()))
        trusted = VerifyingKey(bytes.fromhex((home.trust / "coordinator.pub").read_text()))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"a key is missing or unreadable in {home.trust}", hint="join the consortium again"
        ) from error
    if not settings.cohort.replace("-", "").replace("_", "").isalnum():
        raise MalformedMessageError("a cohort's name is letters, digits, '-' and '_'")
    return OpenSite(
        home,
        parse_site_id(settings.site),
        ConsortiumId(settings.consortium),
        settings.cohort,
        key,
        trusted,
        settings.simulated,
    )
