"""Wherever at a hospital something breaks, the coordinator is told one word of ours and no text."""

from collections.abc import Callable

import pytest
from tests.client.daemon.asked_site import SITE, Coordinator

from fedward_common.errors import (
    CohortError,
    ConfigurationError,
    CorruptFileError,
    DiskFullError,
    FedwardError,
    PrivacyError,
    TrainingError,
)
from fedward_common.wire import messages

PATIENT = "Schmidt^Anna"
TEXT = f"cannot decode PatientName={PATIENT} in /archive/{PATIENT}/0001.dcm"
DAEMON = "fedward_client.daemon"
# Each is called while a request is answered, from the first byte to the signature of the answer.
PLACES = (
    f"{DAEMON}.app.open_site",
    f"{DAEMON}.app.envelope_of",
    f"{DAEMON}.app.answer_request",
    f"{DAEMON}.app.records_of",
    f"{DAEMON}.handlers.verify_envelope",
    f"{DAEMON}.handlers._verify_addressee",
    f"{DAEMON}.handlers._dispatch",
    f"{DAEMON}.handlers.answer_training",
    f"{DAEMON}.handlers.sealed_reply",
    f"{DAEMON}.handlers.hashed",
    f"{DAEMON}.handlers.sign_envelope",
    f"{DAEMON}.site_work._array",
)
RAISED: tuple[Callable[[], Exception], ...] = (
    lambda: ValueError(TEXT),
    lambda: OSError(5, TEXT, f"/archive/{PATIENT}"),
    lambda: UnicodeDecodeError("utf-8", PATIENT.encode(), 0, 1, TEXT),
    lambda: KeyError(PATIENT),
    lambda: MemoryError(TEXT),
    lambda: RecursionError(TEXT),
    lambda: ExceptionGroup(TEXT, [ValueError(TEXT)]),
    lambda: type(PATIENT.replace("^", "_"), (Exception,), {})(TEXT),
    *(
        (lambda kind=kind: kind(TEXT, hint=TEXT))
        for kind in (
            FedwardError, CohortError, ConfigurationError, CorruptFileError, DiskFullError,
            PrivacyError, TrainingError,
        )
    ),
)  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_whatever_is_raised_anywhere_leaves_as_a_code_and_stands_in_no_log_as_text(
    accepted: Coordinator,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    place: str,
) -> None:
    for make in RAISED:
        raised = make()

        def explode(*args: object, raised: Exception = raised, **kwargs: object) -> None:
            raise raised

        with monkeypatch.context() as patched:
            patched.setattr(place, explode)
            answer = accepted.train()
        code = answer.error or getattr(answer.message, "code", "")
        assert code == (raised.code if isinstance(raised, FedwardError) else "INTERNAL_ERROR")
        assert "Schmidt" not in answer.text
        assert answer.error or isinstance(answer.message, messages.Refusal)
        assert "Schmidt" not in "".join(capfd.readouterr())
    log = (accepted.federation.homes[SITE] / "site.log").read_text()
    assert TEXT not in log
    assert PATIENT not in log
