import datetime
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedward_common.errors import ConfigurationError
from fedward_common.settings import from_table, parse_override, read_toml, with_overrides

HUGE = 10**400
BEYOND_TEXT = 16**10_000  # Python refuses to print it


@dataclass(frozen=True)
class Inner:
    depth: int = 1
    label: str = ""


@dataclass(frozen=True)
class Sample:
    name: str
    count: int = 3
    rate: float = 0.5
    enabled: bool = False
    secret: bytes = b""
    kind: Literal["round", "square"] = "round"
    window: tuple[float, float] = (0.0, 1.0)
    sizes: tuple[int, ...] = ()
    inner: Inner = field(default_factory=Inner)
    inners: tuple[Inner, ...] = ()
    maybe: float | None = None
    either: int | str | tuple[int, ...] = 0
    options: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)


def sample(**values: Any) -> Sample:
    return from_table(Sample, {"name": "n", **values})


def test_a_full_table_gives_every_field_its_value() -> None:
    assert sample(
        count=4, rate=2, enabled=True, kind="square", window=[1, 2.5], sizes=[1, 2],
        inner={"depth": 2}, inners=[{"label": "a"}, {}], maybe=1.5, either="x",
        options={"a": True, "b": 1, "c": 1.5, "d": "t"}, limits={"x": 1},
    ) == Sample(
        name="n", count=4, rate=2.0, enabled=True, kind="square", window=(1.0, 2.5), sizes=(1, 2),
        inner=Inner(2), inners=(Inner(label="a"), Inner()), maybe=1.5, either="x",
        options={"a": True, "b": 1, "c": 1.5, "d": "t"}, limits={"x": 1},
    )  # fmt: skip


def test_what_is_left_out_has_its_default() -> None:
    assert sample() == Sample(name="n")


def test_an_integer_is_taken_where_a_float_is_wanted_and_becomes_one() -> None:
    assert type(sample(rate=1).rate) is float


@pytest.mark.parametrize("value", [[1, 2], "text", 7])
def test_the_first_choice_that_fits_a_union_is_taken(value: Any) -> None:
    assert sample(either=value).either == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("naem", "name"), ("cuont", "count"), ("enable", "enabled"), ("Rate", "rate")],
)
def test_an_unknown_key_names_the_nearest_known_one(written: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"unknown key '{written}'") as caught:
        sample(**{written: 1})
    assert caught.value.hint == f"did you mean '{meant}'?"


def test_an_unknown_key_like_no_other_lists_them_all() -> None:
    with pytest.raises(ConfigurationError) as caught:
        sample(inner={"zzz": 1})
    assert str(caught.value) == "unknown key 'inner.zzz'"
    assert caught.value.hint == "known keys: depth, label"


def test_a_missing_key_is_named_with_what_it_needs() -> None:
    with pytest.raises(ConfigurationError, match="name is missing") as caught:
        from_table(Sample, {})
    assert caught.value.hint == "name needs text in quotes"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 1),
        ("name", True),
        ("name", ["n"]),
        ("name", None),
        ("name", datetime.date(2026, 1, 1)),
        ("count", True),
        ("count", 1.0),
        ("count", "1"),
        ("count", 2**63),
        ("count", -(2**63)),
        ("count", HUGE),
        ("count", BEYOND_TEXT),
        ("rate", "0.5"),
        ("rate", False),
        ("rate", math.nan),
        ("rate", math.inf),
        ("rate", -math.inf),
        ("rate", HUGE),
        ("rate", -HUGE),
        ("rate", None),
        ("enabled", 0),
        ("enabled", 1),
        ("enabled", "true"),
        ("secret", "text"),
        ("kind", "Round"),
        ("kind", ""),
        ("kind", 1),
        ("kind", True),
        ("kind", ["round"]),
        ("kind", {"round": 1}),
        ("kind", BEYOND_TEXT),
        ("window", 1.0),
        ("window", []),
        ("window", [1.0]),
        ("window", [1.0, 2.0, 3.0]),
        ("window", [1.0, "2"]),
        ("window", [1.0, math.nan]),
        ("window", "ab"),
        ("sizes", 1),
        ("sizes", [1, True]),
        ("sizes", [1, 2.0]),
        ("sizes", [[1]]),
        ("sizes", {"a": 1}),
        ("inner", 1),
        ("inner", [{}]),
        ("inner", {"depth": "1"}),
        ("inner", {"depht": 1}),
        ("inners", {}),
        ("inners", [1]),
        ("inners", [{"label": 1}]),
        ("maybe", "1"),
        ("maybe", True),
        ("maybe", math.nan),
        ("either", 1.5),
        ("either", [1.5]),
        ("either", {}),
        ("either", BEYOND_TEXT),
        ("options", 1),
        ("options", ["a"]),
        ("options", {"a": [1]}),
        ("options", {"a": math.inf}),
        ("options", {"a": HUGE}),
        ("options", {"a": {"b": 1}}),
        ("limits", {"x": 1.0}),
    ],
    ids=lambda value: ascii(value)[:20] if value is not BEYOND_TEXT else "beyond text",
)
def test_a_value_of_a_wrong_type_is_refused_by_the_keys_name_with_a_hint(
    key: str, value: Any
) -> None:
    with pytest.raises(ConfigurationError, match=f"{key}") as caught:
        sample(**{key: value})
    assert caught.value.hint
    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("table", [None, 1, "text", [], [{}], True, b"bytes"], ids=repr)
