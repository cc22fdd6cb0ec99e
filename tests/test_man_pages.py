"""The man pages of the wheel. `tests/peers/test_manual.py` shows them."""

from __future__ import annotations

from tools.man_pages import pages

from dimse.cli.app import COMMANDS


def test_each_command_has_a_page_which_is_the_same_at_each_build() -> None:
    assert set(pages()) == {"dimse.1", *(f"dimse-{name.replace(' ', '-')}.1" for name in COMMANDS)}
    assert pages() == pages()
