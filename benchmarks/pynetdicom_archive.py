"""`pynetdicom_archive.py PORT LOAD SCALE`: answer each C-FIND with data sets that are ready."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import responses
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]
from pynetdicom_tuning import NODELAY

_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_RESPONSE_IDENTIFIERS = False
_config.LOG_REQUEST_IDENTIFIERS = False


def main(port: int, load: str, scale: str) -> None:
    matches = responses.ready(load, scale)

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset]]:  # noqa: ARG001
        for match in matches:
            yield 0xFF00, match

    ae = AE("PYNETDICOM")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = None
    syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind, syntaxes)
    ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_FIND, find), NODELAY])


main(int(sys.argv[1]), *sys.argv[2:])
