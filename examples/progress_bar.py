"""Send files with a progress bar made of `print` calls.

    python progress_bar.py ARCHIVE@localhost:11112 study/ ct.dcm

Failures are printed at the end.
"""

import argparse
import asyncio
import sys

import dimse


def draw(progress: dimse.TransferProgress) -> None:
    """Called on the event loop, at most ten times a second and once at the end: be quick."""
    megabytes, rate = progress.bytes_transferred / 1e6, progress.bytes_per_second / 1e6
    if progress.total_bytes:
        part = progress.bytes_transferred / progress.total_bytes
        bar = "#" * round(part * 30)
        line = f"[{bar:<30}] {part:4.0%}  {megabytes:.1f} MB  {rate:.1f} MB/s"
    else:  # the length of a stream is unknown
        line = f"{megabytes:.1f} MB  {rate:.1f} MB/s"
    print(f"\r{line}", end="", file=sys.stderr, flush=True)


async def send(address: str, paths: list[str]) -> None:
    try:
        report = await dimse.send(address, paths, progress=draw)
    finally:
        print(file=sys.stderr)
    print(f"{len(report.stored)} stored in {report.seconds:.1f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", metavar="TITLE@HOST:PORT")
    parser.add_argument("paths", nargs="+")
    arguments = parser.parse_args()
    code = 0
    try:
        asyncio.run(send(arguments.address, arguments.paths))
    except* dimse.AssociationError as group:
        print(f"{arguments.address}: {group.exceptions[0]}")
        code = 3
    except* (dimse.DimseError, OSError) as group:
        for error in group.exceptions:
            print(f"not stored: {error}")
        code = 1
    return code


if __name__ == "__main__":
    raise SystemExit(main())
