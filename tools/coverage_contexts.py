"""A pytest plugin: record which test file covered each line, for `tools/coverage_gate.py`.

Not by coverage's own `dynamic_context`: that sees only what a test function calls, and not the other tasks of its loop.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module

import pytest
from coverage import Coverage


def switch_to(context: str) -> None:
    measuring = Coverage.current()
    if measuring is not None:
        measuring.switch_context(context)


def import_all() -> None:
    """Import all of `dimse`, so that no test file is credited with the definitions of a module."""
    switch_to("import")
    package = import_module("dimse")
    for module in pkgutil.walk_packages(package.__path__, "dimse."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


# As early as this: pytest loads the conftest files, which import `dimse`, before it calls `pytest_configure`.
import_all()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    switch_to(item.location[0])
    return (yield)
