"""The PDUs and messages that a scripted peer sends and receives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dimse import uids
from dimse.messages.fragments import cut
from dimse.messages.message import C_ECHO_RQ, C_STORE_RQ, MESSAGES, Message, Request, Response
from dimse.status import Status
from dimse.upper_layer.items import PresentationContextRQ, UserInformation
from dimse.upper_layer.pdu import A_ASSOCIATE_RQ, P_DATA_TF, PDV

CT_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.2"

INFORMATION: Final = UserInformation(
    maximum_length=16384, implementation_class_uid="1.2.3", implementation_version_name="PEER"
)
"""The User Information of a scripted peer."""


@dataclass(frozen=True)
class Received:
    """A whole message as the peer received it."""

    presentation_context_id: int
    message: Message
    data: bytes | None
    """The encoded data set, if one followed."""
    fragments: tuple[int, ...]
    """The length of each fragment of the data set."""


def message_pdvs(message: Message, data: bytes | None = None, *, context: int = 1, size: int = 16000) -> list[PDV]:
    """A message and its encoded data set as PDVs of at most `size` bytes."""
    pdvs = [PDV(context, True, last, part) for part, last in cut(message.encode(), size)]
    if data is not None:
        pdvs += [PDV(context, False, last, part) for part, last in cut(data, size)]
    return pdvs


def response(to: Received, status: int = 0, data: bytes | None = None, **fields: Any) -> list[PDV]:
    """The response to a request, on its presentation context; `data` is an encoded identifier.

    `fields` are those of the response message, for instance `error_comment`.
    """
    request = to.message
    kind = MESSAGES.get(request.command_field | 0x8000)
    if kind is None or not isinstance(request, Request) or not issubclass(kind, Response):
        raise TypeError(f"{request.name} has no response")
    fields = {"message_id_being_responded_to": request.message_id, "dataset_follows": data is not None} | fields
    return message_pdvs(kind(status=Status(status), **fields), data, context=to.presentation_context_id)


def wire(*messages: Iterable[PDV]) -> bytes:
    """The bytes of messages, each PDV in a P-DATA-TF of its own, to be sent in one piece."""
    return b"".join(P_DATA_TF((pdv,)).encode() for message in messages for pdv in message)


def associate_request(
    *contexts: tuple[str, Sequence[str]], calling: str = "PEER", called: str = "ARCHIVE"
) -> A_ASSOCIATE_RQ:
    """An A-ASSOCIATE-RQ that proposes `contexts`, each a SOP class with its transfer syntaxes, as 1, 3, 5 ...

    Without any it proposes Verification in Implicit VR and CT Image Storage in Explicit VR Little Endian.
    """
    contexts = contexts or (
        (uids.VERIFICATION, [uids.IMPLICIT_VR_LITTLE_ENDIAN]),
        (CT_IMAGE_STORAGE, [uids.EXPLICIT_VR_LITTLE_ENDIAN]),
    )
    proposed = tuple(
        PresentationContextRQ(2 * index + 1, sop_class, tuple(syntaxes))
        for index, (sop_class, syntaxes) in enumerate(contexts)
    )
    return A_ASSOCIATE_RQ(called, calling, INFORMATION, presentation_contexts=proposed)


def echo_request(message_id: int = 1) -> C_ECHO_RQ:
    """A C-ECHO-RQ."""
    return C_ECHO_RQ(message_id=message_id, affected_sop_class_uid=uids.VERIFICATION)


def store_request(instance: str = "1.2.3.4", message_id: int = 1, sop_class: str = CT_IMAGE_STORAGE) -> C_STORE_RQ:
    """A C-STORE-RQ for the SOP Instance UID `instance`."""
    return C_STORE_RQ(
        message_id=message_id,
        affected_sop_class_uid=sop_class,
        affected_sop_instance_uid=instance,
        dataset_follows=True,
    )
