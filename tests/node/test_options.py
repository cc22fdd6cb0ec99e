"""The options of a node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dimse import Access, ServerOptions
from dimse.node import (
    CommandOptions,
    NodeOptions,
    NodeServerOptions,
    QueryOptions,
    SettlingOptions,
    StorageOptions,
    WebhookOptions,
    WebOptions,
)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: NodeOptions(data=Path("x"), port=65536), "port must be 0 to 65535, not 65536"),
        (lambda: NodeOptions(data=Path("x"), ae_title="A" * 17), "is not an AE title"),
        (lambda: NodeOptions(data=Path("x"), index="sqlite:///x"), "index must be the URL of a PostgreSQL database"),
        (lambda: StorageOptions(minimum_free=-1), "minimum_free must be at least 0 bytes, not -1"),
        (lambda: QueryOptions(scan_limit=-1), "scan_limit must be at least 0, not -1"),
        (lambda: SettlingOptions(quiet_after_association=0), "quiet_after_association must be a positive number"),
        (lambda: WebOptions(host="0.0.0.0"), "loopback address, not '0.0.0.0', unless there is a password"),  # noqa: S104
        (lambda: WebOptions(key=Path("key.pem")), "key needs a certificate"),
        (lambda: WebOptions(certificate=Path("none.pem")), "cannot read none.pem: No such file"),
        (lambda: WebhookOptions(url="https://a", ca=Path("none.pem")), "ca: cannot read none.pem: No such file"),
        (lambda: WebhookOptions(url="https://a", secret=""), "secret must not be empty"),
    ],
)
def test_what_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: NodeOptions(data=Path("x"), server=ServerOptions()), "server must be a NodeServerOptions"),  # type: ignore[arg-type]
        (lambda: NodeOptions(data=Path("x"), storage={}), "storage must be a StorageOptions, not dict"),  # type: ignore[arg-type]
        (lambda: NodeOptions(data=Path("x"), web=True), "web must be a WebOptions or None, not bool"),  # type: ignore[arg-type]
        (lambda: NodeOptions(data=Path("x"), webhooks=["http://a"]), "webhooks must have WebhookOptions only"),  # type: ignore[list-item]
        (lambda: NodeOptions(data=Path("x"), commands=[["sh"]]), "commands must have CommandOptions only"),  # type: ignore[list-item]
        (lambda: StorageOptions(on_duplicate="reject"), "on_duplicate must be an OnDuplicate, not str"),  # type: ignore[arg-type]
        (lambda: WebhookOptions(url="http://a", on=["study-settled"]), "on must have EventKinds"),  # type: ignore[list-item]
        (lambda: CommandOptions(run=["sh"], on="study-settled"), "on must have EventKinds"),  # type: ignore[arg-type]
    ],
)
def test_what_would_be_ignored_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        make()


def test_what_is_never_told_is_refused() -> None:
    with pytest.raises(ValueError, match="on must have at least one kind of event"):
        WebhookOptions(url="http://a", on=())


def test_the_limits_of_a_node_are_higher_whatever_else_is_set() -> None:
    for server in (NodeOptions(data=Path("x")).server, NodeServerOptions(access=Access(peers=["CT1"]))):
        assert (server.maximum_associations, server.maximum_associations_per_host) == (250, 100)
        assert (server.maximum_associations_per_title, server.maximum_connections_per_second) == (100, 200)
    assert NodeServerOptions(maximum_associations=3).maximum_associations == 3
    with pytest.raises(ValueError, match="maximum_associations must be at least 1"):
        NodeServerOptions(maximum_associations=0)


def test_a_folder_may_be_text_and_secrets_are_not_shown() -> None:
    web = WebOptions(host="::", password="hidden", token="hidden")  # noqa: S106
    options = NodeOptions(data="archive", ae_title=" A ", web=web)  # type: ignore[arg-type]
    assert (options.data, options.ae_title) == (Path("archive"), "A")
    assert "hidden" not in repr(options)
