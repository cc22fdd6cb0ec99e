"""What came back in words, and how many associations are requested."""

from __future__ import annotations

import socket

from tests.ports import free_port

from dimse import Address, ClientOptions, UserIdentityRQ
from dimse.network.probing import Answer, Answered, Endpoint
from dimse.services.explaining_association import MAXIMUM_ASKED, Asker, in_words
from dimse.upper_layer.items import AsynchronousOperationsWindow, UserInformation
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_RJ, A_RELEASE_RP

WORDS = [
    (
        Answer(Answered.PDU, 0, pdu=A_ASSOCIATE_RJ(1, 1, 3)),
        "the association was rejected permanently: calling AE title not recognized (result 1, source 1, reason 3)",
    ),
    (
        Answer(Answered.PDU, 0, pdu=A_ASSOCIATE_RJ(9, 8, 7)),
        "the association was rejected with result 9: source 8, reason 7 (result 9, source 8, reason 7)",
    ),
    (
        Answer(Answered.PDU, 0, pdu=A_ABORT(2, 6)),
        "the archive aborted the association: invalid PDU parameter value (source 2, reason 6)",
    ),
    (Answer(Answered.PDU, 0, pdu=A_RELEASE_RP()), "an unexpected A-RELEASE-RP came"),
    (Answer(Answered.OTHER, 0, b"SSH-2.0-x\r\nmore"), "an SSH server answered: 'SSH-2.0-x'"),
    (Answer(Answered.OTHER, 0, b"\0\r\nmore"), r"something that is not DICOM answered: '\x00\r\nmore'"),
    (Answer(Answered.OTHER, 0, b"HTTP/" + b"x" * 251), f"an HTTP server answered: 'HTTP/{'x' * 55}'"),
    (Answer(Answered.MALFORMED, 0, error=ValueError("bad")), "the answer is not valid DICOM: bad"),
    (Answer(Answered.TLS, 0), "TLS ended"),
    (Answer(Answered.PART, 5, bytes(7)), "only 7 bytes of an answer came in 5.0 s"),
    (Answer(Answered.SILENCE, 5), "no answer in 5 s"),
    (Answer(Answered.CLOSED, 5), "the connection was closed without an answer"),
    (Answer(Answered.RESET, 5, error=OSError("gone")), "the connection was lost without an answer (gone)"),
]


def test_each_answer_in_words() -> None:
    assert [in_words(answer) for answer, _ in WORDS] == [words for _, words in WORDS]


async def test_requests_are_counted_and_a_lost_archive_is_an_answer() -> None:
    endpoint = Endpoint(socket.AF_INET, ("127.0.0.1", free_port()))
    asker = Asker(Address.parse("ARCHIVE@localhost"), endpoint, ClientOptions(), 10)
    for _ in range(MAXIMUM_ASKED):
        assert asker.may_ask
        async with asker.ask(asker.request()) as asked:
            assert (asked.answer.kind, asked.acceptance, asked.rejection, asked.line) == (Answered.RESET, *[None] * 3)
    assert not asker.may_ask


def test_a_request_has_the_options_and_what_is_negotiated_besides() -> None:
    identity = UserIdentityRQ.username("me")
    options = ClientOptions(calling_ae_title="ME", maximum_length=4096, user_identity=identity)
    asker = Asker(Address.parse("ARCHIVE@localhost"), Endpoint(socket.AF_INET, ("127.0.0.1", 1)), options, 10)
    window = AsynchronousOperationsWindow(4, 1)
    request = asker.request(
        [("1.2", ["1.3"]), ("1.4", ["1.5"])], UserInformation(asynchronous_operations_window=window)
    )
    assert (request.called_ae_title, request.calling_ae_title) == ("ARCHIVE", "ME")
    assert [each.presentation_context_id for each in request.presentation_contexts] == [1, 3]
    information = request.user_information
    assert (information.maximum_length, information.user_identity) == (4096, identity)
    assert information.asynchronous_operations_window == window
