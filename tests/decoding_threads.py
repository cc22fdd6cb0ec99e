"""In which threads data sets are decoded."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pydicom.filereader import read_dataset

from dimse.dataset import codec


def decoding_threads(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """A list that gets the thread of each data set that pydicom decodes from now on."""
    threads = list[threading.Thread]()

    def noting(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return read_dataset(*arguments)

    monkeypatch.setattr(codec, "read_dataset", noting)
    return threads
