"""`site.log` of the home: codes and places, no messages, for the hospital's own eyes."""

import logging

from fedward_client.site_home import SiteHome


def site_log_of(home: SiteHome) -> logging.Logger:
    """Give a site's own log."""
    # By the whole path: in one process several homes may belong to sites of one name.
    return logging.getLogger(f"fedward.site.{str(home.folder).replace('.', '_')}")


def log_at_home(home: SiteHome) -> None:
    """Let this site's refusals be read in its home; lines carry codes and places, no messages."""
    handler = logging.FileHandler(home.folder / "site.log", delay=True, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    site_log = site_log_of(home)
    site_log.propagate = False
    site_log.addHandler(handler)
