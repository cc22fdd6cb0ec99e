"""`dimse echo --contexts`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.acceptances import change_acceptances

from dimse import QueryRequest, Server, Status, StoreRequest, uids
from dimse.upper_layer.items import ContextResult, PresentationContextAC
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

Beside = Callable[..., Any]
CT, MR, RLE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", uids.RLE_LOSSLESS
EXPLICIT, IMPLICIT = uids.LITTLE_ENDIAN
TAKEN = {(uids.VERIFICATION, IMPLICIT), (CT, EXPLICIT), (CT, RLE), (MR, EXPLICIT)}


class Choosy(Server):
    """Accepts some pairs of a SOP class and a transfer syntax."""

    def __init__(self) -> None:
        super().__init__("ARCHIVE", port=0)
        self.proposed: list[int] = []
        change_acceptances(self, self._choose)

        @self.on_c_store
        async def store(_: StoreRequest) -> Status:
            return Status.SUCCESS

    def _choose(self, request: A_ASSOCIATE_RQ, acceptance: A_ASSOCIATE_AC) -> A_ASSOCIATE_AC:
        self.proposed.append(len(request.presentation_contexts))
        proposed = {each.presentation_context_id: each for each in request.presentation_contexts}

        def result(context: PresentationContextAC) -> PresentationContextAC:
            asked = proposed[context.presentation_context_id]
            is_taken = (asked.abstract_syntax, asked.transfer_syntaxes[0]) in TAKEN
            return context if is_taken else replace(context, result=ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED)

        return replace(acceptance, presentation_contexts=tuple(map(result, acceptance.presentation_contexts)))

    @property
    def address(self) -> str:
        return f"ARCHIVE@127.0.0.1:{self.port}"


async def test_a_matrix_of_all(beside: Beside) -> None:
    async with Choosy() as server:
        done = await beside("echo", server.address, "--contexts", "all")
    assert (done.code, done.err) == (0, "")
    first, letters, *rows = done.out.splitlines()
    assert first.startswith(f"{server.address} accepts 3 of ")
    assert letters.split() == ["a", "b", "c"]
    assert [row.split("  ")[0].rstrip(" x.") for row in rows[:3]] == ["Verification", "CT Image", "MR Image"]
    assert [row[len("Verification") :] for row in rows[:3]] == [" x .", " . x x", " . x ."]
    assert rows[3] == "Transfer syntaxes: a implicit, b explicit, c rle"
    assert rows[4].startswith("Not accepted: Patient Root Query/Retrieve - FIND,")
    assert max(map(len, done.out.splitlines())) <= 80
    assert max(server.proposed) == 128
    assert sum(server.proposed) > 1000


async def test_named_classes_as_json(beside: Beside) -> None:
    async with Choosy() as server:
        done = await beside("echo", server.address, "--contexts", "CT,EncapsulatedPDF", "--json")
    (answer,) = done.lines
    assert (done.code, answer["address"], answer["associations"]) == (0, server.address, 1)
    ct, pdf = answer["sop_classes"]
    assert (ct["abstract_syntax"], ct["abstract_syntax_name"]) == (CT, "CT Image Storage")
    assert ct["transfer_syntaxes"] == [EXPLICIT, RLE]
    assert ct["transfer_syntax_names"] == ["Explicit VR Little Endian", "RLE Lossless"]
    assert pdf["transfer_syntaxes"] == []


async def test_long_names_are_cut_to_the_width(beside: Beside) -> None:
    async with Server("ARCHIVE", port=0) as server:
        server.on_c_find(_find)
        done = await beside("echo", f"ARCHIVE@127.0.0.1:{server.port}", "--contexts", "all", COLUMNS="30")
    assert done.code == 0
    assert any("…" in line for line in done.out.splitlines())
    assert {len(line) for line in done.out.splitlines()[1:5]} == {30}


async def _find(_: QueryRequest) -> AsyncIterator[Any]:
    yield


async def test_nothing_is_accepted(beside: Beside) -> None:
    async with Server("ARCHIVE", port=0) as server:
        done = await beside("echo", f"ARCHIVE@127.0.0.1:{server.port}", "--contexts", "MR")
    assert (done.code, done.out) == (1, f"ARCHIVE@127.0.0.1:{server.port} accepts 0 of 1 SOP class\n")


@pytest.mark.parametrize(
    "arguments", [("--contexts", "CTT"), ("--contexts", "all", "--repeat", "2"), ("--repeat", "-1")]
)
def test_wrong_usage(dimse: Beside, arguments: tuple[str, ...]) -> None:
    assert dimse("echo", "A@127.0.0.1:1", *arguments).code == 2
