"""A masked upload of another length or form is refused by name, and the totals stay as they are."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from numpy.typing import NDArray
from tests.joint_federation import joint_job
from tests.server.coordinator.scripted_sites import (
    DEADLINE_SECONDS,
    Script,
    changed,
    exchange_over,
    question,
    reply_to,
)
from tests.tiny_federation import tiny_job

from fedward_common.errors import FedwardError, MalformedMessageError
from fedward_common.identities import SiteId
from fedward_common.secagg.layout import ContributionLayout, training_layout
from fedward_common.wire import messages
from fedward_common.wire.envelope import Envelope
from fedward_common.wire.flower_records import array_record, envelope_of, records_of
from fedward_server.coordinator.exchange import Failure
from fedward_server.coordinator.masked_totals import MaskedTotals
from fedward_server.coordinator.secure_answers import is_reply

Arrays = dict[str, NDArray[Any]]

MASKED = "secure_aggregation.enabled=true"
BIRCH = SiteId("birch")
REPLY = messages.SecureStepReply("mask", b"confirmed in advance")
NUM_WORDS = 5
MORE_BYTES = 9
ON_THE_WIRE = ("uint8", "int64", "float32")


def _layout(bits: int) -> ContributionLayout:
    if bits == 64:
        return training_layout(joint_job(ring_bits=64), 4, NUM_WORDS, evaluates=False)
    job = tiny_job(overrides=[MASKED, f"secure_aggregation.bits={bits}"])
    return training_layout(job, 4, NUM_WORDS, evaluates=False)


LAYOUTS = {f"{bits} bits": _layout(bits) for bits in (24, 32, 64)}
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
each_array = pytest.mark.parametrize("name", [messages.MASKED, messages.LANE])


def upload_of(layout: ContributionLayout, seed: int = 0) -> Arrays:
    """Give what an honest site sends."""
    draw = np.random.default_rng(seed)
    masked = draw.integers(0, 256, layout.num_words * layout.word_bytes).astype(np.uint8)
    lane = draw.integers(-(2**62), 2**62, layout.lane.length)
    return {messages.MASKED: masked, messages.LANE: lane}


def begun(layout: ContributionLayout) -> MaskedTotals:
    """Give totals that another site is in."""
    totals = MaskedTotals.empty(layout)
    totals.add(upload_of(layout, seed=1), layout)
    return totals


def bytes_of(totals: MaskedTotals) -> bytes:
    return totals.words.tobytes() + totals.lane.tobytes()


def resized(content: bytes, length: int) -> bytes:
    return (content + bytes(range(1, MORE_BYTES + 1)))[:length]


def other_lengths(content: bytes) -> list[int]:
    """Give every length up to a few bytes more, but for the right one."""
    return [n for n in range(len(content) + MORE_BYTES + 1) if n != len(content)]


class Coordinator:
    """Takes one answer of birch, as an attempt does that is under way."""

    def __init__(self, layout: ContributionLayout) -> None:
        self.layout, self.totals = layout, begun(layout)
        self._exchange, self._grid = exchange_over({})

    def code_of(self, answer: Script) -> str:
        """Say why an answer is refused; empty where it was added."""
        self._grid.scripts = {BIRCH: answer}
        (outcome,) = self._exchange.ask(question(), [BIRCH], DEADLINE_SECONDS)
        if isinstance(outcome, Failure):
            return outcome.code
        assert is_reply(outcome, "mask", {messages.MASKED, messages.LANE})
        try:
            self.totals.add(outcome.arrays, self.layout)
        except FedwardError as error:
            return error.code
        return ""

    def require_nothing_but(self, code: str, answers: Iterator[Script]) -> int:
        """Check that each is refused so and adds nothing, and that an honest one still counts."""
        before, num_refused = bytes_of(self.totals), 0
        for answer in answers:
            assert self.code_of(answer) == code
            assert bytes_of(self.totals) == before
            num_refused += 1
        assert self.code_of(sending(upload_of(self.layout))) == ""
        assert bytes_of(self.totals) != before
        return num_refused


def sending(arrays: Arrays) -> Script:
    """Answer with these arrays, signed by the site itself."""
    return changed(message=REPLY, arrays=arrays)


def _on_the_way(arrays: Arrays, spoiled: dict[str, Array]) -> Script:
    """Send other bytes than those that the site signed."""

    def script(site: SiteId, request: Message) -> Message:
        reply = reply_to(request, site, message=REPLY, arrays=arrays)
        record = ArrayRecord({**array_record(arrays), **spoiled})
        return Message(records_of(envelope_of(reply.content)[0], record), reply_to=request)

    return script


def _raw(array: NDArray[Any], data: bytes, shape: tuple[int, ...]) -> Array:
    return Array(dtype=array.dtype.name, shape=shape, stype="fedward.raw-le", data=data)


# -- on the way ------------------------------------------------------------------------------------


@each_layout
@each_array
def test_an_array_that_is_cut_or_lengthened_at_any_byte_is_malformed(
    layout: ContributionLayout, name: str
) -> None:
    arrays = upload_of(layout)
    array, content = arrays[name], arrays[name].tobytes()
    cut = (
        _on_the_way(arrays, {name: _raw(array, resized(content, length), array.shape)})
        for length in other_lengths(content)
    )
    refused = Coordinator(layout).require_nothing_but("MALFORMED_MESSAGE", cut)
    assert refused == len(content) + MORE_BYTES


@each_layout
@each_array
def test_an_array_whose_shape_says_that_it_was_cut_is_not_the_one_that_was_signed(
    layout: ContributionLayout, name: str
) -> None:
    arrays = upload_of(layout)
    array, content = arrays[name], arrays[name].tobytes()
    size = array.itemsize
    cut = (
        _on_the_way(arrays, {name: _raw(array, resized(content, length), (length // size,))})
        for length in other_lengths(content)
        if length % size == 0
    )
    assert Coordinator(layout).require_nothing_but("UNVERIFIED_MESSAGE", cut) > 3


@pytest.mark.parametrize("field", ["header_bytes", "body", "signature"])
def test_an_envelope_that_is_cut_at_any_byte_is_refused(field: str) -> None:
    layout = LAYOUTS["24 bits"]
    coordinator = Coordinator(layout)
    before = bytes_of(coordinator.totals)
    lengths: set[int] = set()

    def cut(length: int | None) -> Script:
        def script(site: SiteId, request: Message) -> Message:
            reply = reply_to(request, site, message=REPLY, arrays=upload_of(layout))
            envelope, arrays = envelope_of(reply.content)
            lengths.add(len(getattr(envelope, field)))
            fields = {**vars(envelope), field: getattr(envelope, field)[:length]}
            return Message(records_of(Envelope(**fields), array_record(arrays)), reply_to=request)

        return script

    codes = {coordinator.code_of(cut(0))}
    (whole,) = lengths
    codes |= {coordinator.code_of(cut(length)) for length in range(1, whole)}
    assert codes <= {"MALFORMED_MESSAGE", "UNVERIFIED_MESSAGE"}
    assert bytes_of(coordinator.totals) == before
    assert coordinator.code_of(cut(None)) == ""


# -- signed by the site itself ---------------------------------------------------------------------


@each_layout
@each_array
def test_a_site_that_signs_another_length_or_type_adds_nothing(
    layout: ContributionLayout, name: str
) -> None:
    arrays = upload_of(layout)
    content = arrays[name].tobytes()
    lengths = [len(content), *other_lengths(content)]
    others = (
        sending({**arrays, name: np.frombuffer(resized(content, length), dtype)})
        for dtype in ON_THE_WIRE
        for length in lengths
        if length % np.dtype(dtype).itemsize == 0
        and (dtype != arrays[name].dtype or length != len(content))
    )
    assert Coordinator(layout).require_nothing_but("MALFORMED_MESSAGE", others) > len(content)


@given(
    layout=st.sampled_from(list(LAYOUTS.values())),
    name=st.sampled_from([messages.MASKED, messages.LANE]),
    other=arrays_of.arrays(
        st.sampled_from([np.dtype(kind) for kind in (*ON_THE_WIRE, "uint64", "float64", "int8")]),
        arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=40),
    ),
)
def test_an_array_of_any_other_type_or_shape_adds_nothing(
    layout: ContributionLayout, name: str, other: NDArray[Any]
) -> None:
    arrays, totals = upload_of(layout), begun(layout)
    assume((other.dtype, other.shape) != (arrays[name].dtype, arrays[name].shape))
    before = bytes_of(totals)
    with pytest.raises(MalformedMessageError):
        totals.add({**arrays, name: other}, layout)
    assert bytes_of(totals) == before


@each_layout
@each_array
def test_the_right_bytes_in_another_shape_add_nothing(
    layout: ContributionLayout, name: str
) -> None:
    arrays, totals = upload_of(layout), begun(layout)
    before, size = bytes_of(totals), arrays[name].size
    for shape in ((size, 1), (1, size), (1, 1, size)):
        with pytest.raises(MalformedMessageError):
            totals.add({**arrays, name: arrays[name].reshape(shape)}, layout)
    assert bytes_of(totals) == before
