"""How this project's processes look for, and push, the parts of a message."""

import inspect
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.supercore.inflatable import inflatable_utils
from flwr.supercore.inflatable.inflatable_utils import ObjectUnavailableError
from flwr.superlink.grid import HttpGrid

from fedward_common.array_assembly import inflate_in_place
from fedward_common.flower_runtime import hold_less, look_sooner

PULLS = ("pull_objects", "pull_and_inflate_object_from_tree")


@pytest.fixture
def flowers_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Flower's module, as it is again afterwards."""
    inside = vars(inflatable_utils)
    for name in ("push_object_contents_from_iterable", "inflate_object_from_contents"):
        monkeypatch.setitem(inside, name, inside[name])
    kept = {name: inside[name].__kwdefaults__ for name in PULLS}
    yield inflatable_utils
    for name, defaults in kept.items():
        inside[name].__kwdefaults__ = defaults


def test_a_part_that_is_still_being_stored_is_looked_for_again_at_once(
    flowers_own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    class Event:
        def is_set(self) -> bool:
            return False

        def set(self) -> None: ...

        def wait(self, seconds: float) -> None:
            waits.append(seconds)

    threads = SimpleNamespace(Event=Event, Lock=threading.Lock)
    monkeypatch.setattr(flowers_own, "threading", threads)
    tries = iter([None, None, b"content"])

    def pull(object_id: str) -> bytes:
        content = next(tries)
        if content is None:
            raise ObjectUnavailableError(object_id)
        return content

    look_sooner()
    assert flowers_own.pull_objects(["x"], pull) == {"x": b"content"}
    assert 0.04 <= waits[0] <= 0.06  # Flower's own first is a second
    assert 0.08 <= waits[1] <= 0.12


def test_what_is_changed_is_what_flower_has(flowers_own: Any) -> None:
    for name in PULLS:
        assert {"initial_backoff", "backoff_cap", "max_tries_per_object", "max_time"} <= (
            getattr(flowers_own, name).__kwdefaults__.keys()
        )
    source = inspect.getsource(flowers_own.push_objects)
    assert "push_object_contents_from_iterable(\n" in source
    for whole in (flowers_own.pull_and_inflate_object_from_tree, HttpGrid.pull_messages):
        assert "inflate_object_from_contents(" in inspect.getsource(whole)
    assert inspect.signature(inflate_in_place) == inspect.signature(
        flowers_own.inflate_object_from_contents, eval_str=True
    )


def test_arrays_are_put_together_in_their_own_memory(flowers_own: Any) -> None:
    hold_less()
    assert flowers_own.inflate_object_from_contents is inflate_in_place


def test_a_part_is_made_when_the_one_before_it_was_pushed(flowers_own: Any) -> None:
    steps: list[str] = []

    class Part:
        def __init__(self, name: str) -> None:
            self._name = name

        def deflate(self) -> bytes:
            steps.append(f"make {self._name}")
            return self._name.encode()

    def push(object_id: str, content: bytes) -> None:
        steps.append(f"push {content.decode()}")

    hold_less()
    parts = {name: Part(name) for name in ("a", "b", "c")}
    flowers_own.push_objects(parts, push, object_ids_to_push={"a", "c"})
    assert steps == ["make a", "push a", "make c", "push c"]
