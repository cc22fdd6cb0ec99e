"""Addresses and AE titles: what can't be meant is refused when it is made, not when it is used."""

from __future__ import annotations

import pytest

from dimse import (
    Address,
    ClientOptions,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ARCHIVE@pacs:104", Address("ARCHIVE", "pacs", 104)),
        ("ARCHIVE@pacs", Address("ARCHIVE", "pacs", 11112)),
        ("pacs:104", Address("ANY-SCP", "pacs", 104)),
        ("pacs.example.org", Address("ANY-SCP", "pacs.example.org", 11112)),
        ("  MY TITLE @10.0.0.1:1", Address("MY TITLE", "10.0.0.1", 1)),
        ("ARCHIVE@[::1]:104", Address("ARCHIVE", "::1", 104)),
        ("SCAN@WARD@pacs:104", Address("SCAN@WARD", "pacs", 104)),
        ("A@@[::1]", Address("A@", "::1", 11112)),
        ("ARCHIVE@[fe80::1%eth0]", Address("ARCHIVE", "fe80::1%eth0", 11112)),
        ("A@pacs_1.m\xfcnchen.example:104", Address("A", "pacs_1.m\xfcnchen.example", 104)),
        ("[2001:db8::2]:65535", Address("ANY-SCP", "2001:db8::2", 65535)),
        ("A-B_C.1@h:1", Address("A-B_C.1", "h", 1)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert Address.parse(str(address)) == address
    assert Address.parse(address) is address


@pytest.mark.parametrize(
    "text",
    [
        *("", "@", "@pacs:104", "   @pacs", "ARCHIVE@", "ARCHIVE@:104", "pacs:", "pacs:port", "pacs:-1", "A@pacs:1:2"),
        *("A@::1:104", "A@[::1", "A@[]:1", "SEVENTEEN_LETTERS@pacs", "BACK\\SLASH@pacs", "\xc4RCHIV@pacs", "T\nT@pacs"),
        *("A@pacs:0", "A@pacs:65536", "A@B@", "A@pacs@:104", "A@pa cs:104", "A@pacs/echo:104", "http://pacs:104"),
        *("+tls", "A@+tls", "pacs,104", "k=v", "A@pacs?x:104"),
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Address.parse(text)


def test_an_address_says_how_to_write_it() -> None:
    with pytest.raises(ValueError, match="TITLE@host:port"):
        Address.parse("A@::1:104")


def test_spaces_of_ae_titles_do_not_count() -> None:
    assert ClientOptions(calling_ae_title=" ME ").calling_ae_title == "ME"
