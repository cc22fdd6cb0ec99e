"""The demo is a command: it is forked as those of tests/cli are."""

from __future__ import annotations

from tests.cli.conftest import _forking as _forking
