import string
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedward_client.cohorts.cohort_file import (
    ColumnsSection,
    SourceSettings,
    organisations_of,
    read_cohort_file,
    read_cohort_tables,
    write_cohort_file,
)
from fedward_common.errors import ConfigurationError

TABLE = """
[sites.hospA]
source = "arrays"
path = "set/images.npz"
manifest = "set/manifest.csv"
filter = { site_simulated = "hospA", fold = 1 }
unit = "image"
[sites.hospA.columns]
image = "file"
[sites.hospA.labels]
"0" = "normal"
1 = 1
"9" = "exclude"
[sites.hospA.splits]
fold1 = "train"
"""


def tables(text: str, root: Path) -> Any:
    return read_cohort_tables(tomllib.loads(text), root)


def test_a_cohorts_file_gives_each_sites_sources_with_absolute_paths(tmp_path: Path) -> None:
    two = '\n[[sites.B]]\nsource="volumes"\npath="b"\nmanifest="b.csv"\n' * 2
    found = tables(TABLE + two, tmp_path)
    assert list(found) == ["B", "hospA"]
    assert len(found["B"]) == 2
    assert found["hospA"] == (
        SourceSettings(
            source="arrays",
            path=str(tmp_path.resolve() / "set/images.npz"),
            manifest=str(tmp_path.resolve() / "set/manifest.csv"),
            filter={"site_simulated": "hospA", "fold": 1},
            unit="image",
            columns=ColumnsSection(image="file"),
            labels={"0": "normal", "1": 1, "9": "exclude"},
            splits={"fold1": "train"},
        ),
    )


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('unit = "image"', 'units = "image"', "unit"),
        ('source = "arrays"', 'source = "array"', "arrays"),
        ('fold1 = "train"', 'fold1 = "dev"', "train"),
        ('unit = "image"', "max_excluded_share = 2", "0 to 1"),
        ('path = "set/images.npz"', 'path = " "', "file or folder"),
        ("[sites.hospA]", "version = 1\n[sites.hospA]", "only"),
        ("[sites.hospA.columns]\nimage", "[sites.hospA.columns]\nimages", "image"),
    ],
)
def test_what_cannot_be_used_is_one_error_with_a_hint(
    old: str, new: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        tables(TABLE.replace(old, new), tmp_path)
    assert told in raised.value.hint


@pytest.mark.parametrize("text", ["", "sites = 3", "[sites]", "[sites]\nhospA = []"])
def test_a_cohorts_file_without_sites_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        tables(text, tmp_path)


@pytest.mark.parametrize("path", ["../x.npz", "/x.npz", "a/../../x.npz", "link/x.npz", "..\\x.npz"])
@pytest.mark.parametrize("key", ["set/images.npz", "set/manifest.csv"])
def test_no_path_leaves_the_data_root(path: str, key: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigurationError, match="data root"):
        tables(TABLE.replace(key, path.replace("\\", "\\\\")), root)


def test_a_link_inside_the_data_root_and_a_linked_data_root_are_fine(tmp_path: Path) -> None:
    (tmp_path / "root" / "real").mkdir(parents=True)
    (tmp_path / "root" / "set").symlink_to(tmp_path / "root" / "real")
    (tmp_path / "alias").symlink_to(tmp_path / "root")
    (source,) = tables(TABLE, tmp_path / "alias")["hospA"]
    assert source.path == str((tmp_path / "root" / "real" / "images.npz").resolve())


text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
scalars = st.one_of(text, st.integers(-(2**62), 2**62))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=text.filter(lambda t: "\0" not in t),
    filters=st.dictionaries(text, scalars, max_size=3),
    labels=st.dictionaries(text, scalars, max_size=3),
    splits=st.dictionaries(text, st.sampled_from(["train", "validation", "test"]), max_size=2),
    split_column=st.sampled_from([None, "", "fold"]),
    share=st.floats(0, 1),
)
def test_a_cohort_file_is_read_back_as_it_was_written(
    tmp_path: Path,
    name: str,
    filters: Any,
    labels: Any,
    splits: Any,
    split_column: Any,
    share: float,
) -> None:
    one = SourceSettings(
        source="volumes", path=f"/data/{name}", manifest="/m.csv", filter=filters, labels=labels,
        splits=splits, columns=ColumnsSection(split=split_column), max_excluded_share=share,
        patient_namespace=name,
    )  # fmt: skip
    two = SourceSettings(source="arrays", path="/" + string.printable, manifest="/m\x7f\U0001f600")
    path = tmp_path / "c.toml"
    write_cohort_file(path, [one, two])
    assert read_cohort_file(path) == (one, two)
    assert path.stat().st_mode & 0o077 == 0


