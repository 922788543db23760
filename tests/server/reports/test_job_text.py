import tomllib
from typing import Any

from fedward_server.reports.job_text import job_text


def test_the_text_of_a_job_reads_back_as_the_same_table(classification: dict[str, Any]) -> None:
    assert tomllib.loads(job_text(classification["job"])) == {
        **classification["job"],
        "model": {**classification["job"]["model"], "options": {"width": 32}},
    }


def test_no_job_gives_no_text() -> None:
    assert job_text({}) == ""
