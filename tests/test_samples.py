"""Every sample in `deploy/` is one that its program takes."""

from pathlib import Path

from fedward_client.site_settings import SiteSettings
from fedward_common.settings import from_table, read_toml
from fedward_server.coordinator.coordinator_home import CoordinatorSettings

KINDS = {"coordinator.toml": CoordinatorSettings, "site.toml": SiteSettings}


def test_every_sample_is_taken_as_it_is(project_root: Path) -> None:
    samples = sorted((project_root / "deploy" / "samples").glob("*.toml"))
    assert [sample.name for sample in samples] == sorted(KINDS)
    for sample in samples:
        from_table(KINDS[sample.name], read_toml(sample))
