"""A header as a server sends it (DICOM JSON model, PS3.18 annex F) into `InstanceFacts`."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.bounded_reading import silenced_dicom
from fedward_client.dicom.header_facts import WANTED_KEYWORDS, facts_of
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_client.dicomweb.client import JsonDataset, first_value

_AVAILABLE_TRANSFER_SYNTAX = "00083002"
# RetrieveAETitle, InstanceAvailability, RetrieveURL, AvailableTransferSyntaxUID
_OF_THE_SERVER = frozenset({"00080054", "00080056", "00081190", _AVAILABLE_TRANSFER_SYNTAX})
_CHARACTER_SET = "SpecificCharacterSet"


def facts_from_json(header: JsonDataset, locator: str, pseudonym_key: bytes) -> InstanceFacts:
    """Take from one instance's metadata what checks need.

    Args:
        header: One object of a WADO-RS metadata answer.
        locator: Of the instance.
        pseudonym_key: Of the site.

    Raises:
        UnusableCaseError: `E_HEADER_UNREADABLE`, `E_HEADER_TOO_DEEP`, `E_HEADER_INCOMPLETE`.
    """
    with silenced_dicom():
        dataset = _dataset_of(header)
    return facts_of(dataset, locator, 0, state_number(header), pseudonym_key)


def state_number(header: JsonDataset) -> int:
    """Number what a server says of an instance, so that another content has another number.

    What tells of the server and not of the instance is left out: addresses, and what it can give.

    Returns:
        From 1 to 2^63 - 1; the same for the same attributes in any order.
    """
    said = {tag: value for tag, value in header.items() if tag not in _OF_THE_SERVER}
    text = json.dumps(_without_addresses(said), sort_keys=True)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) >> 1 or 1


def _without_addresses(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_addresses(one) for key, one in value.items() if key != "BulkDataURI"}
    return [_without_addresses(one) for one in value] if isinstance(value, list) else value


def _dataset_of(header: JsonDataset) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset

    wanted = {tag: header[tag] for tag in _wanted_tags() if isinstance(header.get(tag), Mapping)}
    try:
        dataset = Dataset.from_json(wanted, bulk_data_uri_handler=_no_bulk_data)
        dataset.file_meta = FileMetaDataset()
        syntax = first_value(header, _AVAILABLE_TRANSFER_SYNTAX)
        if isinstance(syntax, str):
            dataset.file_meta.TransferSyntaxUID = syntax
    except RecursionError:
        raise UnusableCaseError("E_HEADER_TOO_DEEP") from None
    except Exception:  # pydicom raises anything on malformed values, and quotes them
        raise UnusableCaseError("E_HEADER_UNREADABLE") from None
    return dataset


@cache
def _wanted_tags() -> tuple[str, ...]:
    from pydicom.datadict import tag_for_keyword

    tags = (tag_for_keyword(keyword) for keyword in WANTED_KEYWORDS if keyword != _CHARACTER_SET)
    return tuple(f"{tag:08X}" for tag in tags if tag is not None)  # JSON is UTF-8 already


def _no_bulk_data(*_: Any) -> None:
    """Leave empty what a server keeps apart; nothing wanted is that large."""
