"""`pynetdicom_receive.py PORT FOLDER [tuned] [many]`: store what comes at pynetdicom's best settings.

It writes each data set to a temporary file as it is; the handler gives that a second name, which costs nothing.
With "many" it takes more associations than its 10.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom_tuning import NODELAY, TUNED_PDU

_config.STORE_RECV_CHUNKED_DATASET = True
_config.LOG_HANDLER_LEVEL = "none"


def main(port: int, folder: str, *, tuned: bool, many: bool) -> None:
    tempfile.tempdir = folder  # a link cannot lead to another file system

    def store(event: evt.Event) -> int:
        os.link(event.dataset_path, Path(folder, event.file_meta.MediaStorageSOPInstanceUID))
        return 0x0000

    ae = AE("BENCH")
    if many:
        ae.maximum_associations = 5000
    ae.maximum_pdu_size = TUNED_PDU if tuned else 0
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = None
    ae.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        # dcmsend offers several syntaxes in one context; this is the one in which the files are.
        ae.add_supported_context(str(context.abstract_syntax), ExplicitVRLittleEndian)
    ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store), *([NODELAY] if tuned else [])])


main(int(sys.argv[1]), sys.argv[2], tuned="tuned" in sys.argv[3:], many="many" in sys.argv[3:])
