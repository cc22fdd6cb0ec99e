"""The first answer, TLS or plain, and associations at once."""

from __future__ import annotations

import asyncio

import pytest
from tests.services.answering import answering, replying

import dimse
from dimse import ExplainOutcome, ExplainStepName, ExplainVerdict, Server, ServerOptions, uids
from dimse.services.explaining_answer import IMPLEMENTATIONS, implementation
from dimse.testing import INFORMATION, ScriptedPeer
from dimse.upper_layer.items import PresentationContextAC
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ


def test_implementations() -> None:
    assert implementation(uids.IMPLEMENTATION_CLASS_UID) == "dimse"
    assert implementation("1.2.276.0.7230010.3.0.3.6.7").startswith("DCMTK")
    assert implementation("1.2.826.0.1.3680043.9.3811.3.0.4") == "pynetdicom"
    assert implementation("1.2.3") == ""
    assert all(
        beginning.endswith(".") or beginning == uids.IMPLEMENTATION_CLASS_UID for beginning, _ in IMPLEMENTATIONS
    )


async def test_an_acceptance_that_strict_requestors_do_not_take() -> None:
    async def archive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = ScriptedPeer(reader, writer)
        await peer.receive()
        contexts = (PresentationContextAC(1, 0, uids.IMPLICIT_VR_LITTLE_ENDIAN), PresentationContextAC(77, 3, ""))
        await peer.send(A_ASSOCIATE_AC("A", "B", INFORMATION, presentation_contexts=contexts))
        await peer.answer_echo()
        await peer.closed()

    async with answering(archive) as port:
        found = await dimse.explain(f"A@127.0.0.1:{port}", step_timeout=0.1)
    step = found[ExplainStepName.ANSWER]
    assert step.verdict is ExplainVerdict.NOTE
    assert "presentation context 77 was not proposed" in step.result
    assert "--lenient" in step.advice[0].text


@pytest.mark.parametrize("most", [1, 2])
async def test_associations_at_once(most: int) -> None:
    options = ServerOptions(maximum_associations=most)
    async with Server("ARCHIVE", port=0, options=options) as server:
        found = await dimse.explain(f"ARCHIVE@127.0.0.1:{server.port}")
    step = found[ExplainStepName.PARALLEL]
    assert step.verdict is ExplainVerdict.NOTE
    assert step.result.startswith(f"{most} at once; the next: the association was rejected transiently")
    assert found.outcome is ExplainOutcome.WORKS


async def test_a_rejection_is_dicom() -> None:
    async with answering(replying(A_ASSOCIATE_RJ(1, 1, 1).encode())) as port:
        found = await dimse.explain(f"ANY-SCP@127.0.0.1:{port}", step_timeout=0.1)
    assert found[ExplainStepName.ANSWER].verdict is ExplainVerdict.OK
    assert found[ExplainStepName.TITLES].verdict is ExplainVerdict.FAILED
