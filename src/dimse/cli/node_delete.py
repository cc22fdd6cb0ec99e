"""`dimse node delete`: deletes studies from an archive."""

from __future__ import annotations

import errno
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dimse.cli import arguments, exit_codes, node_archive, node_options, runtime
from dimse.cli.node_archive import Use
from dimse.cli.output import counted, print_error, print_json, print_line, size
from dimse.cli.parser import UsageError

if TYPE_CHECKING:
    from dimse.node.index import Index

EXIT_CODES: Final = (
    "0 all were deleted; 1 a study is not in the archive, a file could not be deleted yet, or nothing was confirmed; 2 "
    "wrong usage or a wrong configuration; 130 interrupted."
)


class _Study(NamedTuple):
    """A study to delete."""

    uid: str
    instances: int
    bytes: int


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument("studies", metavar="STUDY", nargs="+", help="Study Instance UID of a study to delete.")
    parser.add_argument("--yes", action="store_true", help="Do not ask; needed where there is no terminal to ask at.")
    node_options.add_arguments(parser)
    arguments.add_json(parser, "Print one JSON object per line.")


def node_delete(*, studies: Sequence[str], yes: bool, data: Path | None, config: Path | None, json: bool) -> int:
    """Delete studies from an archive, with their files.

    Files that were imported in place stay where they are. An event remains, without patient data. Only a backup can
    bring a deleted study back.
    """
    if not yes and not sys.stdin.isatty():
        raise UsageError("delete asks before it deletes, and there is no terminal to ask at; add --yes")
    with node_archive.opened(data, config, Use.CHANGE) as (index, options):
        from dimse.node.recovering import recover_alone

        with suppress(OSError):  # what a crash left of a study would be stored again by the next start
            recover_alone(index, options)
        found = _found(index, list(dict.fromkeys(studies)))
        missing = [uid for uid in dict.fromkeys(studies) if uid not in {each.uid for each in found}]
        for uid in missing:
            _report("missing", json, f"{uid}: not in the archive", study_instance_uid=uid)
        if not found:
            return exit_codes.FAILED
        if not yes and not _is_confirmed(found):
            print_error("dimse: nothing was deleted")
            return exit_codes.FAILED
        _delete(index, found, json)
        problem = runtime.run(_delete_files(index, options.data))
        if problem is not None:
            text = f"files are left, which a node or the next delete tries again: {problem}"
            _report("left", json, text, error=problem)
    return exit_codes.FAILED if missing or problem is not None else exit_codes.OK


def _delete(index: Index, studies: Sequence[_Study], json: bool) -> None:
    """Delete studies from the index, with jobs that delete their files."""
    from dimse.node.removing import remove_study

    for each in studies:
        with index.writing() as connection:
            remove_study(connection, each.uid)
        text = f"{each.uid}: deleted, {counted(each.instances, 'instance')}"
        _report("deleted", json, text, study_instance_uid=each.uid, instances=each.instances)


async def _delete_files(index: Index, data: Path) -> str | None:
    """Run the jobs that delete files, unless a node serves from the folder, which runs them.

    Returns why some are left, if they are.
    """
    from dimse.node.data_folder import served
    from dimse.node.deleting import KIND, FileDeletion
    from dimse.node.jobs import Jobs, queues

    with ExitStack() as stack:
        try:
            stack.enter_context(served(data))
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return None
        jobs = Jobs(index, {KIND: FileDeletion(index, data)})
        while not await jobs.start_due():  # it has started some, and others may be behind them
            await jobs.until_idle()
        return next((each.problem for each in await index.read(queues) if each.queue == KIND), None)


def _found(index: Index, uids: Sequence[str]) -> list[_Study]:
    from sqlalchemy import select

    from dimse.node.schema import study

    columns = select(study.c.uid, study.c.instance_count, study.c.bytes).where(study.c.uid.in_(uids))
    with index.reading() as connection:
        return [_Study(*row) for row in connection.execute(columns)]


def _is_confirmed(found: Sequence[_Study]) -> bool:
    instances, length = sum(each.instances for each in found), size(sum(each.bytes for each in found))
    text = f"Delete {counted(len(found), 'study', 'studies')}, {counted(instances, 'instance')}, {length}? [y/N] "
    print(text, end="", file=sys.stderr, flush=True)  # noqa: T201 - a question, which quotes nobody
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _report(event: str, json: bool, text: str, **fields: Any) -> None:
    if json:
        print_json(event=event, **fields)
    elif event in ("missing", "left"):
        print_error(f"dimse: {text}")
    else:
        print_line(text)
