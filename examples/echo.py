"""Send a C-ECHO, and show the negotiated parameters.

    python echo.py ARCHIVE@localhost:11112

The exit code is 0 if it answered.
"""

import argparse
import asyncio

import dimse
from dimse import uids


async def echo(address: str) -> None:
    report = await dimse.echo(address)
    print(f"{address} answered {report.status} in {report.seconds * 1000:.1f} ms")
    for context in report.association.contexts.values():
        print(f"accepted: {uids.name_of(context.abstract_syntax)} in {uids.name_of(context.transfer_syntax)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", metavar="TITLE@HOST:PORT")
    arguments = parser.parse_args()
    try:
        asyncio.run(echo(arguments.address))
    except dimse.DimseError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
