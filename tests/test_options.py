"""Addresses and options: what can't be meant is refused when it is made, not when it is used."""

from __future__ import annotations

import dataclasses
import inspect
import re
import ssl
from typing import Any

import numpy
import pytest

import dimse
from dimse import (
    ClientOptions,
    Duplicates,
    RetryPolicy,
    SendOptions,
    ServerOptions,
    StoreMode,
    StoreOptions,
    Strictness,
    Timeouts,
)


@pytest.mark.parametrize("timer", [field.name for field in dataclasses.fields(Timeouts)])
def test_timeouts_are_positive_or_none(timer: str) -> None:
    assert getattr(Timeouts(**{timer: None}), timer) is None
    assert getattr(Timeouts(**{timer: 0.5}), timer) == 0.5
    for seconds in (0, -1, float("nan")):
        with pytest.raises(ValueError, match=timer):
            Timeouts(**{timer: seconds})
    with pytest.raises(TypeError, match=f"^timeout {timer} must be a number of seconds or None, not '5'$"):
        Timeouts(**{timer: "5"})  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["operations_window", "maximum_length", "maximum_length_to_send"])
@pytest.mark.parametrize("options", [ClientOptions, ServerOptions])
def test_numbers_of_other_kinds_are_made_plain(options: Any, option: str) -> None:
    """What is computed with numpy may be one of its numbers; compiled modules take no others than Python's own."""
    assert type(getattr(options(**{option: numpy.int64(4096)}), option)) is int
    with pytest.raises(TypeError, match=f"{option} must be an int, not 4096.0"):
        options(**{option: 4096.0})


def test_timeouts_and_switches_of_other_kinds_are_made_plain() -> None:
    assert type(Timeouts(artim=numpy.float32(5)).artim) is float  # type: ignore[arg-type]
    assert StoreOptions(fsync=numpy.bool_(False)).fsync is False  # type: ignore[arg-type]
    assert StoreOptions(fsync=1).fsync is True  # type: ignore[arg-type]


def test_the_timeouts_are_the_promised_ones() -> None:
    expected = Timeouts(connect=30, association=30, store=30, find=10, move=120, get=120, artim=30, idle=60)
    assert Timeouts() == expected
    # "whole A-ASSOCIATE-RQ within 10 s of the connection"
    assert ServerOptions().timeouts == dataclasses.replace(expected, artim=10)


def test_retries_double_their_pause() -> None:
    assert [RetryPolicy().pause(attempt) for attempt in (1, 2, 3, 4)] == [1.0, 2.0, 4.0, None]
    assert RetryPolicy(retries=0).pause(1) is None
    assert [RetryPolicy(retries=2, delay=0.5, factor=1).pause(attempt) for attempt in (1, 2, 3)] == [0.5, 0.5, None]


@pytest.mark.parametrize(("retries", "delay", "factor"), [(-1, 1, 2), (1, -1, 2), (1, 1, 0.5)])
def test_retry_policies_that_make_no_sense(retries: int, delay: float, factor: float) -> None:
    with pytest.raises(ValueError, match="retries must be"):
        RetryPolicy(retries=retries, delay=delay, factor=factor)


@pytest.mark.parametrize("options", [ClientOptions, ServerOptions])
def test_maximum_lengths(options: type[ClientOptions | ServerOptions]) -> None:
    assert options(maximum_length=0).maximum_length == 0
    assert options(maximum_length=8, maximum_length_to_send=8).maximum_length_to_send == 8
    for length in (-1, 1, 7, 2**32):
        with pytest.raises(ValueError, match="maximum_length"):
            options(maximum_length=length)
    for length in (0, 7, 2**24 + 1):
        with pytest.raises(ValueError, match="maximum_length_to_send"):
            options(maximum_length_to_send=length)


def test_requestors_are_strict_and_acceptors_lenient() -> None:
    assert ClientOptions().strictness is Strictness.STRICT
    assert ServerOptions().strictness is Strictness.LENIENT


def test_server_defaults() -> None:
    options = ServerOptions()
    assert options.maximum_associations == 100
    assert options.store == StoreOptions()


def test_instances_are_streamed_and_synced_by_default() -> None:
    options = StoreOptions()
    assert options.mode is StoreMode.STREAMING
    assert options.maximum_buffered == 512 * 1024 * 1024
    assert options.duplicates is Duplicates.KEEP
    assert options.fsync


def test_a_buffer_holds_at_least_a_byte() -> None:
    with pytest.raises(ValueError, match="maximum_buffered"):
        StoreOptions(maximum_buffered=0)


@pytest.mark.parametrize("title", ["", "   ", "SEVENTEEN_LETTERS", "A\\B", "T\xfct", "A\x00"])
def test_ae_titles_in_options(title: str) -> None:
    with pytest.raises(ValueError, match="AE title"):
        ClientOptions(calling_ae_title=title)


