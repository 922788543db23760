"""A site that offers a registered cohort: which snapshot a run has, and who is left out of it."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.client.cohorts.registered_cohorts import PoolInProcess, register, write_image
from tests.client.daemon.asked_site import SITE, Coordinator
from tests.tiny_federation import TinyFederation, make_federation, pictures_of, tiny_job

from fedward_client.cohorts.cohort_file import SourceSettings, write_cohort_file
from fedward_client.cohorts.registered.cohort_folder import CohortFolder
from fedward_client.cohorts.registered.excluded_patients import add_excluded_patients
from fedward_client.daemon.site_state import OpenRun, forget_open_sites, open_site
from fedward_client.pseudonyms import pseudonym
from fedward_client.site_home import SiteHome
from fedward_common.wire import messages

JOB = tiny_job()


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedward_client.dicom.decode_pool.DecodePool", PoolInProcess)


def home_of(federation: TinyFederation) -> SiteHome:
    return SiteHome(federation.homes[SITE])


def register_pictures(
    federation: TinyFederation, *, labels: str = "01", split: str | None = None
) -> int:
    """Register the site's images, now DICOM files, under the name it offers; give the number.

    Args:
        federation: With the site.
        labels: What classes 0 and 1 are called.
        split: Of everybody, instead of what the pictures say.
    """
    folder = federation.data / "dicom"
    rows = []
    for number, picture in enumerate(pictures_of(SITE)):
        row = picture.row
        if not (folder / f"i{number}.dcm").exists():
            write_image(folder, number, picture.image, PatientID=row["patient"])
        label = labels[int(row["label"])]
        rows.append(
            {"file": f"i{number}.dcm", **row, "label": label, "split": split or row["split"]}
        )
    snapshot = register(home_of(federation), folder, rows, "main", task=JOB.task)
    return snapshot.number


def coordinator_of(tmp_path: Path, *, registered: bool = True) -> Coordinator:
    folder = tmp_path / ("dicom" if registered else "arrays")
    federation = make_federation(folder)
    if registered:
        register_pictures(federation)
    setup = federation.set_up(folder / "run")
    asked = Coordinator(federation, setup, setup.key)
    assert isinstance(asked.propose().message, messages.ManifestReply)
    return asked


def opened_run(coordinator: Coordinator) -> OpenRun:
    site = open_site(coordinator.federation.homes[SITE])
    setup = coordinator.setup
    return site.accepted_run(setup.manifest.run, setup.manifest_sha256)


def exclude(coordinator: Coordinator, *patients: str) -> None:
    home = home_of(coordinator.federation)
    names = [pseudonym(home.pseudonym_key(), "patient", one) for one in patients]
    add_excluded_patients(home, names, "consent withdrawn")


def test_dicom_files_train_the_very_update_that_arrays_train(tmp_path: Path) -> None:
    updates = [
        coordinator_of(tmp_path, registered=one).train().arrays["update"] for one in (True, False)
    ]
    assert updates[0].tobytes() == updates[1].tobytes()


def test_a_run_goes_on_with_its_snapshot_though_a_newer_one_exists(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path)
    before = coordinator.train().arrays["update"]
    assert register_pictures(coordinator.federation, labels="10") == 2
    forget_open_sites()
    assert coordinator.train().arrays["update"].tobytes() == before.tobytes()
    run = opened_run(coordinator)
    assert json.loads((run.folder / "snapshots.json").read_text()) == ["main@1"]
    assert isinstance(coordinator.propose().message, messages.ManifestReply)  # asked again
    assert opened_run(coordinator).sources[0].cohort == "main@1"


def test_a_new_run_has_the_newest_snapshot(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path)
    register_pictures(coordinator.federation, labels="10")
    setup = coordinator.federation.set_up(tmp_path / "second")
    second = Coordinator(coordinator.federation, setup, setup.key)
    assert isinstance(second.propose().message, messages.ManifestReply)
    assert opened_run(second).sources[0].cohort == "main@2"
    assert opened_run(coordinator).sources[0].cohort == "main@1"


def test_a_refused_run_pins_nothing(tmp_path: Path) -> None:
    federation = make_federation(tmp_path / "dicom")
    register_pictures(federation, split="test")
    setup = federation.set_up(tmp_path / "run")
    coordinator = Coordinator(federation, setup, setup.key)
    assert coordinator.propose().message == messages.Refusal("E_NO_TRAINING_PATIENTS")
    register_pictures(federation)
    assert isinstance(coordinator.propose().message, messages.ManifestReply)
    assert opened_run(coordinator).sources[0].cohort == "main@2"


@pytest.mark.parametrize("as_a_simulation", [False, True])
def test_a_cohort_beyond_its_limits_is_refused_by_code(
    tmp_path: Path, as_a_simulation: bool
) -> None:
    federation = make_federation(tmp_path / "dicom")
    number = register_pictures(federation)
    home = home_of(federation)
    assert number == 1
    offered = CohortFolder(home, "main")
    text = offered.settings_file.read_text()
    assert text.count("min_patients = 1\n") == 1
    offered.settings_file.write_text(text.replace("min_patients = 1\n", "min_patients = 99\n"))
    if as_a_simulation:  # which names the cohort of another home in a file
        elsewhere = tmp_path / "hospital"
        shutil.copytree(home.folder, elsewhere)
        shutil.rmtree(offered.path)
        source = SourceSettings(source="registered", path=str(elsewhere), cohort="main")
        write_cohort_file(home.cohorts / "main.toml", [source])
    setup = federation.set_up(tmp_path / "run")
    answer = Coordinator(federation, setup, setup.key).propose()
    assert answer.message == messages.Refusal("E_TOO_FEW_PATIENTS")


def sampled_patients(run: OpenRun) -> set[bytes]:
    """Give the pseudonyms of everybody whom training or evaluation can meet."""
    places = [run.view.indices(split) for split in ("train", "validation", "test")]
    places += run.training_data.cases_by_patient
    return {bytes(run.view.pseudonyms[place]) for place in np.concatenate(places)}


@pytest.mark.parametrize("restart", [False, True])
def test_an_excluded_patient_is_in_no_round_from_the_next_one_on(
    tmp_path: Path, restart: bool
) -> None:
    coordinator = coordinator_of(tmp_path)
    coordinator.train()
    key = home_of(coordinator.federation).pseudonym_key()
    gone = [f"{SITE}-{number}" for number in (0, 3, 12)]  # of all three splits
    names = {bytes.fromhex(pseudonym(key, "patient", one)) for one in gone}
    before = sampled_patients(opened_run(coordinator))
    assert names <= before
    exclude(coordinator, *gone)
    if restart:
        forget_open_sites()
    second = coordinator.subject(2)
    assert isinstance(coordinator.train(subject=second).message, messages.TrainReply)
    assert sampled_patients(opened_run(coordinator)) == before - names
    assert opened_run(coordinator).view.exclusions == {}


def test_the_update_is_then_that_of_a_cohort_which_never_had_the_patient(tmp_path: Path) -> None:
    late = coordinator_of(tmp_path)
    exclude(late, f"{SITE}-0")
    early = coordinator_of(tmp_path / "other")
    exclude(early, f"{SITE}-0")
    register_pictures(early.federation)  # without the patient
    setup = early.federation.set_up(tmp_path / "third")
    early = Coordinator(early.federation, setup, setup.key)
    early.propose()
    assert opened_run(early).sources[0].cohort == "main@2"
    a, b = (one.train(arrays={"weights": late.weights}) for one in (late, early))
    assert a.arrays["update"].tobytes() == b.arrays["update"].tobytes()


def test_when_nobody_is_left_the_round_is_refused_by_code(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path)
    exclude(coordinator, *{p.row["patient"] for p in pictures_of(SITE)})
    answer = coordinator.train()
    assert answer.message == messages.Refusal("NO_TRAINING_PATIENTS")


def test_a_damaged_list_of_excluded_patients_stops_the_site(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path)
    (coordinator.federation.homes[SITE] / "excluded_patients.json").write_text("{}")
    assert coordinator.train().message == messages.Refusal("CORRUPT_FILE")


def test_a_list_of_excluded_patients_that_is_gone_stops_the_site(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path)
    (coordinator.federation.homes[SITE] / "excluded_patients.json").unlink()
    assert coordinator.train().message == messages.Refusal("CORRUPT_FILE")


def test_a_cohort_of_files_leaves_excluded_patients_out_too(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path, registered=False)
    before = opened_run(coordinator).view.num_patients("train")
    exclude(coordinator, f"{SITE}-0", f"{SITE}-1")
    assert opened_run(coordinator).view.num_patients("train") == before - 2


def test_nothing_that_names_a_patient_is_in_the_sites_reports(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path)
    home = home_of(coordinator.federation)
    folders = (home.reports, home.folder / "runs", home.cache)
    written = [[path for path in folder.rglob("*") if path.is_file()] for folder in folders]
    assert all(written)
    for path in itertools.chain(*written):
        content = path.read_bytes()
        assert b"SECRETNAME" not in content and f"{SITE}-0".encode() not in content
