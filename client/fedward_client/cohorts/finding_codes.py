"""Every code that a check of a cohort can give, with what it means and what to do about it.

A code is all that may leave a hospital. `E_` costs the case or series it names, `W_` costs nothing
and asks a person to look.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class CodeMeaning:
    """One code in words for the data manager."""

    meaning: str
    advice: str


CODE_MEANINGS: dict[str, CodeMeaning] = {
    # --- a file ---
    "E_FILE_NOT_FOUND": CodeMeaning(
        "the label file names a file that is not there", "correct the cell or the folder"
    ),
    "E_PATH_ESCAPES": CodeMeaning(
        "a path is absolute, has '..', or is a link out of the folder",
        "use paths below the cohort's folder",
    ),
    "E_NOT_A_FILE": CodeMeaning(
        "a pipe, socket or device lies among the images", "take it out of the folder"
    ),
    "E_FILE_UNREADABLE": CodeMeaning(
        "a file, folder or link cannot be opened or read: no permission, a link that leads"
        " nowhere, or the disk fails",
        "let the service's account read it; check the disk",
    ),
    "W_LINK_NOT_FOLLOWED": CodeMeaning(
        "a link to a folder is not followed", "put the folder itself there, if it is wanted"
    ),
    "E_NOT_DICOM": CodeMeaning(
        "the file is no DICOM file, or a DICOMDIR", "nothing, if it need not be one"
    ),
    "E_HEADER_UNREADABLE": CodeMeaning("the header cannot be parsed", "export the file again"),
    "E_HEADER_TOO_DEEP": CodeMeaning(
        "sequences are nested deeper than any real file's", "export the file again"
    ),
    "E_HEADER_TOO_LARGE": CodeMeaning(
        "the header, or a length it declares, is beyond the limit", "export the file again"
    ),
    "E_INFLATED_TOO_LARGE": CodeMeaning(
        "the deflated file grows beyond the limit", "export the file again, uncompressed"
    ),
    "E_FILE_CHANGED": CodeMeaning(
        "the file changed while it was read, or since it was indexed", "update the cohort later"
    ),
    "E_HEADER_INCOMPLETE": CodeMeaning(
        "an identifier that DICOM requires is missing", "export the file again"
    ),
    # --- pixels ---
    "E_NO_PIXEL_DATA": CodeMeaning("the file holds no image", "check what was exported"),
    "E_IMAGE_UNREADABLE": CodeMeaning(
        "the pixels cannot be decoded: damaged, cut short or of a wrong length",
        "export it again, uncompressed if need be",
    ),
    "E_TRANSFER_SYNTAX": CodeMeaning(
        "the compression is unknown, not named, or has no decoder here",
        "export it again, uncompressed",
    ),
    "E_PIXEL_FORMAT": CodeMeaning(
        "rows, columns, bits or frames are not what an image can have", "export the file again"
    ),
    "E_RESCALE_INVALID": CodeMeaning(
        "RescaleSlope or RescaleIntercept is zero, not finite or no number",
        "ask the scanner's vendor; the values cannot be trusted",
    ),
    "E_DECODER_CRASHED": CodeMeaning("the decoder died on this file", "export it again"),
    "E_DECODER_TIMEOUT": CodeMeaning("the decoder did not end in time", "export it again"),
    "E_DECODER_MEMORY": CodeMeaning(
        "decoding needs more memory than allowed", "raise the limit or scale the image down"
    ),
    "E_IMAGE_SHAPE": CodeMeaning(
        "not 2-D or 3-D as the job wants, or not 1 or 3 channels", "check data.image_size"
    ),
    "E_IMAGE_TOO_LARGE": CodeMeaning("the image is beyond the limits", "scale it down"),
    "E_NON_FINITE_PIXELS": CodeMeaning(
        "NaN or infinity among the pixels", "look for a failed conversion"
    ),
    "E_BURNED_IN_TEXT": CodeMeaning(
        "text may be burned into the pixels (BurnedInAnnotation, modality or ImageType)",
        "look at the images; allow them with --burned-in allow if they show no names",
    ),
    "E_PIXELS_IN_TWO_SPLITS": CodeMeaning(
        "the same pixels stand in two splits", "find which patient is right; all are left out"
    ),
    "W_PIXELS_TWICE": CodeMeaning("the same pixels occur twice", "look whether one is a copy"),
    # --- a series ---
    "E_SERIES_NOT_FOUND": CodeMeaning("no such series was indexed", "check the UID or update"),
    "E_SERIES_EMPTY": CodeMeaning("the series has no usable image", "export it again"),
    "E_MISSING_SLICE": CodeMeaning("a slice is missing from the series", "fetch the series again"),
    "E_GANTRY_TILT": CodeMeaning(
        "slices are shifted against each other (gantry tilt)", "leave it out or correct the tilt"
    ),
    "E_MIXED_PHASES": CodeMeaning(
        "several phases or echoes lie at the same places", "export each as its own series"
    ),
    "E_LOCALIZER": CodeMeaning(
        "a localizer, or images of another direction, lie in the series", "take them out"
    ),
    "E_DUPLICATE_POSITION": CodeMeaning(
        "two slices have the same position", "find which one is right"
    ),
    "E_IRREGULAR_SPACING": CodeMeaning("slices are not evenly spaced", "leave the series out"),
    "E_SERIES_MIXED": CodeMeaning(
        "sizes, pixel spacings or kinds of pixels differ in the series", "split the series"
    ),
    "E_NO_GEOMETRY": CodeMeaning(
        "position, orientation or spacing is missing", "needed for volumes; export it again"
    ),
    "E_TOO_FEW_SLICES": CodeMeaning("fewer slices than a volume needs", "leave it out"),
    # --- identifiers across files ---
    "E_DUPLICATE_INSTANCE": CodeMeaning(
        "one SOPInstanceUID stands for two different files", "find which one is right"
    ),
    "W_DUPLICATE_FILE": CodeMeaning("the same file lies there twice", "nothing; one is used"),
    "W_SEVERAL_STUDIES": CodeMeaning(
        "one accession number has several studies", "key the label file by study or series"
    ),
    "W_PATIENT_TWICE": CodeMeaning(
        "two patient ids have the same name, birth date and sex",
        "if it is one person, give one id: splits and the privacy budget go by it",
    ),
    "E_STUDY_OF_TWO_PATIENTS": CodeMeaning(
        "one study carries two patient ids", "correct the patient id in the archive"
    ),
    # --- label file and masks ---
    "E_INSTANCE_NOT_FOUND": CodeMeaning("no such image was indexed", "check the UID or update"),
    "E_STUDY_NOT_FOUND": CodeMeaning("no such study was indexed", "check the UID or update"),
    "E_ACCESSION_NOT_FOUND": CodeMeaning("no such accession number was indexed", "check it"),
    "E_LABEL_AMBIGUOUS": CodeMeaning(
        "the line fits several series, names two masks, or names a series of several images where a"
        " case is one image, as in a job whose image_size has two numbers",
        "key it by series or image; for volumes take a job with three numbers, or --cases series",
    ),
    "E_LABEL_CONTRADICTS": CodeMeaning(
        "two lines say different things of one image", "keep the right one"
    ),
    "W_LABEL_TWICE": CodeMeaning("two lines say the same of one image", "nothing; one is used"),
    "E_LABEL_UNMAPPED": CodeMeaning(
        "a label value, or a segment or ROI of a mask, that the mapping does not list",
        "map it to a class, to 'exclude' or to 'not annotated'",
    ),
    "E_LABEL_VALUE": CodeMeaning(
        "no mapping was given, and the value is no class of the task", "give a mapping"
    ),
    "EXCLUDED_BY_LABEL": CodeMeaning("the mapping says 'exclude'", "nothing; this is wanted"),
    "EXCLUDED_BY_REQUEST": CodeMeaning("the patient was excluded", "nothing; this is wanted"),
    "E_MASK_UNREADABLE": CodeMeaning(
        "the mask cannot be read, or is a picture of another kind than PNG",
        "export it again, pictures as PNG",
    ),
    "E_MASK_SHAPE": CodeMeaning("the mask has another size than its image", "check both"),
    "E_MASK_GEOMETRY": CodeMeaning(
        "the mask lies elsewhere than its image", "resample the mask onto the image"
    ),
    "E_MASK_VALUE": CodeMeaning(
        "a mask value that is not mapped or no class of the task", "extend the mapping"
    ),
    "E_MASK_REFERENCE": CodeMeaning(
        "the SEG or RTSTRUCT refers to another series", "name the right one"
    ),
    "E_MASK_NOT_FOUND": CodeMeaning("no such mask was indexed", "check the UID or path"),
    "E_PATIENT_MISSING": CodeMeaning(
        "there is no patient id", "fill it in; only where none exists use --unit image"
    ),
    "E_PATIENT_CONTRADICTS": CodeMeaning(
        "the label file and the header name different patients",
        "look whether the line names the right image; give a patient one id",
    ),
    "W_PATIENT_RENAMED": CodeMeaning(
        "no patient id of the label file is one of the headers",
        "use one kind of id in all cohorts: splits, exclusions and the privacy budget go by it",
    ),
    "E_SPLIT_VALUE": CodeMeaning("a word in the split column that nobody knows", "map it"),
    "E_PATIENT_IN_TWO_SPLITS": CodeMeaning(
        "a patient's images are in more than one split; all are left out",
        "give one split; lesions of one patient count together",
    ),
    "E_SPLIT_MOVED": CodeMeaning(
        "a patient would move from training to validation or test, or from validation to test,"
        " under this id or another",
        "leave the patient in the split that is recorded",
    ),
    # --- a DICOMweb server ---
    "E_SERVER_UNREACHABLE": CodeMeaning(
        "the DICOMweb server does not answer, or not in time", "check url, proxy and the server"
    ),
    "E_SERVER_CERTIFICATE": CodeMeaning(
        "the server's certificate is not trusted", "name its authority as ca_file"
    ),
    "E_SERVER_REFUSED": CodeMeaning(
        "the server refuses access", "check user, secret_file and the account's rights"
    ),
    "E_SERVER_NOT_FOUND": CodeMeaning("the server knows no such place", "check url"),
    "E_SERVER_ANSWER": CodeMeaning(
        "the server's answer cannot be used", "look into the server's log"
    ),
    "E_SERVER_TOO_LARGE": CodeMeaning(
        "the server sends more than allowed",
        "raise max_instance_bytes or temporary_quota_bytes if it is meant to be",
    ),
    # --- the whole cohort ---
    "E_COHORT_EMPTY": CodeMeaning("no usable case is left", "see the other codes"),
    "E_TOO_MANY_EXCLUDED": CodeMeaning(
        "more cases are unusable than the cohort's limit allows", "see the other codes"
    ),
    "E_TOO_FEW_PATIENTS": CodeMeaning("fewer patients than the minimum", "add patients"),
    "E_SOURCE_UNREADABLE": CodeMeaning("the folder or server cannot be read", "check the path"),
    "E_CACHE_FULL": CodeMeaning("the cache's quota is used up", "raise it or remove a cohort"),
    "E_TASK_MISMATCH": CodeMeaning(
        "the job's task is not the one this cohort was registered for", "register it for this task"
    ),
    "E_COHORT_CHANGED": CodeMeaning(
        "the files, or the list of sources, are not those that the run was accepted with",
        "put them back, or start a new run",
    ),
    "E_NO_TRAINING_PATIENTS": CodeMeaning(
        "there are images, but none in the training split, or none of these has a label",
        "check the split column or [task.split], and what is mapped to 'not annotated'",
    ),
    "E_REPORT_TOO_ALIKE": CodeMeaning(
        "a report of another cohort is of nearly the same people: fewer than 10 differ",
        "show that one; for your own eyes there is --local",
    ),
}


def meaning_of(code: str) -> CodeMeaning:
    """Give a code's words; an unknown one says so, for codes come from files too."""
    return CODE_MEANINGS.get(code, CodeMeaning("a code of another version", "see its docs"))
