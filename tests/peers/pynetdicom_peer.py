"""pynetdicom as a peer, in a process of its own: its threads and warnings stay out of the tests.

python pynetdicom_peer.py receive PORT FOLDER [--max-pdu N]      listens until it is terminated
python pynetdicom_peer.py send PORT [--max-pdu N] [--associations N] FILE...      ends with 0 when all were stored
python pynetdicom_peer.py find PORT MODEL LEVEL [--cancel N] KEY[=VALUE]...      prints matches as JSON, and the status
python pynetdicom_peer.py get PORT FOLDER MODEL STUDY [--cancel N]      keeps what comes, and prints the status
python pynetdicom_peer.py move PORT TITLE MODEL STUDY      prints the status, how many arrived, and what did not
python pynetdicom_peer.py identify PORT      prints user identities as JSON, and rejects the one that is "nobody"
python pynetdicom_peer.py agree PORT UID=HEX...      prints proposed features as JSON, answers these; then 0xFF01
python pynetdicom_peer.py propose PORT CLASS UID=HEX...      proposes features, sends a class; prints answers
python pynetdicom_peer.py name PORT IDENTITY...      names users, each as JSON: type, primary and secondary field
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pynetdicom
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID
from pynetdicom import (
    AE,
    AllStoragePresentationContexts,
    BasicWorklistManagementPresentationContexts,
    QueryRetrievePresentationContexts,
    _config,
    build_context,
    build_role,
    evt,
)
from pynetdicom.pdu_primitives import (
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

_config.UNRESTRICTED_STORAGE_SERVICE = True
_config.STORE_SEND_CHUNKED_DATASET = True
_config.STORE_RECV_CHUNKED_DATASET = True

SYNTAXES = pynetdicom.ALL_TRANSFER_SYNTAXES
STORED = [f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in ("1.1", "2", "2.1", "3.1", "4", "7", "20")]
STORED_SYNTAXES = [f"1.2.840.10008.1.2{tail}" for tail in (".1", "", ".4.50", ".4.51", ".4.70", ".4.90", ".4.91", ".5")]
"""What is asked for with C-GET, in a context each."""


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
        _leave_responses(association)
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


def find(port: int, model: str, level: str, keys: list[str], cancel: int) -> None:
    """Send a C-FIND, and cancel it after this many matches."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for key in keys:
        keyword, _, value = key.partition("=")
        setattr(identifier, keyword, value)
    with _associated(port, [build_context(model)]) as association:
        for number, (status, match) in enumerate(association.send_c_find(identifier, model, msg_id=7), 1):
            if number == cancel:
                association.send_c_cancel(7, query_model=model)
            print(match.to_json() if match is not None else status.Status, flush=True)  # noqa: T201


def get(port: int, folder: Path, model: str, study: str, cancel: int) -> None:
    """Retrieve a study over the association itself, each class in each syntax."""

    def store(event: Any) -> int:
        path = folder / event.request.AffectedSOPInstanceUID
        path.write_bytes(Path(event.dataset_path).read_bytes())
        return 0x0000

    contexts = [build_context(sop_class, syntax) for sop_class in STORED for syntax in STORED_SYNTAXES]
    roles = [build_role(sop_class, scp_role=True) for sop_class in STORED]
    handlers = [(evt.EVT_C_STORE, store)]
    with _associated(port, [build_context(model), *contexts], ext_neg=roles, evt_handlers=handlers) as association:
        statuses = []
        for status, _ in association.send_c_get(_study(study), model, msg_id=7):
            statuses.append(status.Status)
            if len(statuses) == cancel:
                association.send_c_cancel(7, query_model=model)
        print(statuses[-1])  # noqa: T201


def move(port: int, title: str, model: str, study: str) -> None:
    """Have a study sent to somebody."""
    with _associated(port, [build_context(model)]) as association:
        *_, (status, identifier) = association.send_c_move(_study(study), title, model)
        failed = identifier.FailedSOPInstanceUIDList if identifier is not None else []
        print(status.Status, status.NumberOfCompletedSuboperations, *failed)  # noqa: T201


def identify(port: int) -> None:
    """Answer C-ECHO, and user identities: those with a response in the standard with their reverse."""

    def check(event: Any) -> tuple[bool, bytes]:
        fields = [event.primary_field.decode(), (event.secondary_field or b"").decode()]
        print(json.dumps([event.user_id_type, *fields]), flush=True)  # noqa: T201
        return event.primary_field != b"nobody", event.primary_field[::-1]

    ae = AE("PYNETDICOM")
    ae.add_supported_context("1.2.840.10008.1.1")
    ae.start_server(("127.0.0.1", port), block=True, evt_handlers=[(evt.EVT_USER_ID, check)])


def name(port: int, identities: list[str]) -> None:
    """Name users, one after the other, request a positive response, and print it."""
    for kind, primary, secondary in map(json.loads, identities):
        identity = UserIdentityNegotiation()
        identity.user_identity_type, identity.positive_response_requested = kind, True
        identity.primary_field, identity.secondary_field = primary.encode(), secondary.encode()
        with _associated(port, [build_context("1.2.840.10008.1.1")], ext_neg=[identity]) as association:
            association.send_c_echo()
            response = association.acceptor.user_identity
            print(None if response is None else response.server_response)  # noqa: T201


