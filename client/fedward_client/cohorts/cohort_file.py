"""Which files a site's cohort is made of: `[sites.NAME]` of a cohorts file, `cohorts/NAME.toml`.

A cohort has one source table or several. In a cohorts file paths are relative to the data root and
cannot leave it; in a site's own `cohorts/NAME.toml`, which only the hospital writes, they are
absolute.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fedward_client.cohorts.contained_path import placed_below
from fedward_client.cohorts.partition import PartitionSection
from fedward_client.cohorts.source import Split, Unit
from fedward_client.site_home import write_private_file
from fedward_common.consortium.organisations import parse_organisation
from fedward_common.errors import ConfigurationError
from fedward_common.identities import SiteId, parse_site_ids
from fedward_common.settings import from_table, read_toml
from fedward_common.toml_writing import toml_of

SourceKind = Literal["arrays", "image-archive", "volumes", "dicom-folder", "registered"]


@dataclass(frozen=True)
class ColumnsSection:
    """`columns`: which manifest column holds what; None takes the usual name.

    A column named here must exist. `split = ""` ignores a split column, so that the keyed hash of
    the patient decides. `labels` gives the column of a class of a multi-label task, where it has
    another name than the class.
    """

    image: str | None = None
    mask: str | None = None
    label: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    patient: str | None = None
    split: str | None = None


_KEY_HINTS = {
    "path": "name a file or folder",
    "manifest": "name a file or folder",
    "cohort": "name the registered cohort, as NAME or NAME@3",
}


@dataclass(frozen=True)
class SourceSettings:
    """One table of images.

    Args:
        source: The kind of files.
        path: The .npz, the .zip or the folder; the site's home where the cohort is registered.
        manifest: The CSV file that lists the images; "" where the cohort is registered.
        cohort: The registered cohort, NAME for its newest snapshot or NAME@k; else "".
        filter: Manifest column = value; all must match.
        unit: What the patient column stands for; with "image" every image is a unit of its own. A
            registered cohort has a unit of its own, and this one counts for nothing.
        columns: Names of the manifest's columns.
        labels: Value -> class name, class id, "exclude" or "not annotated". In segmentation the
            values are those of the mask, and 0 is the background unless listed; in a multi-label
            task 1, 0, "present" or "absent" stand in place of a class.
        splits: Value -> split, beside the usual words.
        max_excluded_share: Above this share of unusable cases the cohort is refused.
        patient_namespace: Where the sources of several hospitals are pooled, the hospital: the
            same patient id in two namespaces means two patients.
        partition: In a simulation that cuts the data into sites, this site's part.
    """

    source: SourceKind
    path: str
    manifest: str = ""
    cohort: str = ""
    filter: Mapping[str, str | int] = field(default_factory=dict)
    unit: Unit = "patient"
    columns: ColumnsSection = field(default_factory=ColumnsSection)
    labels: Mapping[str, str | int] = field(default_factory=dict)
    splits: Mapping[str, Split] = field(default_factory=dict)
    max_excluded_share: float = 0.2
    patient_namespace: str = ""
    partition: PartitionSection | None = None

    def __post_init__(self) -> None:
        self._require_keys()
        if not 0 <= self.max_excluded_share <= 1:
            raise ConfigurationError(
                f"max_excluded_share is {self.max_excluded_share}", hint="a share from 0 to 1"
            )

    def _require_keys(self) -> None:
        registered = self.source == "registered"
        for key in ("path", "cohort" if registered else "manifest"):
            if not getattr(self, key).strip():
                raise ConfigurationError(f"{key} is empty", hint=_KEY_HINTS[key])
        default = ColumnsSection()
        unread: Mapping[str, bool] = {
            "manifest": registered and bool(self.manifest),
            "filter": registered and bool(self.filter),
            "columns": registered and self.columns != default,
            "labels": registered and bool(self.labels),
            "splits": registered and bool(self.splits),
            "cohort": not registered and bool(self.cohort),
        }
        for key in (key for key, is_unread in unread.items() if is_unread):
            raise ConfigurationError(
                f"{key} is not for source = {self.source!r}",
                hint="a registered cohort knows its labels and splits; leave the key out"
                if registered
                else 'only source = "registered" has a cohort; leave the key out',
            )

    def placed_below(self, data_root: Path, where: str = "") -> "SourceSettings":
        """Give the same settings with absolute paths below `data_root`.

        Raises:
            ConfigurationError: A path leaves the data root.
        """
        prefix = f"{where}." if where else ""
        return dataclasses.replace(
            self,
            path=str(placed_below(data_root, self.path, f"{prefix}path")),
            manifest=self.manifest
            and str(placed_below(data_root, self.manifest, f"{prefix}manifest")),
        )


@dataclass(frozen=True)
class _SourceList:
    source: tuple[SourceSettings, ...]


# Stands in a site's table beside the keys of its source.
_ORGANISATION = "organisation"


def read_cohort_tables(table: object, data_root: Path) -> dict[SiteId, tuple[SourceSettings, ...]]:
    """Read the `[sites.NAME]` tables (or `[[sites.NAME]]` lists of them) of a cohorts file.

    Args:
        table: The parsed file; nothing but `sites` may stand at its top.
        data_root: The folder that paths are relative to.

    Returns:
        The sources of each site, paths absolute, sites in sorted order.

    Raises:
        ConfigurationError: It names the key; a path that leaves the data root is one.
    """
    sites = table.get("sites") if isinstance(table, Mapping) else None
    if not isinstance(table, Mapping) or not isinstance(sites, Mapping) or not sites:
        raise ConfigurationError(
            "the cohorts file has no site", hint="write a table [sites.NAME] for each hospital"
        )
    others = sorted(str(key) for key in table if key != "sites")
    if others:
        raise ConfigurationError(
            f"unknown key {others[0]!r}", hint="a cohorts file has [sites.NAME] tables only"
        )
    return {
        site: _read_sources(sites[site], f"sites.{site}", data_root)
        for site in parse_site_ids(str(name) for name in sites)
    }


def organisations_of(table: Any) -> dict[SiteId, str]:
    """Give the organisation of each site of a cohorts file whose table says one.

    Args:
        table: The parsed file, which `read_cohort_tables` accepts.

    Raises:
        ConfigurationError: It is no name, or a site has two.
    """
    found: dict[SiteId, str] = {}
    for site, source in table["sites"].items():
        several = source if isinstance(source, list | tuple) else (source,)
        for said in (one[_ORGANISATION] for one in several if _ORGANISATION in one):
            if not isinstance(said, str) or found.setdefault(site, said) != said:
                raise ConfigurationError(
                    f"sites.{site}.{_ORGANISATION} is no text, or another than before",
                    hint="a site belongs to one organisation; write its name once",
                )
            parse_organisation(said)
    return found


def _read_sources(table: object, where: str, data_root: Path) -> tuple[SourceSettings, ...]:
    several = isinstance(table, list | tuple)
    tables: Sequence[object] = table if isinstance(table, list | tuple) else (table,)
    if not tables:
        raise ConfigurationError(f"{where} has no source", hint="give it at least one")
    names = [f"{where}[{number}]" if several else where for number in range(len(tables))]
    return tuple(
        from_table(SourceSettings, _source_of(one), where=name).placed_below(data_root, name)
        for one, name in zip(tables, names, strict=True)
    )


def _source_of(table: object) -> object:
    """Leave out what is said of the site and not of the source."""
    if not isinstance(table, Mapping):
        return table
    return {key: value for key, value in table.items() if key != _ORGANISATION}


def write_cohort_file(path: Path, sources: Sequence[SourceSettings]) -> None:
    """Write `cohorts/NAME.toml` whole or not at all, for its owner alone.

    Raises:
        ConfigurationError: There is no source, or a path is not absolute.
    """
    _require_absolute(path, sources)
    tables = [_said(dataclasses.asdict(source)) for source in sources]
    write_private_file(path, toml_of({"source": tables}).encode("utf-8"))


def read_cohort_file(path: Path) -> tuple[SourceSettings, ...]:
    """Read `cohorts/NAME.toml`.

    Raises:
        ConfigurationError: It is missing or unusable, or a path in it is not absolute.
    """
    sources = from_table(_SourceList, read_toml(path)).source
    _require_absolute(path, sources)
    return sources


def _require_absolute(path: Path, sources: Sequence[SourceSettings]) -> None:
    if not sources:
        raise ConfigurationError(f"{path}: the cohort has no source", hint="add [[source]]")
    for source in sources:
        for key, value in (("path", source.path), ("manifest", source.manifest)):
            if value and not Path(value).is_absolute():
                raise ConfigurationError(
                    f"{path}: {key} is {value!r}", hint="a registered cohort has absolute paths"
                )


def _said(table: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is empty or None, in tables below too."""
    said = {key: _said(v) if isinstance(v, Mapping) else v for key, v in table.items()}
    return {key: value for key, value in said.items() if value not in ({}, None)}