def test_proxies_are_networks() -> None:
    options = ServerOptions(proxy_networks=["10.0.0.0/8", "fd00::1"])
    assert options.proxy_networks == frozenset({"10.0.0.0/8", "fd00::1"})
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        ServerOptions(proxy_networks=["10.0.0.1/8"])
    with pytest.raises(TypeError, match="proxy_networks must be a collection, not one str"):
        ServerOptions(proxy_networks="10.0.0.1")


def test_a_context_is_for_its_side() -> None:
    for options, purpose in ((ServerOptions, ssl.Purpose.SERVER_AUTH), (ClientOptions, ssl.Purpose.CLIENT_AUTH)):
        with pytest.raises(ValueError, match="tls must be a context for a"):
            options(tls=ssl.create_default_context(purpose))


@pytest.mark.parametrize(
    "limit", ["maximum_associations_per_host", "maximum_associations_per_title", "maximum_connections_per_second"]
)
def test_limits_are_at_least_one(limit: str) -> None:
    none: dict[str, Any] = {limit: 0}
    with pytest.raises(ValueError, match=limit):
        ServerOptions(**none)


@pytest.mark.parametrize(
    ("options", "option", "value", "expected"),
    [
        (ClientOptions, "strictness", "strict", "a Strictness, not str"),
        (ServerOptions, "strictness", True, "a Strictness, not bool"),
        (ClientOptions, "timeouts", 5, "a Timeouts, not int"),
        (ClientOptions, "user_identity", "SECRET", "a UserIdentityRQ or None, not str"),
        (ClientOptions, "tls", True, "a TLSOptions, an SSLContext or None, not bool"),
        (ServerOptions, "tls", True, "a TLSOptions, an SSLContext or None, not bool"),
        (ServerOptions, "store", None, "a StoreOptions, not NoneType"),
        (ServerOptions, "send", None, "a SendOptions, not NoneType"),
        (StoreOptions, "mode", "buffered", "a StoreMode, not str"),
        (StoreOptions, "duplicates", "refuse", "a Duplicates, not str"),
        (SendOptions, "retry", 3, "a RetryPolicy, not int"),
        (StoreOptions, "maximum_buffered", 1.5, "an int, not 1.5"),
        (StoreOptions, "maximum_buffered", "1", "an int, not '1'"),
        (SendOptions, "associations", "2", "an int, not '2'"),
        (RetryPolicy, "retries", 1.5, "an int, not 1.5"),
        (ServerOptions, "maximum_associations", None, "an int, not None"),
        (ServerOptions, "maximum_associations_per_host", "20", "an int, not '20'"),
        (ServerOptions, "access", ["CT1"], "an Access, not list"),
        (ServerOptions, "audit", "audit.log", "an AuditLog or None, not str"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(options: Any, option: str, value: object, expected: str) -> None:
    """Most would otherwise be ignored: "strict" is not `Strictness.STRICT`, and a server would be lenient."""
    with pytest.raises(TypeError, match=f"^{option} must be {expected}$"):
        options(**{option: value})


@pytest.mark.parametrize("title", [None, 5, b"ARCHIVE"])
def test_an_ae_title_is_a_string(title: Any) -> None:
    with pytest.raises(TypeError, match="AE title must be a str, not"):
        ClientOptions(calling_ae_title=title)


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_stopping_takes_no_negative_time(seconds: float) -> None:
    with pytest.raises(ValueError, match="stop_timeout must be"):
        ServerOptions(stop_timeout=seconds)


def test_options_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ClientOptions().maximum_length = 1  # type: ignore[misc]


@pytest.mark.parametrize("option", ["transfer_syntaxes", "prefer"])
def test_transfer_syntaxes_are_uids(option: str) -> None:
    options: Any = ServerOptions
    assert getattr(options(**{option: ["1.2", "1.3"]}), option) == ("1.2", "1.3")
    with pytest.raises(TypeError, match="must be a sequence of UIDs, not a str"):
        options(**{option: "1.2"})
    with pytest.raises(ValueError, match=r"must be UIDs, not 'rle'; dimse\.uids\.transfer_syntaxes converts"):
        options(**{option: ["rle"]})


@pytest.mark.parametrize(
    "kind",
    [
        dimse.Access,
        dimse.ClientOptions,
        dimse.Peer,
        dimse.RetryPolicy,
        dimse.SendOptions,
        dimse.ServerOptions,
        dimse.StoreOptions,
        dimse.TLSOptions,
        dimse.Timeouts,
    ],
)
def test_the_docstring_has_all_fields_once(kind: type[Any]) -> None:
    described = re.findall(r"^:param (\w+): [A-Z]", inspect.getdoc(kind) or "", re.MULTILINE)
    assert sorted(described) == sorted(each.name for each in dataclasses.fields(kind) if each.init)
