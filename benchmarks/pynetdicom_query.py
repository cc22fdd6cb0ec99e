"""`pynetdicom_query.py find PORT TITLE LOAD FILE`: print how long it took.

The responses go into FILE, unless that is empty.
"""

from __future__ import annotations

import sys
import time

import responses
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_RESPONSE_IDENTIFIERS = False
_config.LOG_REQUEST_IDENTIFIERS = False


def main(port: int, title: str, load: str, path: str) -> None:
    ae = AE("BENCH")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = None
    model = StudyRootQueryRetrieveInformationModelFind
    ae.add_requested_context(model, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    identifier = responses.identifier(load)
    association = ae.associate("127.0.0.1", port, ae_title=title)
    assert association.is_established
    start = time.perf_counter()
    *found, (last, _) = association.send_c_find(identifier, model)
    print("transfer", time.perf_counter() - start)
    assert last.Status == 0
    association.release()
    responses.write(path, [match for _, match in found])


main(int(sys.argv[2]), *sys.argv[3:])
