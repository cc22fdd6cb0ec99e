"""`floor_archive.py PORT LOAD SCALE`: answer each C-FIND at once with responses that are encoded beforehand."""

from __future__ import annotations

import socket
import sys

import responses

from dimse.dataset.codec import encode
from dimse.messages.message import C_FIND_RSP
from dimse.status import Status
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN, STUDY_ROOT_FIND
from dimse.upper_layer.items import PresentationContextAC, UserInformation
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ, A_RELEASE_RP, P_DATA_TF, PDU_HEADER, PDV

_ASSOCIATE, _DATA, _RELEASE = 1, 4, 5


def response(message_id: int, identifier: bytes | None) -> bytes:
    """In PDUs of their own, the command and its data set, as other archives send them."""
    command = C_FIND_RSP(
        message_id_being_responded_to=message_id,
        affected_sop_class_uid=STUDY_ROOT_FIND,
        status=Status.PENDING if identifier is not None else Status.SUCCESS,
        dataset_follows=identifier is not None,
    )
    parts = [PDV(1, True, True, command.encode()), *([PDV(1, False, True, identifier)] if identifier else [])]
    return b"".join(P_DATA_TF((part,)).encode() for part in parts)


def serve(connection: socket.socket, answer: bytes) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while header := connection.recv(PDU_HEADER.size, socket.MSG_WAITALL):
        kind, length = PDU_HEADER.unpack(header)
        body = connection.recv(length, socket.MSG_WAITALL)
        if kind == _ASSOCIATE:
            asked = A_ASSOCIATE_RQ.decode(body)
            accepted = PresentationContextAC(1, 0, EXPLICIT_VR_LITTLE_ENDIAN)
            information = UserInformation(maximum_length=131072, implementation_class_uid="1.2.3")
            connection.sendall(
                A_ASSOCIATE_AC(
                    asked.called_ae_title, asked.calling_ae_title, information, presentation_contexts=(accepted,)
                ).encode()
            )
        elif kind == _RELEASE:
            connection.sendall(A_RELEASE_RP().encode())
            return
        elif not body[5] & 1 and body[5] & 2:  # the last fragment of the identifier
            connection.sendall(answer)


def main(port: int, load: str, scale: str) -> None:
    identifiers = [encode(match, EXPLICIT_VR_LITTLE_ENDIAN) for match in responses.ready(load, scale)]
    answer = b"".join(response(1, identifier) for identifier in [*identifiers, None])
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                serve(connection, answer)


main(int(sys.argv[1]), *sys.argv[2:])
