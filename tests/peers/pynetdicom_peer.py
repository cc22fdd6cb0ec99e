"""pynetdicom as a peer, in a process of its own: its threads and warnings stay out of the tests.

python pynetdicom_peer.py receive PORT FOLDER [--max-pdu N]      listens until it is terminated
python pynetdicom_peer.py send PORT [--max-pdu N] [--associations N] FILE...      ends with 0 when all were stored
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import pynetdicom
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt

_config.UNRESTRICTED_STORAGE_SERVICE = True
_config.STORE_SEND_CHUNKED_DATASET = True
_config.STORE_RECV_CHUNKED_DATASET = True

SYNTAXES = pynetdicom.ALL_TRANSFER_SYNTAXES


def receive(port: int, folder: Path, max_pdu: int) -> None:
    """Keep what comes bit for bit, as FOLDER/{SOP Instance UID}."""

    def store(event: Any) -> int:
        # With chunks kept in a file, the data set is there as it was received, behind a file meta.
        path = folder / event.request.AffectedSOPInstanceUID
        path.write_bytes(Path(event.dataset_path).read_bytes())
        return 0x0000

    ae = AE("PYNETDICOM")
    ae.maximum_pdu_size = max_pdu
    ae.add_supported_context("1.2.840.10008.1.1")
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(str(context.abstract_syntax), SYNTAXES)
    ae.start_server(("127.0.0.1", port), block=True, evt_handlers=[(evt.EVT_C_STORE, store)])


def send(port: int, paths: list[Path], max_pdu: int, associations: int) -> int:
    """Send each file bit for bit in its own transfer syntax, spread over associations at the same time."""
    failures: list[str] = []

    def work(mine: list[Path]) -> None:
        ae = AE("PYNETDICOM")
        ae.maximum_pdu_size = max_pdu
        wanted: dict[str, set[str]] = defaultdict(set)
        for path in mine:
            meta = read_file_meta_info(path)
            wanted[meta.MediaStorageSOPClassUID].add(meta.TransferSyntaxUID)
        for sop_class, syntaxes in wanted.items():
            for syntax in syntaxes:
                ae.add_requested_context(sop_class, syntax)
        association = ae.associate("127.0.0.1", port, ae_title="DIMSE", max_pdu=max_pdu)
        if not association.is_established:
            failures.append("no association")
            return
        for path in mine:
            try:
                status = association.send_c_store(path)
            except Exception as error:  # noqa: BLE001 - each is named, and the next file still goes
                failures.append(f"{path}: {error!r}")
                continue
            if "Status" not in status or status.Status != 0x0000:
                failures.append(f"{path}: {status.get('Status', 'no answer')}")
        association.release()

    threads = [threading.Thread(target=work, args=(paths[number::associations],)) for number in range(associations)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stderr.writelines(f"{failure}\n" for failure in failures)
    return 1 if failures else 0


def main() -> int:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    receiver = commands.add_parser("receive")
    receiver.add_argument("port", type=int)
    receiver.add_argument("folder", type=Path)
    sender = commands.add_parser("send")
    sender.add_argument("port", type=int)
    sender.add_argument("--associations", type=int, default=1)
    sender.add_argument("paths", type=Path, nargs="+")
    for each in (receiver, sender):
        each.add_argument("--max-pdu", type=int, default=16382)
    arguments = parser.parse_args()
    if arguments.command == "send":
        return send(arguments.port, arguments.paths, arguments.max_pdu, arguments.associations)
    receive(arguments.port, arguments.folder, arguments.max_pdu)
    return 0


if __name__ == "__main__":
    sys.exit(main())
