"""A node, as programs and peers see it."""

from __future__ import annotations

from pathlib import Path

import pytest

import dimse
from dimse import Access, AssociationRejected, CEchoSCU, ServerOptions, Status
from dimse.node import Node, NodeOptions
from dimse.services.move_scp import destination_of


def options(data: Path, **more: object) -> NodeOptions:
    return NodeOptions(data=data, port=0, **more)  # type: ignore[arg-type]


async def test_it_answers_an_echo_at_its_address(tmp_path: Path) -> None:
    async with Node(options(tmp_path / "archive", ae_title="ARCHIVE")) as node:
        assert (node.address.ae_title, node.address.port) == ("ARCHIVE", node.port)
        await dimse.echo(str(node.address))
    assert (tmp_path / "archive" / "index.sqlite").exists()


async def test_one_node_serves_from_a_folder_and_the_next_one_after_it(tmp_path: Path) -> None:
    async with Node(options(tmp_path)):
        with pytest.raises(OSError, match="another node serves from this folder"):
            async with Node(options(tmp_path)):
                pass
    async with Node(options(tmp_path)) as node:
        await dimse.echo(str(node.address))


async def test_a_node_that_cannot_listen_leaves_its_folder(tmp_path: Path) -> None:
    async with Node(options(tmp_path / "one")) as node:
        with pytest.raises(OSError, match="in use"):
            async with Node(NodeOptions(data=tmp_path / "two", port=node.port)):
                pass
    async with Node(options(tmp_path / "two")):
        pass


async def test_other_peers_destinations_and_limits_are_those_of_new_associations(tmp_path: Path) -> None:
    first = options(tmp_path, server=ServerOptions(access=Access(peers=["CT1"])))
    async with Node(first) as node:
        address = str(node.address)
        async with dimse.connect(address, calling_ae_title="CT1") as before:
            node.reconfigure(options(tmp_path, server=ServerOptions(access=Access(peers=["CT2"]))))
            assert (await CEchoSCU(before).echo()).status == Status.SUCCESS
            with pytest.raises(AssociationRejected, match="calling AE title"):
                await dimse.echo(address, calling_ae_title="CT1")
            await dimse.echo(address, calling_ae_title="CT2")
            node.reconfigure(options(tmp_path, server=ServerOptions(maximum_associations=1)))
            with pytest.raises(AssociationRejected, match="limit"):
                await dimse.echo(address, calling_ae_title="CT2")


async def test_a_destination_where_the_peer_calls_from(tmp_path: Path) -> None:
    asked = options(tmp_path, destinations={"WS1": "WS1@from-association:104"})
    async with Node(asked) as node:
        assert await destination_of(node.server.destinations or {}, "WS1") is None
        await dimse.echo(str(node.address), calling_ae_title="WS1")
        found = await destination_of(node.server.destinations or {}, "WS1")
        assert found is not None
        assert str(found.address) in ("WS1@127.0.0.1:104", "WS1@[::1]:104")
