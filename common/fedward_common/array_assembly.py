"""Arrays put together from the parts that came of them, in little more than their own memory.

Flower keeps all parts of an array, joins them, and copies what was joined: three times an array.
Here a part is let go as soon as it stands in its place.
"""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from flwr.app import Array
from flwr.app.message.arraychunk import ArrayChunk
from flwr.supercore.constant import HEAD_BODY_DIVIDER
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    get_object_body,
    get_object_children_ids_from_object_content,
    get_object_type_from_object_content,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

_flowers_own = inflate_object_from_contents


@dataclass
class _Room:
    """What may still be made."""

    num_bytes: int
    num_arrays: int


_room: ContextVar[_Room | None] = ContextVar("room", default=None)


@contextmanager
def arrays_bounded(num_bytes: int | None, num_arrays: int = 8) -> Iterator[None]:
    """Make no more than so many arrays, and bytes of them all, for as long as the block lasts.

    A part may stand in many arrays, and many times in one, so what came says little of what it
    would become. Without a number of bytes there is no bound.
    """
    before = _room.set(None if num_bytes is None else _Room(num_bytes, num_arrays))
    try:
        yield
    finally:
        _room.reset(before)


def inflate_in_place(
    object_id: str,
    object_contents: dict[str, bytes],
    *,
    keep_object_contents: bool = False,
    objects: dict[str, InflatableObject] | None = None,
) -> InflatableObject:
    """Do what Flower's `inflate_object_from_contents` does, and let go of an array's parts.

    Args:
        object_id: Of what is wanted.
        object_contents: What came, by its id; emptied of what was used.
        keep_object_contents: It must stay as it is; Flower's own way is taken.
        objects: What was made already, by its id.

    Raises:
        ValueError: The parts of an array are not those that it names, or `arrays_bounded` allows
            no more.
    """
    objects = {} if objects is None else objects
    content = object_contents.get(object_id, b"")
    is_array = bool(content) and get_object_type_from_object_content(content) == Array.__qualname__
    if object_id in objects or keep_object_contents or not is_array:
        return _flowers_own(
            object_id,
            object_contents,
            keep_object_contents=keep_object_contents,
            objects=objects,
        )
    del object_contents[object_id]
    objects[object_id] = array = _assembled(content, object_contents)
    return array


def _assembled(content: bytes, object_contents: dict[str, bytes]) -> Array:
    """Make one array, and drop those of its parts that nothing else is made of."""
    named = get_object_children_ids_from_object_content(content)
    about = json.loads(get_object_body(content, Array))
    order = [named[place] for place in about["arraychunk_ids"]]
    if set(order) != set(named):
        raise ValueError("an array is not made of the parts that it names")
    size = sum(len(_body_of(object_contents[part])) for part in order)
    _take_room(size)
    needed_again = _parts_of_others(object_contents)
    last_places = {part: place for place, part in enumerate(order)}
    # `getvalue` hands out this very object, whose memory the system gives as it is written.
    joined = io.BytesIO(bytes(size))
    with joined.getbuffer() as room:
        at = 0
        for place, part in enumerate(order):
            body = _body_of(object_contents[part])
            room[at : at + len(body)] = body
            at += len(body)
            if last_places[part] == place and part not in needed_again:
                del object_contents[part], body
    return _array(about, joined.getvalue())


def _take_room(num_bytes: int) -> None:
    room = _room.get()
    if room is None:
        return
    room.num_arrays -= 1
    room.num_bytes -= num_bytes
    if room.num_arrays < 0 or room.num_bytes < 0:
        raise ValueError("more arrays, or larger ones, than may come")


def _array(about: Mapping[str, object], data: bytes) -> Array:
    shape = about["shape"]
    if not isinstance(shape, list):
        raise ValueError("an array's shape is no list")
    return Array(str(about["dtype"]), tuple(shape), str(about["stype"]), data)


def _parts_of_others(object_contents: Mapping[str, bytes]) -> set[str]:
    """Name what the rest is made of; equal parts of two arrays are one."""
    return {
        part
        for content in object_contents.values()
        for part in get_object_children_ids_from_object_content(content)
    }


def _body_of(content: bytes) -> memoryview:
    if get_object_type_from_object_content(content) != ArrayChunk.__qualname__:
        raise ValueError("a part of an array is of another kind")
    return memoryview(content)[content.find(HEAD_BODY_DIVIDER) + len(HEAD_BODY_DIVIDER) :]
