"""The three classes of deviations: logged once, warned of or refused, and always raised."""

from __future__ import annotations

import logging

import pytest

from dimse.errors import RemoteProtocolError
from dimse.upper_layer.deviations import Deviations, invalid, out_of_step


class Peer:
    peer_name = ""


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(record.levelno, record.getMessage()) for record in caplog.records]


@pytest.mark.parametrize("strict", [True, False])
def test_a_harmless_deviation_is_logged_once(strict: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    peer = Peer()
    deviations = Deviations(peer, strict=strict)
    peer.peer_name = "pacs:104"  # known only once the connection is made
    for message in ("UIDs are padded", "UIDs are padded", "another one"):
        deviations.harmless(message)
    assert logged(caplog) == [(logging.INFO, "pacs:104: UIDs are padded"), (logging.INFO, "pacs:104: another one")]


def test_malformed_input_is_warned_of_once_if_lenient(caplog: pytest.LogCaptureFixture) -> None:
    deviations = Deviations(Peer(), strict=False)
    for _ in range(2):
        deviations.malformed(invalid("items are missing"))
        deviations.tolerated("too long")
    assert logged(caplog) == [(logging.WARNING, ": items are missing"), (logging.WARNING, ": too long")]


def test_malformed_input_is_raised_if_strict(caplog: pytest.LogCaptureFixture) -> None:
    deviations, error = Deviations(Peer(), strict=True), invalid("items are missing")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError) as raised:
            deviations.malformed(error)
        assert raised.value is error
    assert logged(caplog) == []


def test_the_reasons_of_a_abort() -> None:
    assert [(error.source, error.reason) for error in (invalid("x"), out_of_step("x"))] == [(2, 6), (2, 5)]


def test_a_peer_that_varies_its_deviations_is_not_logged_without_end(caplog: pytest.LogCaptureFixture) -> None:
    deviations = Deviations(Peer(), strict=False)
    for number in range(1000):
        deviations.tolerated(f"text {number}")
    assert len(caplog.messages) == 100
