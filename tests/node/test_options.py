"""The options of a node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dimse.node import NodeOptions, QueryOptions, SettlingOptions, StorageOptions, WebOptions


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: NodeOptions(data=Path("x"), port=65536), "port must be 0 to 65535, not 65536"),
        (lambda: NodeOptions(data=Path("x"), ae_title="A" * 17), "is not an AE title"),
        (lambda: StorageOptions(minimum_free=-1), "minimum_free must be at least 0 bytes, not -1"),
        (lambda: QueryOptions(scan_limit=-1), "scan_limit must be at least 0, not -1"),
        (lambda: SettlingOptions(quiet_after_association=0), "quiet_after_association must be a positive number"),
        (lambda: WebOptions(host="0.0.0.0"), "loopback address, not '0.0.0.0', unless there is a password"),  # noqa: S104
        (lambda: WebOptions(key=Path("key.pem")), "key needs a certificate"),
    ],
)
def test_what_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_a_folder_may_be_text_and_secrets_are_not_shown() -> None:
    web = WebOptions(host="::", password="hidden", token="hidden")  # noqa: S106
    options = NodeOptions(data="archive", ae_title=" A ", web=web)  # type: ignore[arg-type]
    assert (options.data, options.ae_title) == (Path("archive"), "A")
    assert "hidden" not in repr(options)
