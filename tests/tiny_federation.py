"""Three hospitals of 16 x 16 images on disk, and what drives them in this process.

A class shows as a bright square in one half of the image, so a few steps learn it.
"""

import csv
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_common.identities import SiteId
from fedward_common.job.job_file import Job, job_from_table, table_of_job
from fedward_common.settings import with_overrides
from fedward_server.coordinator.exchange import Exchange
from fedward_server.coordinator.observer import RunObserver, SilentObserver
from fedward_server.coordinator.round_loop import RoundLoop
from fedward_server.coordinator.run_journal import FileRunJournal, RunHistory, RunJournal, replay
from fedward_server.coordinator.run_setup import RunSetup
from fedward_server.simulation.federation import Federation, set_up
from fedward_server.simulation.homes import make_homes
from fedward_server.simulation.in_process_grid import (
    CLIENT_APP,
    InProcessGrid,
    InTurnGrid,
    node_configs,
)
from fedward_server.simulation.site_side import site_side

SITES = ("alder", "birch", "cedar")
SPLITS = ("train",) * 6 + ("validation",) * 3 + ("test",) * 3
SIDE = 16
Row = dict[str, str]


@dataclass
class FakeClock:
    """Stands still but for what is slept; with `tick`, every look takes that long."""

    now: float = 0.0
    tick: float = 0.0

    def now_seconds(self) -> float:
        self.now += self.tick
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class NotesObserver(SilentObserver):
    """Keeps what a person would be told."""

    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class Picture:
    """What a site's archive and manifest hold of one image."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    row: Row


def pictures_of(site: str, num_patients: int = 2 * len(SPLITS)) -> list[Picture]:
    """Draw a site's images; every third patient has two of them."""
    draw = np.random.default_rng(SITES.index(site) if site in SITES else 99)
    pictures = []
    for patient in range(num_patients):
        label = patient % 2
        for _ in range(2 if patient % 3 == 0 else 1):
            image = draw.integers(0, 120, (SIDE, SIDE)).astype(np.uint8)
            mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
            top, left = draw.integers(0, 10), draw.integers(0, 3) + 8 * label
            mask[top : top + 5, left : left + 5] = 1
            image[mask > 0] += 100
            row = {
                "label": str(label),
                "patient": f"{site}-{patient}",
                "split": SPLITS[patient // 2 % len(SPLITS)],
            }
            pictures.append(Picture(image, mask, row))
    return pictures


def write_site(
    folder: Path, site: str, pictures: Sequence[Picture], **settings: Any
) -> dict[str, Any]:
    """Write a site's archive and manifest; give its table of the cohorts file."""
    shape = (0, SIDE, SIDE)
    images = np.stack([p.image for p in pictures]) if pictures else np.zeros(shape, np.uint8)
    masks = np.stack([p.mask for p in pictures]) if pictures else np.zeros(shape, np.uint8)
    np.savez(folder / f"{site}.npz", images=images, masks=masks)
    with (folder / f"{site}.csv").open("w", newline="", encoding="utf-8") as file:
        cells = list(pictures[0].row) if pictures else ["label", "patient", "split"]
        writer = csv.DictWriter(file, ["file", "mask", *cells])
        writer.writeheader()
        for number, picture in enumerate(pictures):
            place = {"file": f"images[{number}]", "mask": f"masks[{number}]"}
            writer.writerow(place | picture.row)
    return {"source": "arrays", "path": f"{site}.npz", "manifest": f"{site}.csv"} | settings


def tiny_job(kind: str = "classification", overrides: Sequence[str] = ()) -> Job:
    """A job of four rounds that these sites finish in a second."""
    names = ["normal", "finding"] if kind == "classification" else ["background", "square"]
    masks = kind == "segmentation"
    table = {
        "job": {"name": "tiny", "rounds": 4},
        "task": {"kind": kind, "classes": [{"id": i, "name": n} for i, n in enumerate(names)]},
        "model": {
            "name": "unet" if masks else "cnn",
            "options": {"channels": [4, 8]} if masks else {"width": 8, "blocks": 2},
        },
        "data": {"modality": "OT", "image_size": [SIDE, SIDE]},
        "training": {
            "local_steps": 2,
            "batch_patients": 4,
            "optimizer": {"name": "adam", "learning_rate": 0.02},
            "loss": {"name": "dice-cross-entropy" if masks else "cross-entropy"},
        },
        "strategy": {"name": "fedavgm", "momentum": 0.3, "ema_decay": 0.5},
        "quorum": {"required_sites": 2, "deadline_seconds": 60, "attempts": 2},
        "evaluation": {"every": 2},
        "privacy": {"mechanism": "none"},
        "secure_aggregation": {"enabled": False},
    }
    return job_from_table(with_overrides(table, list(overrides)))


def changed(job: Job, *overrides: str) -> Job:
    """Give the job with `key=value` set."""
    return job_from_table(with_overrides(table_of_job(job), list(overrides)))


@dataclass(frozen=True)
class TinyFederation:
    """Sites with homes, and the job they are asked to do.

    Attributes:
        data: Holds the archives and manifests.
        cohorts: The parsed cohorts file.
        homes: Of each site.
        roster: Its signed bytes.
    """

    data: Path
    cohorts: Mapping[str, Any]
    homes: Mapping[SiteId, Path]
    roster: bytes
    key_file: Path
    job: Job
    seals_answers: bool = False

    def with_job(self, *overrides: str) -> "TinyFederation":
        return dataclasses.replace(self, job=changed(self.job, *overrides))

    def in_folder(self, folder: Path, seed: int = 7) -> Federation:
        """Name a run of this job in a folder of its own."""
        return Federation(
            folder,
            self.job,
            seed,
            self.homes,
            self.roster,
            tuple(self.homes),
            self.key_file,
            self.seals_answers,
        )

    def set_up(self, folder: Path) -> RunSetup:
        return set_up(self.in_folder(folder))

    def node_configs(
        self, faults: Mapping[str, str] | None = None, *, in_memory: bool = False
    ) -> dict[int, dict[str, str]]:
        """Give each site's node; `faults` reach `tests.faulty_site` through it."""
        homes = (str(self.homes[site]) for site in sorted(self.homes))
        configs = node_configs(homes, rounds_in_memory=in_memory)
        for config, site in zip(configs.values(), sorted(self.homes), strict=True):
            config["faults"] = (faults or {}).get(site, "")
        return configs

    def run(
        self,
        folder: Path,
        *,
        grid: InProcessGrid | None = None,
        client_app: str = CLIENT_APP,
        faults: Mapping[str, str] | None = None,
        observer: RunObserver | None = None,
        journal: RunJournal | None = None,
        clock: FakeClock | None = None,
    ) -> RunHistory:
        """Run to the end, or go on with what the folder holds."""
        setup = self.set_up(folder)
        clock = clock or FakeClock()
        grid = grid or InTurnGrid(self.node_configs(faults), client_app)
        journal = journal or FileRunJournal(folder)
        try:
            keys = setup.roster.keys_of_sites
            exchange = Exchange(grid, setup.key, keys, clock, setup.answer_key)
            return RoundLoop(setup, exchange, journal, observer or SilentObserver(), clock).run()
        finally:
            journal.close()


def make_federation(
    folder: Path,
    job: Job | None = None,
    *,
    pictures: Mapping[str, Sequence[Picture]] | None = None,
    settings: Mapping[str, Any] | None = None,
    sites: Sequence[str] = SITES,
) -> TinyFederation:
    """Write data and homes below `folder`.

    Args:
        folder: Made if missing.
        job: The classification job if not given.
        pictures: Replaces some sites' images, or adds sites.
        settings: Further keys of every source.
        sites: Their names.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    drawn = {site: pictures_of(site) for site in sites} | dict(pictures or {})
    cohorts = {"sites": {s: write_site(data, s, p, **settings or {}) for s, p in drawn.items()}}
    key_file = folder / "keys" / "coordinator.key"
    homes = make_homes(site_side(), folder / "sites", cohorts, data, key_file=key_file)
    return TinyFederation(data, cohorts, homes.sites, homes.roster, key_file, job or tiny_job())


def entries_of(folder: Path) -> list[dict[str, Any]]:
    """Read a run's journal."""
    journal = FileRunJournal(folder)
    try:
        return list(journal.entries())
    finally:
        journal.close()


def history_of(folder: Path) -> RunHistory:
    return replay(entries_of(folder))


def essence(folder: Path) -> dict[str, Any]:
    """What two runs of one job and seed must share: weights, figures, sums; not their seconds."""
    entries = entries_of(folder)
    history = replay(entries)
    weights = {e["round"]: e["sha256"] for e in entries if e["kind"] == "round.committed"}
    return {
        "weights": weights,
        "accepted": history.accepted,
        "participants": history.participants,
        "evaluations": [{**e, "seconds": None} for e in history.evaluations],
        "bests": history.bests,
        "final": history.final,
        "told": sorted(history.receipts or ()),
        "stopped_early": history.stopped_early,
        "finished": history.finished,
    }


def weight_hashes(folder: Path) -> Iterator[str]:
    """Give the hash of the global weights after each round."""
    yield from essence(folder)["weights"].values()
