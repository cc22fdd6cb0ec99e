"""Send a folder, and print the result of each file as soon as it is known.

    python send_folder.py ARCHIVE@localhost:11112 study/

The exit code is 0 if everything was stored, 1 if some objects were not, 3 if there was no association.
"""

import argparse
import asyncio
from pathlib import Path

import dimse


def show(result: dimse.SendResult) -> None:
    if result.stored:
        print(f"stored   {result.name}: {result.status}")
    elif result.skipped:
        print(f"skipped  {result.name}: not DICOM")
    else:
        print(f"failed   {result.name}: {result.error}")


async def send_folder(address: str, folder: Path) -> int:
    try:
        report = await dimse.send(
            address,
            folder,
            calling_ae_title="SENDER",
            associations=2,
            retry=dimse.RetryPolicy(retries=2, delay=0.5),
            on_result=show,
            raise_failures=False,  # the report has them
        )
    except dimse.AssociationError as error:
        print(error)
        return 3
    print(f"{len(report.stored)} stored, {len(report.failures)} failed, {report.bytes_sent} bytes")
    return 1 if report.failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", metavar="TITLE@HOST:PORT")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    return asyncio.run(send_folder(arguments.address, arguments.folder))


if __name__ == "__main__":
    raise SystemExit(main())
