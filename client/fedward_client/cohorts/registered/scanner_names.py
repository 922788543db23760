"""Header text that may be shown: words of fixed lists, anything else is "other".

A header's free text may hold a name; what a list does not know never leaves.
"""

_MANUFACTURERS: tuple[tuple[str, str], ...] = (
    ("agfa", "Agfa"),
    ("canon", "Canon"),
    ("carestream", "Carestream"),
    ("esaote", "Esaote"),
    ("fujifilm", "Fujifilm"),
    ("fuji photo", "Fujifilm"),
    ("ge healthcare", "GE"),
    ("ge medical", "GE"),
    ("general electric", "GE"),
    ("hitachi", "Hitachi"),
    ("hologic", "Hologic"),
    ("lorad", "Hologic"),
    ("kodak", "Carestream"),
    ("konica", "Konica Minolta"),
    ("marconi", "Philips"),
    ("picker", "Philips"),
    ("mindray", "Mindray"),
    ("neusoft", "Neusoft"),
    ("olympus", "Olympus"),
    ("philips", "Philips"),
    ("adac", "Philips"),
    ("planmed", "Planmed"),
    ("samsung", "Samsung"),
    ("medison", "Samsung"),
    ("shimadzu", "Shimadzu"),
    ("siemens", "Siemens"),
    ("acuson", "Siemens"),
    ("sectra", "Sectra"),
    ("swissray", "Swissray"),
    ("toshiba", "Toshiba"),
    ("united imaging", "United Imaging"),
    ("uih", "United Imaging"),
    ("varian", "Varian"),
    ("zeiss", "Zeiss"),
    ("ziehm", "Ziehm"),
    # the invented ones of `fedward phantom`
    ("aurora imaging", "Aurora"),
    ("borealis medical", "Borealis"),
    ("cassini health", "Cassini"),
    ("dorado systems", "Dorado"),
)
_EXACT = {"ge": "GE", "gems": "GE"}

_MODALITIES = frozenset(
    {"CR", "CT", "DX", "ES", "GM", "IO", "IVOCT", "IVUS", "MG", "MR", "NM", "OCT", "OP", "OPT"}
    | {"OT", "PT", "PX", "RF", "RG", "SC", "SM", "TG", "US", "XA", "XC"}
)


def scanner_name(manufacturer: str) -> str:
    """Give a manufacturer of the list, "other", or "" where the header names none."""
    text = " ".join(manufacturer.casefold().split())
    if not text:
        return ""
    if text in _EXACT:
        return _EXACT[text]
    return next((name for word, name in _MANUFACTURERS if text.startswith(word)), "other")


def modality_name(modality: str) -> str:
    """Give a modality of the standard's list, "other", or "" where the header names none."""
    text = modality.strip().upper()
    return text if text in _MODALITIES or not text else "other"
