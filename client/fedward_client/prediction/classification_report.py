"""Probabilities as a DICOM Structured Report: TID 1500, one group of measurements for each class.

A group has the class as its finding, the probability, the operating threshold where there is one,
and whether the class is called present. The document is neither final nor verified.
"""

from collections.abc import Sequence
from typing import Any

from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_client.prediction.network_answer import Classification
from fedward_client.prediction.result_headers import (
    PRIVATE_SCHEME,
    SERIES_NUMBER,
    STATEMENT,
    algorithm_of,
    code_of_class,
    equipment_of,
    source_headers,
)
from fedward_client.prediction.trained_model import TrainedModel
from fedward_common.job.job_file import TaskClass

_DIGITS = 6


def report_of(model: TrainedModel, answer: Classification, images: Sequence[InstanceFacts]) -> Any:
    """Make the report, in the source's study.

    Args:
        model: That answered.
        answer: What it said.
        images: That it was shown; the report refers to all of them.

    Returns:
        A highdicom ComprehensiveSR.

    Raises:
        UnusableCaseError: A source's header cannot be read.
        ValueError, AttributeError, TypeError: The headers lack what a report needs.
    """
    from highdicom.sr import ComprehensiveSR
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    headers = source_headers(images)
    return ComprehensiveSR(
        evidence=headers,
        content=_content(model, answer, headers),
        series_instance_uid=generate_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        **equipment_of(model).device,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description=STATEMENT,
        is_complete=True,
        is_final=False,
        is_verified=False,
    )


def _content(model: TrainedModel, answer: Classification, headers: Sequence[Any]) -> Any:
    from highdicom.sr import MeasurementReport, RelationshipTypeValues, TextContentItem
    from pydicom.sr.codedict import codes

    sources = _sources(headers)
    report = MeasurementReport(
        observation_context=_observer(model),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[
            _group(model, one, answer, sources) for one in model.job.task.classes
        ],
    )
    report[0].ContentSequence.append(
        TextContentItem(
            name=codes.DCM.Comment,
            value=f"{STATEMENT} {_how(answer)} Model {model.name}, SHA-256 {model.sha256}.",
            relationship_type=RelationshipTypeValues.CONTAINS,
        )
    )
    return report


def _how(answer: Classification) -> str:
    if answer.num_images == 1:
        return "Probabilities as the model gives them, not calibrated."
    return f"Means of the model's probabilities for {answer.num_images} images, not calibrated."


def _observer(model: TrainedModel) -> Any:
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    equipment = equipment_of(model)
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=generate_uid(entropy_srcs=["fedward model", model.sha256]),
                name=equipment.model,
                manufacturer_name=equipment.manufacturer,
                model_name=equipment.model,
                serial_number=model.sha256,
            ),
        )
    )


def _sources(headers: Sequence[Any]) -> list[Any]:
    from highdicom.sr import SourceImageForMeasurementGroup

    return [SourceImageForMeasurementGroup.from_source_image(header) for header in headers]


def _group(
    model: TrainedModel, one: TaskClass, answer: Classification, sources: Sequence[Any]
) -> Any:
    from highdicom.sr import (
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        TrackingIdentifier,
    )
    from pydicom.sr.codedict import codes

    threshold = answer.thresholds[one.id]
    values = [_number("probability", "Probability", answer.probabilities[one.id])]
    if threshold is not None:
        values.append(_number("threshold", "Operating threshold of the probability", threshold))
    called = codes.SCT.Present if answer.is_called[one.id] else codes.SCT.Absent
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(identifier=f"class {one.id}"),
        finding_type=code_of_class(one),
        measurements=values,
        qualitative_evaluations=[
            QualitativeEvaluation(name=_private("called", "Class at threshold"), value=called)
        ],
        source_images=sources,
        algorithm_id=_algorithm(model),
    )


def _number(code: str, meaning: str, value: float) -> Any:
    from highdicom.sr import Measurement
    from pydicom.sr.codedict import codes

    return Measurement(
        name=_private(code, meaning), value=round(value, _DIGITS), unit=codes.UCUM.NoUnits
    )


def _private(code: str, meaning: str) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value=code, scheme_designator=PRIVATE_SCHEME, meaning=meaning)


def _algorithm(model: TrainedModel) -> Any:
    from highdicom.sr import AlgorithmIdentification

    named = algorithm_of(model)[0]
    return AlgorithmIdentification(name=named.AlgorithmName, version=named.AlgorithmVersion)
