"""The fuzz targets: functions of bytes that a peer may send, each with its invariant as a sentence.

A target raises `AssertionError` if its invariant does not hold; anything else that it raises is a fault too.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from struct import pack
from typing import Final, NamedTuple

from pydicom.dataset import Dataset
from tests.conversations.cases import Then
from tests.conversations.machine_driver import Side
from tests.conversations.seeds import ASSOCIATE_AC_FULL, ASSOCIATE_RQ_FULL

from dimse import Matcher, uids
from dimse.cli.match_output import Column
from dimse.dataset.character_sets import decode_text
from dimse.dataset.codec import decode, decode_identifier, encode
from dimse.dataset.completeness import IncompleteDataset, StreamedDataset
from dimse.dataset.encoding import SEQUENCE_END_HEADER, item_header
from dimse.dataset.frames import JoinedFragments
from dimse.dataset.json_model import json_model
from dimse.dataset.part10 import encode_file_meta, read_file_meta
from dimse.dataset.scanner import ElementScanner
from dimse.dataset.structure import Limits, check_structure
from dimse.dataset.texts import Texts
from dimse.errors import DatasetError, RemoteProtocolError
from dimse.messages.fragments import DataReceived, MessageReader
from dimse.messages.message import decode_message
from dimse.testing import associate_request, echo_request, message_pdvs, store_request, wire
from dimse.upper_layer.items import PresentationContextAC, UserInformation
from dimse.upper_layer.machine import Fragment
from dimse.upper_layer.pdu import (
    A_ABORT,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    A_RELEASE_RP,
    A_RELEASE_RQ,
    P_DATA_TF,
    PDU_TYPES,
)


class Target(NamedTuple):
    """A function to fuzz, and valid inputs to begin with."""

    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


TARGETS: Final[dict[str, Target]] = {}


def target(*seeds: bytes) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """Put a function among the targets."""

    def add(check: Callable[[bytes], None]) -> Callable[[bytes], None]:
        TARGETS[check.__name__] = Target(check, seeds)
        return check

    return add


REQUEST: Final = associate_request()
ACCEPTANCE: Final = A_ASSOCIATE_AC(
    REQUEST.called_ae_title,
    REQUEST.calling_ae_title,
    UserInformation(maximum_length=16384, implementation_class_uid="1.2.3"),
    presentation_contexts=tuple(
        PresentationContextAC(context.presentation_context_id, 0, context.transfer_syntaxes[0])
        for context in REQUEST.presentation_contexts
    ),
)
MESSAGES: Final = wire(message_pdvs(echo_request()), message_pdvs(store_request(), bytes(200), context=3, size=90))
ENDS: Final = (A_RELEASE_RQ(), A_RELEASE_RP(), A_ABORT(0, 0), A_ASSOCIATE_RJ(1, 1, 1))


def _dataset() -> Dataset:
    item = Dataset()
    item.CodeValue = "1"
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    dataset.PatientName, dataset.StudyDate = "A^B", "20240229"
    dataset.ProcedureCodeSequence = [item]
    dataset.Rows = 2
    return dataset


SYNTAXES: Final = (*uids.LITTLE_ENDIAN, uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, uids.EXPLICIT_VR_BIG_ENDIAN)
DATASETS: Final = tuple(bytes([number]) + encode(_dataset(), syntax) for number, syntax in enumerate(SYNTAXES))
"""In each transfer syntax, after a byte with its number."""


@target(*(bytes([pdu.pdu_type]) + pdu.encode()[6:] for pdu in (REQUEST, ACCEPTANCE, *ENDS)))
def pdu(data: bytes) -> None:
    """The body of a PDU is decoded, or refused with a `RemoteProtocolError`; a decoded one can be encoded."""
    kind = PDU_TYPES.get(data[0] if data else 0)
    if kind is not None and kind is not P_DATA_TF:
        with suppress(RemoteProtocolError):
            kind.decode(data[1:]).encode()


def _both_modes(*streams: bytes) -> tuple[bytes, ...]:
    """Each after a byte that says whether the side under test is strict."""
    return tuple(bytes([strict]) + stream for stream in streams for strict in (0, 1))


@target(*_both_modes(REQUEST.encode() + MESSAGES + ENDS[0].encode(), ASSOCIATE_RQ_FULL.data, ENDS[2].encode()))
def acceptor(data: bytes) -> None:
    """Whatever a requestor sends, nothing is raised, and what is heard and sent does not depend on the cut."""
    _check_side(data, requestor=False)


@target(*_both_modes(ACCEPTANCE.encode() + MESSAGES + ENDS[1].encode(), ASSOCIATE_AC_FULL.data, ENDS[3].encode()))
def requestor(data: bytes) -> None:
    """Whatever an acceptor sends, nothing is raised, and what is heard and sent does not depend on the cut."""
    _check_side(data, requestor=True)


def _check_side(data: bytes, *, requestor: bool) -> None:
    strict, stream = bool(data[:1] > b"\0"), data[1:]
    whole = _heard_and_sent([stream], requestor=requestor, strict=strict)
    size = 1 + len(stream) // 64  # a longer one in pieces, for the sake of more inputs
    cut = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert whole == _heard_and_sent(cut, requestor=requestor, strict=strict)


def _heard_and_sent(chunks: list[bytes], *, requestor: bool, strict: bool) -> tuple[list[str], list[str]]:
    side = Side(requestor=requestor, strict=strict)
    for chunk in chunks:
        side.feed(chunk)
    side.end(Then.CLOSE)
    return side.events, side.transcript.tokens


@target(echo_request().encode(), store_request().encode())
def command(data: bytes) -> None:
    """A command set is a message, or refused with a `RemoteProtocolError`."""
    with suppress(RemoteProtocolError):
        decode_message(data)


@target(*DATASETS)
def dataset(data: bytes) -> None:
    """A data set is decoded, or refused with a `DatasetError`."""
    with suppress(DatasetError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom thinks of the values
        decode(data[1:], SYNTAXES[data[0] % len(SYNTAXES) if data else 0])


@target(*DATASETS)
def scanner(data: bytes) -> None:
    """A scanner keeps every byte, refuses with a `DatasetError` only, and finds the same however the bytes come."""
    syntax = SYNTAXES[data[0] % len(SYNTAXES) if data else 0]
    found = [_scanned(syntax, chunks) for chunks in ([data[1:]], [bytes([byte]) for byte in data[1:]])]
    assert found[0] == found[1]


def _scanned(syntax: str, chunks: list[bytes]) -> object:
    scanner = ElementScanner(syntax)
    try:
        for chunk in chunks:
            scanner.feed(chunk)
        scanner.finish()
    except DatasetError as error:
        return type(error)
    assert bytes(scanner.raw) == b"".join(chunks)
    return bytes(scanner.raw)


@target(
    encode_file_meta(sop_class_uid="1.2", sop_instance_uid="1.2.3", transfer_syntax_uid=uids.EXPLICIT_VR_LITTLE_ENDIAN)
    + DATASETS[0][1:],
    DATASETS[0][1:],
)
def file_meta(data: bytes) -> None:
    """File Meta Information is read and ends within the file, or the file is refused with a `DatasetError`."""
    with suppress(DatasetError):
        assert 0 <= read_file_meta(BytesIO(data)).length <= len(data)


def _fragments(data: bytes) -> Iterator[Fragment]:
    """Each fragment from a byte of flags, one of its length, and its bytes."""
    while data:
        flags, length = data[0], data[1] if len(data) > 1 else 0
        yield Fragment(2 * (flags >> 6) + 1, bool(flags & 1), bool(flags & 2), memoryview(data[2 : 2 + length]))
        data = data[2 + length :]


def _as_fragment(flags: int, data: bytes) -> bytes:
    return bytes([flags, len(data)]) + data


@target(
    _as_fragment(3, echo_request().encode()) * 2,
    _as_fragment(1, store_request().encode()[:50]) + _as_fragment(3, store_request().encode()[50:]) + b"\0\5abcde\2\0",
)
def fragments(data: bytes) -> None:
    """Fragments are joined to messages, or refused with a `RemoteProtocolError`; data follow a command only."""
    reader, announced = MessageReader(), False
    with suppress(RemoteProtocolError):
        for fragment in _fragments(data):
            received = reader.receive(fragment)
            if isinstance(received, DataReceived):
                assert announced, "data before a command"
            elif received is not None:
                announced = True


@target(*DATASETS)
def structure(data: bytes) -> None:
    """The structure of a data set is checked, or refused with a `DatasetError`; it ends within the data."""
    syntax = SYNTAXES[data[0] % len(SYNTAXES) if data else 0]
    with suppress(DatasetError):
        found = check_structure(data[1:], syntax, Limits(100, 20), (0x00080018,))
        ends = [found.end, *(end for _, end in found.values.values())]
        assert all(end <= len(data) - 1 for end in ends if data)


@target(*DATASETS)
def streamed(data: bytes) -> None:
    """A data set is followed to its end, or refused with an `IncompleteDataset`, and the same however it comes."""
    syntax = SYNTAXES[data[0] % len(SYNTAXES) if data else 0]
    found = [_streamed(syntax, chunks) for chunks in ([data[1:]], [bytes([byte]) for byte in data[1:]])]
    assert found[0] == found[1]


def _streamed(syntax: str, chunks: list[bytes]) -> object:
    followed = StreamedDataset(syntax)
    try:
        for chunk in chunks:
            followed.feed(memoryview(chunk))
        followed.finish()
    except IncompleteDataset as error:
        return type(error)
    return followed.malformed is None, followed.has_surplus, followed.value_end, followed.scanner.bulk


@target(
    b"\1" + item_header(0) + item_header(4) + b"abcd" + SEQUENCE_END_HEADER,
    b"\2" + item_header(8) + pack("<LL", 0, 10) + item_header(2) + b"ab" + item_header(2) + b"cd" + SEQUENCE_END_HEADER,
)
def frames(data: bytes) -> None:
    """Fragments are joined to frames, or refused with a `DatasetError`, and the same however they come."""
    count = data[0] if data else 0
    assert _joined(count, [data[1:]]) == _joined(count, [bytes([byte]) for byte in data[1:]])


def _joined(count: int, chunks: list[bytes]) -> list[bytes] | None:
    splitter, found = JoinedFragments(count, ()), list[bytes]()
    try:
        for chunk in chunks:
            found += splitter.feed(chunk)
        splitter.finish()
    except DatasetError:
        return None
    return found


@target(*DATASETS)
def identifier(data: bytes) -> None:
    """An identifier can be matched and shown as JSON and in a table, or is refused with a `DatasetError`."""
    syntax = SYNTAXES[data[0] % len(SYNTAXES) if data else 0]
    with suppress(DatasetError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keys = asyncio.run(decode_identifier(data[1:], syntax))
        json.dumps(json_model(keys, Texts()))
        for column in ("PatientName", "StudyDate", "ProcedureCodeSequence.CodeValue"):
            Column(column).text(keys, Texts())
        matcher = Matcher(keys)
        matcher.matches(_dataset())
        matcher.response(_dataset())


_TERMS: Final = ("", "ISO_IR 100", "ISO 2022 IR 87", "ISO 2022 IR 149", "ISO 2022 IR 58", "ISO_IR 192", "GB18030", "?")


@target(
    b"\2\3Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:",
    b"\5\0\xe5\xb1\xb1",
    b"\1\1\xc4neas",
    b"\3\4\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce",
)
def text(data: bytes) -> None:
    """A text in any character sets is decoded, with no more characters than bytes."""
    terms = [_TERMS[byte % len(_TERMS)] for byte in data[:2]]
    assert len(decode_text(data[2:], terms, "PN")) <= len(data)