def test_what_is_no_table_is_refused(table: object) -> None:
    with pytest.raises(ConfigurationError, match="must be a table"):
        from_table(Sample, table)


def test_the_error_names_the_place_inside_nested_tables() -> None:
    with pytest.raises(ConfigurationError, match=r"inners\[1\]\.depth is 'x' \(text\)"):
        sample(inners=[{}, {"depth": "x"}])
    with pytest.raises(ConfigurationError, match=r"options\.a"):
        sample(options={"a": {}})


def test_a_value_nested_deeper_than_python_recurses_is_refused() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    for key in ("name", "kind", "either", "options", "inner", "limits"):
        with pytest.raises(ConfigurationError):
            sample(**{key: {"a": deep}})


numbers = st.integers() | st.floats() | st.sampled_from([HUGE, 2**63, -1, 0])
toml_scalars = st.one_of(
    numbers, st.booleans(), st.text(max_size=8), st.dates(), st.datetimes(), st.times()
)
keys = st.sampled_from(["name", "count", "inner", "depth", "options", "window"]) | st.text(
    max_size=6
)
toml_values = st.recursive(
    toml_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(list(Sample.__dataclass_fields__))


@given(table=st.dictionaries(field_names | keys, toml_values, max_size=8))
@example(table={"name": ""})
@example(table={"name": "n", "options": {"a": HUGE}})
@settings(max_examples=200, deadline=None)
def test_any_toml_table_is_taken_or_refused_by_the_named_error(table: dict[str, Any]) -> None:
    try:
        built = from_table(Sample, table)
    except ConfigurationError as error:
        assert error.hint
        return
    assert built.name == table["name"]


def written(folder: Path, content: bytes) -> Path:
    path = folder / "settings.toml"
    path.write_bytes(content)
    return path


def test_a_toml_file_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, 'a = 1\n[b]\nc = "ü"\n'.encode())
    assert read_toml(path) == {"a": 1, "b": {"c": "ü"}}


def test_an_empty_file_is_an_empty_table(tmp_path: Path) -> None:
    assert read_toml(written(tmp_path, b"")) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"a = 1\na = 2",
        b"[a]\n[a]",
        b"a = ",
        b"a",
        b"\x00",
        b"a = 1_",
        b"a = 2026-02-30",
        b'a = "\\ud800"',
        b"{}",
        b"\xef\xbb\xbfa = 1",
        "a = 1".encode("utf-16"),
        "a = 1".encode("utf-16-le"),
        b'a = "\xff"',
        b'a = "\xed\xa0\x80"',
        b"a = " + b"1" * 5000,
        b"a = " + b"[" * 5000,
        b"a = " + b"[" * 40 + b"]" * 40,
        b".".join([b"a"] * 3000) + b" = 1",
        b"[" + b".".join([b"a"] * 3000) + b"]",
        b"a = {" + b".".join([b"a"] * 3000) + b" = 1}",
        b"#" * 10_000_000,
        b"a = 1\n" + b" " * 1_000_000,
    ],
    ids=lambda content: ascii(content)[2:22],
)
def test_what_is_no_usable_toml_is_refused_by_the_files_name_with_a_hint(
    tmp_path: Path, content: bytes
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ConfigurationError, match=r"settings\.toml") as caught:
        read_toml(path)
    assert caught.value.hint


