"""What an archive refuses is named with its reason, also if it refuses whole requests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping

import pytest
from tests.services.answering import answering

from dimse import Address, ClientOptions, ExplainPurpose, ExplainSide, ExplainStep, ExplainVerdict, uids
from dimse.network.probing import Endpoint
from dimse.services import explaining_association
from dimse.services.explaining_association import MAXIMUM_ASKED, Asker
from dimse.services.explaining_services import Extras, Offered, Wanted, ask, offer, step
from dimse.testing import INFORMATION, ScriptedPeer
from dimse.upper_layer.extended import QueryFeatures
from dimse.upper_layer.items import AsynchronousOperationsWindow, PresentationContextAC
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ

CT = "1.2.840.10008.5.1.4.1.1.2"
JPEG = "1.2.840.10008.1.2.4.50"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining_association, "PAUSE", 0)


class Archive:
    """Answers requests: `refuses` says which whole ones it aborts, `results` the results of contexts by SOP class."""

    def __init__(
        self, refuses: Callable[[A_ASSOCIATE_RQ], bool] = lambda _: False, results: Mapping[str, int] | None = None
    ) -> None:
        self.refuses, self.results = refuses, results or {}
        self.requests: list[A_ASSOCIATE_RQ] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = ScriptedPeer(reader, writer)
        request = await peer.expect(A_ASSOCIATE_RQ)
        self.requests.append(request)
        if self.refuses(request):
            await peer.send(A_ABORT(0, 0))
            return
        contexts = tuple(
            PresentationContextAC(
                each.presentation_context_id, self.result(each.abstract_syntax), each.transfer_syntaxes[0]
            )
            for each in request.presentation_contexts
            if self.result(each.abstract_syntax) >= 0
        )
        await peer.send(A_ASSOCIATE_AC("A", "B", INFORMATION, presentation_contexts=contexts))
        await peer.answer_release()

    def result(self, uid: str) -> int:
        return self.results.get(uid, 0)


async def asked(archive: Archive, wanted: Wanted) -> ExplainStep:
    async with answering(archive) as port:
        endpoint = Endpoint(socket.AF_INET, ("127.0.0.1", port))
        return await ask(Asker(Address.parse("A@b"), endpoint, ClientOptions(), 10), wanted)


async def test_all_is_accepted() -> None:
    archive = Archive()
    found = await asked(archive, Wanted(frozenset(ExplainPurpose)))
    assert found.verdict is ExplainVerdict.FAILED  # no answer to the roles
    assert found.result == "the archive refuses the SCP role for C-GET"
    assert found.facts["accepted"][:2] == ["C-ECHO", "C-FIND, patient root"]
    assert len(archive.requests) == 3
    assert archive.requests[2].user_information.asynchronous_operations_window == AsynchronousOperationsWindow(16, 1)
    assert all(len(request.presentation_contexts) <= 128 for request in archive.requests)


async def test_reasons_in_words() -> None:
    cases = {
        1: "refused by the archive",
        2: "refused without a reason",
        3: "SOP class not supported",
        4: "transfer syntax not supported",
        9: "refused with reason 9",
        -1: "not answered",
    }
    for number, words in cases.items():
        archive = Archive(results={uids.VERIFICATION: number})
        found = await asked(archive, Wanted(frozenset({ExplainPurpose.ECHO}), (CT,), (JPEG,)))
        assert found.result == f"the archive refuses C-ECHO ({words})"
        assert found.advice[0].side is ExplainSide.ARCHIVE


async def test_a_request_that_is_refused_as_a_whole_is_cut_in_halves() -> None:
    archive = Archive(lambda request: any(each.abstract_syntax == "1.2.3" for each in request.presentation_contexts))
    contexts = [(f"1.2.{number}", [JPEG]) for number in range(8)]
    async with answering(archive) as port:
        endpoint = Endpoint(socket.AF_INET, ("127.0.0.1", port))
        asker = Asker(Address.parse("A@b"), endpoint, ClientOptions(), 10)
        found = await offer(asker, contexts)
        assert [each.abstract_syntax for each in found] == [uid for uid, _ in contexts]
        assert [each.abstract_syntax for each in found if each.accepted is None] == ["1.2.3"]
        assert found[3].reason == "the archive aborted the association (source 0, reason 0)"
        archive.refuses = lambda _: True
        found = await offer(asker, contexts * 20)
    assert asker.asked == MAXIMUM_ASKED
    assert len(found) == 160
    assert found[-1].reason == "not asked"


async def test_a_transient_rejection_is_not_the_answer() -> None:
    rejections = iter([2, 2])

    async def archive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = ScriptedPeer(reader, writer)
        if (result := next(rejections, None)) is None:
            await peer.accept()
            await peer.answer_release()
        else:
            await peer.expect(A_ASSOCIATE_RQ)
            await peer.send(A_ASSOCIATE_RJ(result, 3, 2))

    async with answering(archive) as port:
        asker = Asker(Address.parse("A@b"), Endpoint(socket.AF_INET, ("127.0.0.1", port)), ClientOptions(), 10)
        (found,) = await offer(asker, [(CT, [JPEG])])
    assert (found.accepted, asker.asked) == (JPEG, 3)


async def test_a_window_that_is_refused_is_told() -> None:
    archive = Archive(lambda request: request.user_information.asynchronous_operations_window is not None)
    found = await asked(archive, Wanted(frozenset({ExplainPurpose.ECHO}), (CT,)))
    assert found.verdict is ExplainVerdict.NOTE
    assert "with an operations window, roles or extended negotiation: the archive aborted" in found.result
    assert found.advice[0].side is ExplainSide.HERE


def test_syntaxes_and_classes_that_are_wanted() -> None:
    offered = [
        Offered(uids.VERIFICATION, (), "1", None),
        Offered(CT, (), None, "why"),
        Offered("1.2.3", (), None, "so"),
    ]
    detail = [Offered(CT, (JPEG,), None, "why"), Offered(CT, (uids.RLE_LOSSLESS,), uids.RLE_LOSSLESS, None)]
    wanted = Wanted(frozenset({ExplainPurpose.STORE}), (CT, "1.2.3"), (JPEG, uids.RLE_LOSSLESS))
    found = step(wanted, offered, detail, Extras("", False, 5, [(CT, False)], QueryFeatures(relational=True)))
    assert found.result == "the archive refuses 1.2.3 (so), JPEG Baseline (Process 1) for CT Image Storage (why)"
    in_words = ["storage of 1 of 2 SOP classes", "an operations window of 5", "queries with relational"]
    assert found.facts["accepted"] == ["C-ECHO", *in_words]
    assert found.facts["operations_window"] == 5
    assert found.facts["scp_roles"] == {CT: False}
    assert found.facts["extended_negotiation"] == ["relational"]
    assert found.facts["contexts"][1] == {
        "abstract_syntax": CT,
        "name": "CT Image Storage",
        "proposed": [],
        "accepted": None,
        "reason": "why",
    }
