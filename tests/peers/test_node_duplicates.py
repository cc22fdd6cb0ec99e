"""What storescu and pynetdicom are told of an instance that a node has with other content, and what is there then."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from dimse.node import Node, NodeOptions, OnDuplicate, StorageOptions
from dimse.node.index import Index
from dimse.node.schema import instance, set_aside, study
from tests.sample_objects import instance as sample
from tests.sample_objects import save

from .processes import PYNETDICOM_PEER, need, need_pynetdicom, run
from .samples import dataset_bytes


@dataclass(frozen=True)
class There:
    """What an archive has of one instance."""

    kept: bytes
    aside: list[bytes]
    counted: int


def there(index: Index, data: Path) -> There:
    with index.reading() as connection:
        (path,) = connection.scalars(select(instance.c.path))
        paths = connection.scalars(select(set_aside.c.path)).all()
        counted = connection.scalars(select(study.c.instance_count)).one()
    usual = data / "studies" / "1.2.3.1" / "1.2.3.2" / "1.2.3.4.dcm"
    return There(dataset_bytes(data / path if path else usual), [dataset_bytes(data / each) for each in paths], counted)


@pytest.fixture
def contents(tmp_path: Path) -> tuple[Path, Path]:
    """Files of one instance with different contents."""
    first, second = (save(sample("1.2.3.4", pixels=size), tmp_path / f"{size}.dcm") for size in (400, 500))
    return first, second


def node(data: Path, on_duplicate: OnDuplicate, *, answer: bool = False) -> Node:
    storage = StorageOptions(on_duplicate=on_duplicate, answer_duplicate=answer, minimum_free=0)
    return Node(NodeOptions(data=data, port=0, storage=storage))


@pytest.mark.parametrize("sender", ["storescu", "pynetdicom"])
@pytest.mark.parametrize(
    ("on_duplicate", "answer", "is_told"),
    [
        (OnDuplicate.KEEP, False, False),
        (OnDuplicate.KEEP, True, True),
        (OnDuplicate.REPLACE, False, False),
        (OnDuplicate.REJECT, False, True),
    ],
)
async def test_what_the_sender_is_told(
    tmp_path: Path, contents: tuple[Path, Path], sender: str, on_duplicate: OnDuplicate, answer: bool, is_told: bool
) -> None:
    first, second = contents
    async with node(tmp_path / "data", on_duplicate, answer=answer) as archive:
        if sender == "storescu":
            command = [need("storescu"), "-d", "-aec", "DIMSE", "127.0.0.1", str(archive.port)]
        else:
            command = [need_pynetdicom(), str(PYNETDICOM_PEER), "send", str(archive.port)]
        for path, is_refused in ((first, False), (first, False), (second, is_told)):
            code, output = await run(*command, str(path))
            assert bool(code) is is_refused, output
        if is_told:
            assert ("0x0111" if sender == "storescu" else str(0x0111)) in output
        found = there(archive.index, tmp_path / "data")
    one, other = map(dataset_bytes, contents)
    assert found.kept == (other if on_duplicate is OnDuplicate.REPLACE else one)
    assert found.aside == ([other] if on_duplicate is OnDuplicate.KEEP else [])
    assert found.counted == 1


async def test_many_senders_of_two_contents(tmp_path: Path, contents: tuple[Path, Path]) -> None:
    async with node(tmp_path / "data", OnDuplicate.KEEP) as archive:
        storescu = [need("storescu"), "-aec", "DIMSE", "127.0.0.1", str(archive.port)]
        pynetdicom = [need_pynetdicom(), str(PYNETDICOM_PEER), "send", str(archive.port), "--associations", "16"]
        ended = await asyncio.gather(
            run(*pynetdicom, *map(str, contents * 8)), *(run(*storescu, str(contents[n % 2])) for n in range(16))
        )
        assert [code for code, _ in ended] == [0] * 17, ended
        found = there(archive.index, tmp_path / "data")
    assert [found.kept, *found.aside] in (
        [dataset_bytes(path) for path in contents],
        [dataset_bytes(path) for path in reversed(contents)],
    )
    assert found.counted == 1
