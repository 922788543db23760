import dataclasses
from typing import Any, Literal, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.told_results import FIGURE, a_result

from fedward_common.errors import MalformedMessageError
from fedward_common.wire.canonical_cbor import encode_canonically
from fedward_common.wire.messages import (
    EvaluateReply,
    EvaluateWeights,
    ManifestQuery,
    ManifestReply,
    Message,
    Refusal,
    SecureReady,
    SecureStep,
    SecureStepReply,
    TrainReply,
    TrainRound,
    decode_message,
    encode_message,
)
from fedward_common.wire.run_result import (
    MAX_RESULT_BYTES,
    PooledFigure,
    ResultReceipt,
)

EXAMPLES: tuple[Message, ...] = (
    ManifestQuery(b"\xa0\xff", b"\xa1"),
    ManifestReply(20, 49, "patient"),
    TrainRound(evaluate=True, counted_rounds={"alder": 3, "birch": 0}),
    TrainReply(7),
    EvaluateWeights("validation"),
    EvaluateReply(),
    SecureReady(b"\x01keys"),
    SecureStep("share", "validation", b"\x02"),
    SecureStepReply("unmask", b""),
    a_result(),
    ResultReceipt("ab" * 32, "cd" * 32),
    Refusal("E_NO_TRAINING_PATIENTS"),
)
WRONG_FOR: dict[type, tuple[Any, ...]] = {
    bytes: ("text", 1, None, ["a"], True),
    int: (True, 1.0, "1", None, 2**63, -(2**63), [1]),
    str: (b"bytes", 1, None, ["a"], False, {}),
    bool: (0, 1, "true", None, [True]),
    dict: ("text", 1, None, [1], True, {"alder": "1"}, {"alder": 1.0}, {"alder": True}),
}
FIELDS = [
    pytest.param(message, field.name, id=f"{type(message).__name__}.{field.name}")
    for message in EXAMPLES
    for field in dataclasses.fields(message)
]


def changed(message: Message, **values: Any) -> tuple[str, bytes]:
    kind, _ = encode_message(message)
    return kind, encode_canonically(dataclasses.asdict(message) | values)


def test_there_is_an_example_of_every_message() -> None:
    assert {type(message) for message in EXAMPLES} == set(get_args(Message))


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert decode_message(*encode_message(message)) == message


def test_replies_that_only_compare_as_equal_are_not_sent_as_the_same() -> None:
    # One of them is remembered, and `True == 1`.
    assert encode_message(TrainReply(1)) == ("train.reply", encode_canonically({"local_steps": 1}))
    assert encode_message(TrainReply(True)) == (
        "train.reply",
        encode_canonically({"local_steps": True}),
    )


def test_no_two_messages_share_a_kind() -> None:
    assert len({encode_message(message)[0] for message in EXAMPLES}) == len(EXAMPLES)


@given(
    low=st.integers(0, 2**63 - 1),
    high=st.integers(0, 2**63 - 1),
    unit=st.sampled_from(["patient", "lesion", "image"]),
)
@settings(max_examples=40, deadline=None)
def test_any_band_comes_back_as_it_was(
    low: int, high: int, unit: Literal["patient", "lesion", "image"]
) -> None:
    message = ManifestReply(low, high, unit)
    assert decode_message(*encode_message(message)) == message


def test_a_unit_of_the_sites_own_words_is_refused() -> None:
    fields = {"band_low": 10, "band_high": 19, "unit": "Mrs Example"}
    with pytest.raises(MalformedMessageError, match="unit"):
        decode_message("manifest.reply", encode_canonically(fields))


@pytest.mark.parametrize(("message", "name"), FIELDS)
def test_a_message_without_a_field_is_refused(message: Message, name: str) -> None:
    kind, _ = encode_message(message)
    fields = {key: value for key, value in dataclasses.asdict(message).items() if key != name}
    with pytest.raises(MalformedMessageError, match="missing"):
        decode_message(kind, encode_canonically(fields))


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_with_a_field_more_is_refused(message: Message) -> None:
    with pytest.raises(MalformedMessageError, match="unknown key 'extra'"):
        decode_message(*changed(message, extra=0))


@pytest.mark.parametrize(("message", "name"), FIELDS)
def test_a_field_of_a_wrong_type_is_refused(message: Message, name: str) -> None:
    for wrong in WRONG_FOR[type(getattr(message, name))]:
        with pytest.raises(MalformedMessageError, match=name):
            decode_message(*changed(message, **{name: wrong}))