def agree(port: int, answers: list[str]) -> None:
    """Print what extended negotiation asks for, and answer it; each C-FIND has two matches, one with 0xFF01."""

    def extended(event: Any) -> dict[Any, bytes]:
        print(json.dumps({uid: value.hex() for uid, value in event.app_info.items()}), flush=True)  # noqa: T201
        return {UID(uid): bytes.fromhex(value) for uid, value in (each.split("=") for each in answers)}

    def common(event: Any) -> dict[Any, Any]:
        related = {
            uid: [item.service_class_uid, *item.related_general_sop_class_identification]
            for uid, item in event.items.items()
        }
        print(json.dumps(related), flush=True)  # noqa: T201
        items: dict[Any, Any] = event.items
        return items

    def match(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        print(json.dumps([each.keyword for each in event.identifier if each.value]), flush=True)  # noqa: T201
        yield 0xFF00, _study("1.2.1")
        yield 0xFF01, _study("1.2.2")

    ae = AE("PYNETDICOM")
    for context in [*QueryRetrievePresentationContexts, *BasicWorklistManagementPresentationContexts]:
        ae.add_supported_context(str(context.abstract_syntax))
    handlers: list[Any] = [(evt.EVT_SOP_EXTENDED, extended), (evt.EVT_SOP_COMMON, common), (evt.EVT_C_FIND, match)]
    ae.start_server(("127.0.0.1", port), block=True, evt_handlers=handlers)


def propose(port: int, declared: str, proposals: list[str]) -> None:
    """Propose features, and a class that is declared to be storage; print the answers and the status of a C-STORE."""
    pairs = [each.split("=") for each in proposals]
    items: list[Any] = []
    for uid, value in pairs:
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid, item.service_class_application_information = uid, bytes.fromhex(value)
        items.append(item)
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = declared, "1.2.840.10008.4.2"
    common.related_general_sop_class_identification = [STORED[1]]
    contexts = [build_context(uid) for uid in dict.fromkeys([uid for uid, _ in pairs] + [declared])]
    with _associated(port, contexts, ext_neg=[*items, common]) as association:
        answers = {uid: value.hex() for uid, value in association.acceptor.sop_class_extended.items()}
        dataset = _study("1.2.3")
        dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.SeriesInstanceUID = declared, "1.2.3.4", "1.2.3.1"
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2")
        print(json.dumps([answers, association.send_c_store(dataset).Status]))  # noqa: T201


def _study(uid: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", uid
    return identifier


def _leave_responses(association: Any) -> None:
    """Keep pynetdicom's reactor from taking a response for a request, and aborting.

    `send_c_*` waits until the reactor is paused, but as that wakes up it still looks paused for a moment.
    """
    take = association.dimse.get_msg
    association.dimse.get_msg = lambda block=False: take(block=True) if block else (None, None)


@contextmanager
def _associated(port: int, contexts: list[Any], **options: Any) -> Iterator[Any]:
    ae = AE("PYNETDICOM")
    association = ae.associate("127.0.0.1", port, contexts, ae_title="DIMSE", **options)
    if not association.is_established:
        raise SystemExit("no association")
    _leave_responses(association)
    yield association
    association.release()


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
    finder = commands.add_parser("find")
    for name in ("port", "model", "level"):
        finder.add_argument(name)
    finder.add_argument("--cancel", type=int, default=0)
    finder.add_argument("keys", nargs="+")
    for command, where in (("get", "folder"), ("move", "title")):
        retriever = commands.add_parser(command)
        for name in ("port", where, "model", "study"):
            retriever.add_argument(name)
        retriever.add_argument("--cancel", type=int, default=0)
    commands.add_parser("identify").add_argument("port", type=int)
    agreeing = commands.add_parser("agree")
    agreeing.add_argument("port", type=int)
    agreeing.add_argument("items", nargs="+")
    proposer = commands.add_parser("propose")
    proposer.add_argument("port", type=int)
    proposer.add_argument("declared")
    proposer.add_argument("items", nargs="+")
    namer = commands.add_parser("name")
    namer.add_argument("port", type=int)
    namer.add_argument("identities", nargs="+")
    for each in (receiver, sender):
        each.add_argument("--max-pdu", type=int, default=16382)
    arguments = parser.parse_args()
    if arguments.command == "send":
        return send(arguments.port, arguments.paths, arguments.max_pdu, arguments.associations)
    _COMMANDS[arguments.command](arguments)
    return 0


_COMMANDS: dict[str, Callable[[Any], None]] = {
    "receive": lambda given: receive(given.port, given.folder, given.max_pdu),
    "find": lambda given: find(int(given.port), given.model, given.level, given.keys, given.cancel),
    "get": lambda given: get(int(given.port), Path(given.folder), given.model, given.study, given.cancel),
    "move": lambda given: move(int(given.port), given.title, given.model, given.study),
    "identify": lambda given: identify(given.port),
    "agree": lambda given: agree(given.port, given.items),
    "propose": lambda given: propose(given.port, given.declared, given.items),
    "name": lambda given: name(given.port, given.identities),
}


if __name__ == "__main__":
    sys.exit(main())
