"""A process that handles patients' data says codes and places, and no text of a library."""

import json
import subprocess
import sys

import pytest

_BEFORE = """
import logging, sys, threading, warnings
logging.getLogger("loud").addHandler(logging.StreamHandler())
logging.getLogger("loud").propagate = False
from fedward_common.coded_output import say_codes_only
from fedward_common.event_lines import EventLines
say_codes_only(EventLines("p", sys.stdout), "loud")
NAME = "NEEDLE^PATIENT"
"""


@pytest.mark.parametrize(
    ("code", "event", "said"),
    [
        ("raise ValueError(NAME)", "process.failed", "ValueError"),
        ("1 / 0 if NAME else 0", "process.failed", "ZeroDivisionError"),
        ("warnings.warn(NAME)", "library.warned", "UserWarning"),
        ("warnings.warn(NAME, RuntimeWarning)", "library.warned", "RuntimeWarning"),
        ("logging.getLogger('pydicom').warning(NAME)", "library.said", "WARNING"),
        ("logging.getLogger('loud').error('%s', NAME)", "library.said", "ERROR"),
        ("logging.error(NAME)", "library.said", "ERROR"),
        (
            "t = threading.Thread(target=lambda: int(NAME)); t.start(); t.join()",
            "process.failed",
            "ValueError",
        ),
        (
            "for _ in range(5): logging.getLogger('x').warning(NAME)",
            "library.said",
            "WARNING",
        ),
    ],
)
def test_what_a_library_says_becomes_one_line_with_its_kind_and_place(
    code: str, event: str, said: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _BEFORE + code], capture_output=True, text=True, check=False
    )
    assert "NEEDLE" not in ended.stdout + ended.stderr
    assert ended.stderr == ""
    (line,) = (json.loads(text) for text in ended.stdout.splitlines())
    assert (line["event"], line["code"], line["level"]) == (event, said, "warning")
    assert line["where"]
