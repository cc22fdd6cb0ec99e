"""The drivers: what they promise to find, they find."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.conversations import machine_driver, seeds
from tests.conversations.cases import Case, State, Then
from tests.conversations.socket_driver import Standing

UNKNOWN = bytes.fromhex("08 00 00000000")

# Each way to lead, to end, and to go on.
GOOD = [
    Case("unknown PDU", UNKNOWN, "A-ABORT 2 1"),
    Case("unknown PDU", UNKNOWN, "A-ABORT 0 0", state=State.CONNECTED),
    Case("associate", seeds.ASSOCIATE_RQ.data, "A-ASSOCIATE-AC 1=0 3=0", state=State.CONNECTED, then=Then.GO_ON),
    Case("all items", seeds.ASSOCIATE_RQ_FULL.data, "A-ASSOCIATE-AC 1=0 3=0", state=State.CONNECTED, then=Then.GO_ON),
    Case("store", seeds.STORE.data, "C-STORE-RSP 0x0000", then=Then.GO_ON),
    Case("store in one PDU", seeds.STORE_IN_ONE.data, "C-STORE-RSP 0x0000", then=Then.GO_ON),
    Case("data set", seeds.DATA.data, "C-STORE-RSP 0x0000", state=State.STORING, then=Then.GO_ON),
    Case("half, close", seeds.DATA.data[:-1], "", state=State.STORING, then=Then.CLOSE),
    Case("half, reset", seeds.DATA.data[:-1], "", state=State.STORING, then=Then.RESET),
    Case("half, stall", seeds.DATA.data[:-1], "A-ABORT 0 0", state=State.STORING, then=Then.STALL),
    Case("nothing", b"", "", state=State.CONNECTED, then=Then.STALL),
    Case("echo", seeds.ECHO_RQ.data, "A-ABORT 2 2", state=State.ANSWERING),
    Case("abort", seeds.ABORT_USER.data, "", state=State.ABORTED),
    Case("associate", seeds.ASSOCIATE_RQ.data, "A-ABORT 2 2", state=State.ABORTED),
    Case("nothing", b"", "", state=State.ABORTED, then=Then.STALL),
    Case("nothing", b"", "", state=State.RELEASED, then=Then.STALL),
    Case("nothing", b"", "", state=State.REJECTED, then=Then.STALL),
    Case("accept", seeds.ASSOCIATE_AC.data, "", state=State.REQUESTED, then=Then.GO_ON),
    Case("all items", seeds.ASSOCIATE_AC_FULL.data, "", state=State.REQUESTED, then=Then.GO_ON),
    Case("reject", seeds.ASSOCIATE_RJ.data, "", state=State.REQUESTED),
    Case("nothing", b"", "A-ABORT 0 0", state=State.REQUESTED, then=Then.STALL),
    Case("close", b"", "", state=State.REQUESTED, then=Then.CLOSE),
    Case("reset", b"", "", state=State.REQUESTED, then=Then.RESET),
    Case("unknown PDU", UNKNOWN, "A-ABORT 2 1", state=State.REQUESTED),
    Case("nothing wrong", b"", "", state=State.ECHOING, then=Then.GO_ON),
    Case("nothing", b"", "A-ABORT 0 0", state=State.ECHOING, then=Then.STALL),
    Case("unknown PDU", UNKNOWN, "A-ABORT 2 1", state=State.ECHOING),
    Case("nothing wrong", b"", "", state=State.RELEASING, then=Then.GO_ON),
    Case("unknown PDU", UNKNOWN, "A-ABORT 2 1", state=State.RELEASING),
    Case("nothing", b"", "A-ABORT 0 0", state=State.RELEASING, then=Then.STALL),
    Case("unknown PDU", UNKNOWN, "A-ABORT 2 1", state=State.COLLIDED),
    Case("nothing", b"", "A-ABORT 0 0", state=State.COLLIDED, then=Then.STALL),
    Case("abort", seeds.ABORT_USER.data, "", state=State.GIVEN_UP),
]


async def test_good_ones_pass(tmp_path: Path) -> None:
    assert [failure for case in GOOD for failure in machine_driver.check(case)] == []
    async with Standing(tmp_path) as standing:
        assert await standing.run(GOOD) == []


async def test_a_wrong_expectation_is_found(tmp_path: Path) -> None:
    wrong = [replace(case, back="A-ABORT 1 1") for case in GOOD if case.then is not Then.RESET]
    assert all(machine_driver.check(case) for case in wrong)
    async with Standing(tmp_path) as standing:
        assert len(await standing.run(wrong)) == len(wrong)
