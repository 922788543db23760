"""Without masks, what leaves a site is sealed to the coordinator and nobody in between reads it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message
from tests.client.daemon.asked_site import SITE, Coordinator
from tests.masked_federation import (
    FAULTY_APP,
    MASKED,
    Passing,
    WatchedGrid,
    codes_of,
    restart_sites,
    updates_seen,
)
from tests.simulation.test_resume import Killed, KillingJournal
from tests.tiny_federation import SITES, TinyFederation, essence, make_federation

from fedward_common.errors import ConfigurationError
from fedward_common.wire import messages
from fedward_common.wire.flower_records import envelope_of

SHORT = ("job.rounds=2",)


def sealing(federation: TinyFederation) -> TinyFederation:
    return dataclasses.replace(federation.with_job(*SHORT), seals_answers=True)


def test_a_sealed_run_is_the_open_one_and_no_message_shows_a_vector(
    tiny: TinyFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.with_job(*SHORT).run(tmp_path / "open")
    updates = updates_seen(monkeypatch)
    seen: list[bytes] = []
    names: set[str] = set()

    def spy(passing: Passing, reply: Message) -> None:
        _, arrays = envelope_of(reply.content)
        names.update(arrays)
        seen.extend(array.tobytes() for array in arrays.values())

    federation = sealing(tiny)
    federation.run(tmp_path / "sealed", grid=WatchedGrid(federation, after=spy))
    assert names == {"sealed"}
    assert len(seen) == len(SITES) * 4  # two rounds, validation and test
    for update in updates.values():
        part = np.asarray(update)[-64:].tobytes()
        assert len(set(part)) > 8
        assert not any(part in content for content in seen)
    assert essence(tmp_path / "sealed") == essence(tmp_path / "open")


@pytest.mark.parametrize("fault", ["flip-sealed", "unsealed"])
def test_an_answer_that_is_not_sealed_as_it_should_be_is_left_out(
    tiny: TinyFederation, run_folder: Path, fault: str
) -> None:
    history = sealing(tiny).run(
        run_folder, client_app=FAULTY_APP, faults={"birch": f"train.round/2/*={fault}"}
    )
    assert history.participants[1] == ["alder", "cedar"]
    ((site, number, code),) = codes_of(run_folder)
    assert (site, number) == ("birch", 2)
    assert code == ("MALFORMED_MESSAGE" if fault == "unsealed" else "UNVERIFIED_MESSAGE")


def test_a_killed_run_goes_on_with_the_key_in_its_folder(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    federation, folder = sealing(tiny), tmp_path / "killed"
    federation.run(tmp_path / "undisturbed")
    with pytest.raises(Killed):
        federation.set_up(folder)
        federation.run(folder, journal=KillingJournal(folder, 2, before=True))
    federation.run(folder)
    assert essence(folder) == essence(tmp_path / "undisturbed")
    assert (folder / "answer.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", ["gone", "cut", "another"])
def test_without_its_key_a_run_does_not_go_on(
    tiny: TinyFederation, tmp_path: Path, damage: str
) -> None:
    federation, folder = sealing(tiny), tmp_path / "run"
    federation.set_up(folder)
    key = folder / "answer.key"
    if damage == "gone":
        key.unlink()
    elif damage == "cut":
        key.write_bytes(key.read_bytes()[:-1])
    else:
        key.write_bytes(bytes(96))
    with pytest.raises(ConfigurationError, match=r"answer\.key") as caught:
        federation.set_up(folder)
    assert "restore it" in caught.value.hint


def _real(folder: Path) -> TinyFederation:
    """One site that is no simulation, and takes jobs without masks."""
    federation = make_federation(folder).with_job(*SHORT)
    home = federation.homes[SITE]
    settings = (home / "site.toml").read_text()
    (home / "site.toml").write_text(settings.replace("simulated = true\n", ""))
    restart_sites()
    return federation


def test_a_real_site_shows_nothing_that_is_neither_masked_nor_sealed(tmp_path: Path) -> None:
    federation = _real(tmp_path / "f")

    def answer_to(some: TinyFederation, name: str) -> messages.Message | None:
        setup = some.set_up(tmp_path / name)
        return Coordinator(some, setup, setup.key).propose().message

    assert answer_to(federation, "open") == messages.Refusal("ANSWERS_NOT_SEALED")
    assert isinstance(answer_to(sealing(federation), "sealed"), messages.ManifestReply)
    masked = federation.with_job(MASKED)
    assert isinstance(answer_to(masked, "masked"), messages.ManifestReply)


def test_a_key_that_is_none_is_refused_at_acceptance(tmp_path: Path) -> None:
    from fedward_common.wire.manifest import encode_manifest

    federation = make_federation(tmp_path / "f").with_job(*SHORT)
    setup = federation.set_up(tmp_path / "run")
    manifest = encode_manifest(dataclasses.replace(setup.manifest, answer_key=bytes(1215)))
    spoiled = dataclasses.replace(setup, manifest_bytes=manifest)
    answer = Coordinator(federation, spoiled, setup.key).propose()
    assert answer.message == messages.Refusal("MALFORMED_MESSAGE")
