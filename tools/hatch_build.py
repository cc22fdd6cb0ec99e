"""What hatchling runs when it builds a wheel: it makes the man pages, for `share/man/man1`."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


# The tests have no hatchling, and so no types of it.
class ManPages(BuildHookInterface):  # type: ignore[misc]
    """Makes them from the parsers of the commands, so that they are never behind them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the pages to the wheel. An editable installation has none."""
        if version == "editable":
            return
        sys.path[:0] = [str(Path(self.root, "src")), self.root]
        from tools import man_pages

        self.folder = TemporaryDirectory()
        for page in man_pages.write(Path(self.folder.name)):
            build_data["shared_data"][str(page)] = f"share/man/man1/{page.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove them: they are in the wheel now."""
        if version != "editable":
            self.folder.cleanup()