def test_a_file_of_exactly_1_mb_is_read(tmp_path: Path) -> None:
    assert read_toml(written(tmp_path, b"a = 1\n" + b" " * 999_994)) == {"a": 1}


def test_not_a_number_and_infinity_are_refused_where_they_are_used(tmp_path: Path) -> None:
    for text in (b"nan", b"inf", b"-inf", b"1e400", b"-1e400", b"1" + b"0" * 400):
        table = read_toml(written(tmp_path, b'name = "n"\nrate = ' + text))
        with pytest.raises(ConfigurationError, match="rate is"):
            from_table(Sample, table)


def loop(folder: Path) -> Path:
    (folder / "loop").symlink_to("loop")
    return folder / "loop"


@pytest.mark.parametrize(
    "make",
    [lambda folder: folder / "none.toml", lambda folder: folder, loop],
    ids=["missing", "folder", "loop of links"],
)
def test_a_path_that_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_toml(make(tmp_path))
    assert caught.value.hint == "check the path"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
def test_a_file_without_an_end_is_refused_after_1_mb() -> None:
    with pytest.raises(ConfigurationError, match="larger than"):
        read_toml(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("text", "keys", "value"),
    [
        ("a=1", ["a"], 1),
        ("a.b.c=1.5", ["a", "b", "c"], 1.5),
        ("a=true", ["a"], True),
        ("a=True", ["a"], "True"),
        ("a=cnn", ["a"], "cnn"),
        ('a="cnn"', ["a"], "cnn"),
        ("a='cnn'", ["a"], "cnn"),
        ('a="1"', ["a"], "1"),
        ("a=[1, 2]", ["a"], [1, 2]),
        ('a=["x"]', ["a"], ["x"]),
        ("a={b = 1}", ["a"], {"b": 1}),
        ("a=", ["a"], ""),
        ("a=b=c", ["a"], "b=c"),
        (" a . b = cnn ", ["a", "b"], "cnn"),
        ("a=left-right", ["a"], "left-right"),
        ("a=../model file.safetensors", ["a"], "../model file.safetensors"),
        ("a=1\nb = 2", ["a"], "1\nb = 2"),
        ("a=1\n[b]\nc = 2", ["a"], "1\n[b]\nc = 2"),
        ("a=" + "1" * 5000, ["a"], "1" * 5000),
        ("a=" + "[" * 5000, ["a"], "[" * 5000),
        ("a=ü", ["a"], "ü"),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_an_override_is_a_key_and_a_toml_value_or_text(
    text: str, keys: list[str], value: Any
) -> None:
    parsed = parse_override(text)
    assert parsed == (keys, value)
    assert type(parsed[1]) is type(value)


@pytest.mark.parametrize(
    "text", ["", "a", "=1", " =1", "a..b=1", ".a=1", "a.=1", ".=1", "a=\udcff"]
)
def test_an_override_of_a_bad_form_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--set") as caught:
        parse_override(text)
    assert caught.value.hint


@given(text=st.text(max_size=30) | st.text("ab.=[]{}\"'\n 1,", max_size=20))
@settings(max_examples=200, deadline=None)
def test_any_override_is_taken_or_refused_by_the_named_error(text: str) -> None:
    try:
        result = with_overrides({"a": {"b": 1}}, [text])
    except ConfigurationError as error:
        assert error.hint
        return
    assert result


def test_overrides_are_set_in_order_in_a_copy() -> None:
    table = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    result = with_overrides(table, ["a.b=5", "a.c.d=6", "new.key=x", "e=7", "e=8"])
    assert result == {"a": {"b": 5, "c": {"d": 6}}, "e": 8, "new": {"key": "x"}}
    assert table == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}


@pytest.mark.parametrize("text", ["e.f=1", "a.b.c=1", "a.list.x=1"])
def test_an_override_inside_a_value_is_refused(text: str) -> None:
    table = {"a": {"b": 1, "list": [{"x": 0}]}, "e": 3}
    with pytest.raises(ConfigurationError, match="is no section") as caught:
        with_overrides(table, [text])
    assert caught.value.hint


def test_an_override_of_a_thousand_levels_is_refused_by_its_first_key() -> None:
    table = with_overrides({"name": "n"}, [".".join(["a"] * 5000) + "=1"])
    with pytest.raises(ConfigurationError, match="unknown key 'a'"):
        from_table(Sample, table)