@pytest.mark.parametrize("message", EXAMPLES[:5], ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("body", [[], "text", b"", 0, None, True, 1.5], ids=repr)
def test_a_body_that_is_no_table_is_refused(message: Message, body: Any) -> None:
    kind, _ = encode_message(message)
    with pytest.raises(MalformedMessageError, match="table"):
        decode_message(kind, encode_canonically(body))


@pytest.mark.parametrize("split", ["train", "Test", "", "validation "])
def test_only_validation_and_test_patients_are_evaluated(split: str) -> None:
    with pytest.raises(MalformedMessageError, match="split"):
        decode_message(*changed(EvaluateWeights("test"), split=split))


@pytest.mark.parametrize("kind", ["", "train.round ", "TRAIN.ROUND", "__class__", "x" * 10_000])
def test_an_unknown_kind_is_refused_in_a_short_message(kind: str) -> None:
    with pytest.raises(MalformedMessageError, match="unknown kind") as caught:
        decode_message(kind, encode_canonically({}))
    assert len(str(caught.value)) < 100


def test_one_kinds_body_is_no_other_kinds() -> None:
    kinds = [encode_message(message)[0] for message in EXAMPLES]
    for message in EXAMPLES:
        own_kind, body = encode_message(message)
        for kind in set(kinds) - {own_kind}:
            with pytest.raises(MalformedMessageError):
                decode_message(kind, body)


def test_a_field_given_twice_is_refused() -> None:
    once = encode_canonically({"split": "test"})
    twice = b"\xa2" + once[1:] * 2
    assert decode_message("evaluate.weights", once) == EvaluateWeights("test")
    with pytest.raises(MalformedMessageError, match="canonical"):
        decode_message("evaluate.weights", twice)


@given(unverified=st.binary(max_size=40), kind=st.sampled_from(["train.reply", "refusal"]))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_no_message(unverified: bytes, kind: str) -> None:
    try:
        message = decode_message(kind, unverified)
    except MalformedMessageError:
        return
    assert encode_message(message) == (kind, unverified)


# -- the result of a run ---------------------------------------------------------------------------

numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**53)
figures = st.builds(
    PooledFigure,
    numbers, numbers, numbers, counts, st.none() | st.text(max_size=40), numbers, counts,
    st.none() | counts, st.none() | counts,
)  # fmt: skip


@given(
    test=st.dictionaries(st.text(max_size=20), figures, max_size=4),
    edges=st.dictionaries(st.text(max_size=20), counts, max_size=2),
)
@settings(max_examples=60, deadline=None)
def test_any_result_comes_back_as_it_was(
    test: dict[str, PooledFigure], edges: dict[str, int]
) -> None:
    message = a_result(test=test, threshold_bin_edges=edges)
    assert decode_message(*encode_message(message)) == message


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(PooledFigure)])
@pytest.mark.parametrize(
    "wrong", [float("nan"), float("inf"), "0.5", True, [1], b"1", -1, "x" * 301]
)
def test_a_figure_that_is_none_is_refused(field: str, wrong: Any) -> None:
    if wrong == -1 and field in ("value", "low", "high", "bin_bound"):
        return  # a finite number
    if wrong == "0.5" and field == "reason":
        return
    figure = dataclasses.asdict(FIGURE) | {field: wrong}
    with pytest.raises(MalformedMessageError):
        decode_message(*changed(a_result(), test={"auc": figure}))


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(PooledFigure)])
def test_a_figure_without_a_field_or_with_one_more_is_refused(field: str) -> None:
    figure = dataclasses.asdict(FIGURE)
    with pytest.raises(MalformedMessageError, match="unknown key"):
        decode_message(*changed(a_result(), test={"auc": figure | {"site": "alder"}}))
    del figure[field]
    with pytest.raises(MalformedMessageError, match="missing"):
        decode_message(*changed(a_result(), test={"auc": figure}))


@pytest.mark.parametrize("num_sites", [1, 2])
def test_figures_of_so_few_sites_that_each_knows_the_others_are_refused(num_sites: int) -> None:
    with pytest.raises(MalformedMessageError, match="are not told"):
        a_result(num_sites=num_sites)
    assert a_result(num_sites=num_sites, test={}).num_sites == num_sites


@pytest.mark.parametrize("head", ["", "ab", "AB" * 32, "ab" * 32 + "\n", "é" * 64])
def test_what_is_no_hash_is_no_head_of_a_log(head: str) -> None:
    with pytest.raises(MalformedMessageError, match="journal_head"):
        decode_message(*changed(a_result(), journal_head=head))
    receipt = ResultReceipt("ab" * 32, "")
    with pytest.raises(MalformedMessageError, match="audit_head"):
        decode_message(*changed(receipt, audit_head=head))
    if head:
        with pytest.raises(MalformedMessageError, match="ledger_head"):
            decode_message(*changed(receipt, ledger_head=head))


@pytest.mark.parametrize(
    "name", ["selected_round", "rounds_committed", "num_sites", "journal_lines"]
)
def test_a_run_that_is_over_has_rounds_sites_and_a_journal(name: str) -> None:
    with pytest.raises(MalformedMessageError):
        decode_message(*changed(a_result(test={}), **{name: 0}))


def test_a_result_that_is_too_large_is_refused() -> None:
    many = {f"figure {number}": FIGURE for number in range(3000)}
    kind, body = encode_message(a_result(test=many))
    assert MAX_RESULT_BYTES < len(body) < 1 << 20
    with pytest.raises(MalformedMessageError, match="at most"):
        decode_message(kind, body)
