import json
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from fedward_server import cli

JOB = ("--patients", "4708", "--batch", "256", "--steps", "551", "--delta", "1e-5")
KEYS = {
    "epsilon", "delta", "noise_multiplier", "sampling_rate", "steps", "patients", "accountant"
}  # fmt: skip


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Command:
    """Runs `fedward` in this process, through its own `main`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str) -> Ended:
        self._monkeypatch.setattr(sys, "argv", ["fedward", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = self._capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)


@pytest.fixture
def fedward(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def changed(option: str, value: str) -> Sequence[str]:
    """The job's options, one of them another."""
    return [value if before == option else text for before, text in zip(("", *JOB), JOB)]  # noqa: B905


def test_epsilon_says_what_a_noise_costs(fedward: Command) -> None:
    ended = fedward("epsilon", *JOB, "--noise-multiplier", "1.021", "--json")
    assert ended.code == 0, ended.err
    answer = json.loads(ended.out)
    assert answer.keys() == KEYS
    assert answer["epsilon"] == pytest.approx(8.362, abs=0.003)
    assert answer["sampling_rate"] == 256 / 4708
    assert (answer["patients"], answer["steps"], answer["delta"]) == (4708, 551, 1e-5)
    assert (answer["noise_multiplier"], answer["accountant"]) == (1.021, "PLD")


def test_noise_finds_what_epsilon_then_confirms(fedward: Command) -> None:
    found = json.loads(fedward("noise", *JOB, "--epsilon", "8", "--json").out)
    assert found.keys() == KEYS
    assert 7.98 <= found["epsilon"] <= 8.0
    sigma = str(found["noise_multiplier"])
    again = json.loads(fedward("epsilon", *JOB, "--noise-multiplier", sigma, "--json").out)
    assert again == found


def test_without_json_there_is_a_table(fedward: Command) -> None:
    ended = fedward("epsilon", *JOB, "--noise-multiplier", "2")
    assert ended.code == 0
    for shown in ("epsilon", "noise multiplier", "4708", "551", "0.05438", "PLD"):
        assert shown in ended.out


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("--delta", wrong) for wrong in ("0", "-1e-5", "nan", "inf", "2.2e-5")],
        *[("--batch", wrong) for wrong in ("4709", "0", "-1")],
        *[("--steps", wrong) for wrong in ("0", "-1", "10000000000")],
        *[("--patients", wrong) for wrong in ("0", "-1", "255")],
    ],
)
def test_what_cannot_be_is_refused_by_its_options_name(
    fedward: Command, option: str, value: str
) -> None:
    for command in (["epsilon", "--noise-multiplier", "1"], ["noise", "--epsilon", "1"]):
        ended = fedward(*command, *changed(option, value))
        assert ended.code == 2
        assert option in ended.err.splitlines()[0]
        assert ended.err.splitlines()[1].startswith("hint: ")
        assert ended.out == ""


@pytest.mark.parametrize("wrong", ["0", "-1", "nan", "inf"])
def test_a_noise_or_an_epsilon_that_is_none_is_refused_by_name(
    fedward: Command, wrong: str
) -> None:
    for command, option in (("epsilon", "--noise-multiplier"), ("noise", "--epsilon")):
        ended = fedward(command, *JOB, option, wrong)
        assert (ended.code, ended.out) == (2, "")
        assert f"error: {option} is" in ended.err


def test_a_noise_that_bounds_nothing_is_an_error_and_no_number(fedward: Command) -> None:
    ended = fedward("epsilon", *JOB, "--noise-multiplier", "0.001", "--json")
    assert (ended.code, ended.out) == (2, "")
    assert "--noise-multiplier" in ended.err
    assert "no epsilon" in ended.err


def test_an_epsilon_that_no_noise_reaches_is_refused(fedward: Command) -> None:
    job = ("--patients", "100", "--batch", "100", "--steps", "1000000000", "--delta", "1e-8")
    ended = fedward("noise", *job, "--epsilon", "1e-6")
    assert ended.code == 2
    assert "--epsilon" in ended.err


def test_help_has_an_example_and_imports_no_accountant() -> None:
    for command in ("epsilon", "noise"):
        script = (
            "import sys\n"
            "from fedward_server.cli import main\n"
            f"sys.argv = ['fedward', '{command}', '--help']\n"
            "try:\n    main()\n"
            "finally:\n    print('heavy', {'dp_accounting', 'scipy', 'torch'} & set(sys.modules))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
        )
        assert "heavy set()" in done.stdout
        assert f"fedward {command} --patients" in done.stdout
