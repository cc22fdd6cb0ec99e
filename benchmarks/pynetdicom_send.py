"""`pynetdicom_send.py PORT FILE...`: send at pynetdicom's best settings, and print how long the transfer took."""

from __future__ import annotations

import sys
import time

from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, _config

_config.STORE_SEND_CHUNKED_DATASET = True
_config.LOG_HANDLER_LEVEL = "none"


def main(port: int, paths: list[str]) -> None:
    ae = AE("BENCH")
    ae.maximum_pdu_size = 0
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = None
    for sop_class, syntax in {
        (meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID) for meta in map(read_file_meta_info, paths)
    }:
        ae.add_requested_context(sop_class, syntax)
    association = ae.associate("127.0.0.1", port, max_pdu=0)
    assert association.is_established
    start = time.perf_counter()
    for path in paths:
        assert association.send_c_store(path).Status == 0
    print("transfer", time.perf_counter() - start)
    association.release()


main(int(sys.argv[1]), sys.argv[2:])