REGISTERED = """
[sites.hospA]
source = "registered"
path = "north/home"
cohort = "chest@3"
"""


def test_a_registered_cohort_is_named_and_has_no_manifest(tmp_path: Path) -> None:
    (source,) = tables(REGISTERED, tmp_path)["hospA"]
    assert source.path == str(tmp_path.resolve() / "north/home")
    assert (source.manifest, source.cohort) == ("", "chest@3")
    write_cohort_file(tmp_path / "c.toml", [source])
    assert read_cohort_file(tmp_path / "c.toml") == (source,)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (REGISTERED.replace('cohort = "chest@3"', ""), "cohort"),
        (REGISTERED + 'manifest = "m.csv"', "manifest"),
        (REGISTERED + "filter = { a = 1 }", "filter"),
        (REGISTERED + 'columns = { image = "a" }', "columns"),
        (REGISTERED + "labels = { 1 = 1 }", "labels"),
        (REGISTERED + 'splits = { a = "train" }', "splits"),
        (TABLE.replace('unit = "image"', 'cohort = "chest"'), "cohort"),
        (TABLE.replace('manifest = "set/manifest.csv"', ""), "manifest"),
    ],
)
def test_a_key_of_another_kind_of_source_is_refused_by_name(
    text: str, key: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=key):
        tables(text, tmp_path)


def test_a_registered_cohort_has_absolute_paths_and_a_source(tmp_path: Path) -> None:
    relative = SourceSettings(source="arrays", path="a.npz", manifest="/m.csv")
    for sources in ([relative], []):
        with pytest.raises(ConfigurationError):
            write_cohort_file(tmp_path / "c.toml", sources)
    assert not (tmp_path / "c.toml").exists()
    (tmp_path / "c.toml").write_text('[[source]]\nsource="arrays"\npath="a"\nmanifest="/m"\n')
    with pytest.raises(ConfigurationError, match="path is 'a'"):
        read_cohort_file(tmp_path / "c.toml")


# -- organisations ---------------------------------------------------------------------------------

SOURCE = 'source="volumes"\npath="b"\nmanifest="b.csv"\n'


def organisations(text: str, root: Path) -> dict[str, str]:
    table = tomllib.loads(text)
    read_cohort_tables(table, root)
    return {str(site): name for site, name in organisations_of(table).items()}


def test_a_site_says_its_organisation_beside_the_keys_of_its_source(tmp_path: Path) -> None:
    text = f'[sites.north]\norganisation = "Harbour Trust"\n{SOURCE}[sites.south]\n{SOURCE}'
    assert organisations(text, tmp_path) == {"north": "Harbour Trust"}
    plain = tables(text.replace('organisation = "Harbour Trust"\n', ""), tmp_path)
    assert tables(text, tmp_path) == plain


def test_of_several_sources_of_a_site_one_or_all_may_say_the_same_organisation(
    tmp_path: Path,
) -> None:
    said, silent = f'[[sites.B]]\norganisation = "H"\n{SOURCE}', f"[[sites.B]]\n{SOURCE}"
    for text in (said + silent, silent + said, said + said):
        assert organisations(text, tmp_path) == {"B": "H"}


@pytest.mark.parametrize("value", ["3", "true", '""', '" H"', '"two\\nlines"', "[]"])
def test_an_organisation_that_is_no_name_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigurationError, match="organisation"):
        organisations(f"[sites.north]\norganisation = {value}\n{SOURCE}", tmp_path)


def test_two_organisations_of_one_site_are_refused(tmp_path: Path) -> None:
    text = "".join(f'[[sites.B]]\norganisation = "{name}"\n{SOURCE}' for name in ("H", "I"))
    with pytest.raises(ConfigurationError, match=r"sites\.B\.organisation"):
        organisations(text, tmp_path)
