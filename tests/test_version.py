"""One version, in every place that shows it."""

from __future__ import annotations

import dimse
from dimse import uids
from dimse.version import __version__


def test_the_version_is_one() -> None:
    assert dimse.__version__ == __version__
    major, minor, _ = __version__.split(".")
    assert f"DIMSE_{major}_{minor}" == uids.IMPLEMENTATION_VERSION_NAME
