"""A node, as programs and peers see it."""

from __future__ import annotations

from pathlib import Path

import pytest

import dimse
from dimse.node import Node, NodeOptions


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
