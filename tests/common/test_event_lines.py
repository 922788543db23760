"""Lines of JSON that a long-running process says."""

import io
import json
import threading

from fedward_common.event_lines import EventLines


def test_a_line_has_its_time_who_speaks_and_what_happened() -> None:
    stream = io.StringIO()
    EventLines("fedward-site", stream, lambda: 86_400.25)("ready", site="alder", port=7)
    assert json.loads(stream.getvalue()) == {
        "time": "1970-01-02T00:00:00.250+00:00",
        "level": "info",
        "program": "fedward-site",
        "event": "ready",
        "site": "alder",
        "port": 7,
    }


def test_a_line_with_a_code_is_a_warning() -> None:
    stream = io.StringIO()
    tell = EventLines("p", stream, lambda: 0.0)
    tell("child.ended", code="SIGNAL_9")
    tell("message.answered", code="")
    levels = [json.loads(line)["level"] for line in stream.getvalue().splitlines()]
    assert levels == ["warning", "info"]


def test_lines_of_several_threads_stay_whole() -> None:
    stream = io.StringIO()
    tell = EventLines("p", stream, lambda: 0.0)

    def say() -> None:
        for _ in range(50):
            tell("e", text="x" * 500)

    threads = [threading.Thread(target=say) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 200
    assert all(json.loads(line)["text"] == "x" * 500 for line in lines)


def test_a_reader_that_is_gone_stops_nobody() -> None:
    stream = io.StringIO()
    stream.close()
    EventLines("p", stream)("ready")
