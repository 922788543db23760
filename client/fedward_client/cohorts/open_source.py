"""The one place that knows which kind of source a cohort's table asks for."""

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.source import CohortSource
from fedward_common.job.job_file import DataSection, TaskSection


def open_source(settings: SourceSettings, task: TaskSection, data: DataSection) -> CohortSource:
    """Open a source; its decoders are imported only now. The caller closes it.

    Raises:
        ConfigurationError: The manifest cannot be used with this task.
        CohortError: The files are not what the table says.
    """
    if settings.source == "arrays":
        from fedward_client.cohorts.array_source import ArraySource

        return ArraySource(settings, task, data)
    if settings.source == "image-archive":
        from fedward_client.cohorts.archive_source import ArchiveSource

        return ArchiveSource(settings, task, data)
    if settings.source == "volumes":
        from fedward_client.cohorts.volume_source import VolumeSource

        return VolumeSource(settings, task, data)
    if settings.source == "registered":
        from fedward_client.cohorts.registered.registered_source import RegisteredSource

        return RegisteredSource(settings, task, data)
    from fedward_client.cohorts.dicom_source import DicomSource

    return DicomSource(settings, task, data)
