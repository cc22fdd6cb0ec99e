"""The Command Set codec: what PS3.7 6.3.1 prints, and what devices make of it."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimse.errors import RemoteProtocolError
from dimse.messages import command_set


def element(number: int, value: bytes, group: int = 0) -> bytes:
    return struct.pack("<HHI", group, number, len(value)) + value


def test_group_length_comes_first_and_elements_ascend() -> None:
    data = command_set.encode({0x0800: 0x0101, 0x0002: "1.2", 0x0100: 0x0030})
    assert data[:12] == bytes.fromhex("00000000 04000000 20000000")
    assert data[12:] == element(0x0002, b"1.2\0") + element(0x0100, b"\x30\0") + element(0x0800, b"\1\1")
    assert command_set.has_valid_group_length(data)


@pytest.mark.parametrize(
    ("number", "value", "encoded"),
    [
        (0x0002, "1.2.3", b"1.2.3\0"),  # UI pads with NUL
        (0x0600, "ARCHIVE", b"ARCHIVE "),  # AE and LO pad with space
        (0x0902, "odd", b"odd "),
        (0x0901, (0x00100010, 0x7FE00010), bytes.fromhex("10001000 e07f1000")),
        (0x0110, 0xFFFF, b"\xff\xff"),
    ],
)
def test_values(number: int, value: command_set.CommandValue, encoded: bytes) -> None:
    data = command_set.encode({number: value})
    assert data[12:] == element(number, encoded)
    assert command_set.decode(data) == {number: value}


def test_values_of_the_wrong_type_are_refused() -> None:
    values: list[tuple[int, command_set.CommandValue]] = [
        (0x0110, "1"),
        (0x0002, 1),
        (0x0901, "(0010,0010)"),
        (0x0902, 1),
    ]
    for number, value in values:
        with pytest.raises(TypeError):
            command_set.encode({number: value})


def test_padding_of_devices_is_stripped() -> None:
    assert command_set.decode(element(2, b"1.2.3 ") + element(0x1000, b"1.2\0\0\0")) == {2: "1.2.3", 0x1000: "1.2"}
    assert command_set.decode(element(0x0600, b"  ARCHIVE\0 ")) == {0x0600: "ARCHIVE"}


def test_empty_unknown_and_retired_elements_are_skipped() -> None:
    # (0000,0001) Length to End and (0000,5010) are retired; (0000,0902) is empty
    data = element(1, bytes(4)) + element(0x0110, b"\1\0") + element(0x0902, b"") + element(0x5010, b"x" * 5)
    assert command_set.decode(data) == {0x0110: 1}


def test_an_identifier_within_the_command_set_does_not_count() -> None:
    """Orthanc puts the Failed SOP Instance UID List there, behind the end that its group length names."""
    data = element(0x0110, b"\1\0") + element(0x0000, bytes(4), group=8) + element(0x0058, b"1.2\0", group=8)
    assert command_set.decode(data) == {0x0110: 1}


@pytest.mark.parametrize("group_length", [b"", element(0, bytes(4)), element(0, b"\xff" * 4), element(0, b"\0\0")])
def test_group_length_missing_or_wrong_is_not_needed(group_length: bytes) -> None:
    data = group_length + element(0x0100, b"\x30\0")
    assert command_set.decode(data) == {0x0100: 0x0030}
    assert not command_set.has_valid_group_length(data)


@pytest.mark.parametrize(
    "data",
    [
        element(0x0110, b"\1\0")[:-1],
        element(0x0110, b"\1\0") + b"\0\0\0",
        struct.pack("<HHI", 0, 0x0002, 0xFFFFFFFF) + b"1.2",
        element(0x0901, b"\0\0\0\0\0\0"),
    ],
)
def test_what_cannot_be_read_safely(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        command_set.decode(data)
    assert (caught.value.source, caught.value.reason) == (2, 6)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    """Invariant: `decode` returns a mapping of known elements, or raises RemoteProtocolError."""
    with suppress(RemoteProtocolError):
        assert command_set.decode(data).keys() <= command_set.VALUE_REPRESENTATIONS.keys()


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, *command_set.VALUE_REPRESENTATIONS]), st.binary(max_size=12)),
        max_size=8,
    )
)
def test_no_element_raises_anything_else(elements: list[tuple[int, bytes]]) -> None:
    data = b"".join(element(number, value) for number, value in elements)
    try:
        decoded = command_set.decode(data)
    except RemoteProtocolError:
        return
    for number, value in decoded.items():
        expected = {"US": int, "AT": tuple}.get(command_set.VALUE_REPRESENTATIONS[number], str)
        assert isinstance(value, expected)
