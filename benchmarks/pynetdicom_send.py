"""`pynetdicom_send.py PORT [tuned] FILE...`: send at pynetdicom's best settings; print the time it took."""

from __future__ import annotations

import sys
import time

from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, _config
from pynetdicom_tuning import NODELAY, TUNED_PDU, hold_reactor

_config.STORE_SEND_CHUNKED_DATASET = True
_config.LOG_HANDLER_LEVEL = "none"


def main(port: int, paths: list[str], *, tuned: bool) -> None:
    ae = AE("BENCH")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = None
    for sop_class, syntax in {
        (meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID) for meta in map(read_file_meta_info, paths)
    }:
        ae.add_requested_context(sop_class, syntax)
    association = ae.associate(
        "127.0.0.1", port, max_pdu=TUNED_PDU if tuned else 0, evt_handlers=[NODELAY] if tuned else []
    )
    assert association.is_established
    with hold_reactor(association):
        start = time.perf_counter()
        for path in paths:
            assert association.send_c_store(path).Status == 0
        print("transfer", time.perf_counter() - start)
    association.release()


if sys.argv[2] == "tuned":
    main(int(sys.argv[1]), sys.argv[3:], tuned=True)
else:
    main(int(sys.argv[1]), sys.argv[2:], tuned=False)
