"""Retrieve whole studies from an archive into a folder, and print each instance as it arrives.

    python retrieve.py ARCHIVE@localhost:11112 received/ 1.2.840.99999.1 1.2.840.99999.2

They arrive by C-GET. An archive without C-GET sends them by C-MOVE to "ME" on port 11112 here, which it must know;
`--receiver` changes that. The exit code is 0 if all arrived, 1 if some did not, 3 if there was no association.
"""

import argparse
import asyncio
from pathlib import Path

import dimse
from dimse import Query


def show(result: dimse.RetrieveResult) -> None:
    if result.retrieved:
        print(f"here     {result.sop_instance_uid} by {result.method}")
    else:
        print(f"missing  {result.sop_instance_uid}: {result.error}")


async def retrieve(address: str, folder: Path, studies: list[str], receiver: str | None) -> int:
    try:
        report = await dimse.retrieve(
            address,
            Query.studies(StudyInstanceUID=studies),
            into=folder,
            calling_ae_title="ME",
            receiver=receiver,
            on_result=show,
            raise_failures=False,  # the report has them
        )
    except dimse.AssociationError as error:
        print(error)
        return 3
    except (dimse.StatusError, dimse.PresentationContextError) as error:
        print(error)
        return 1
    print(f"{len(report.retrieved)} of {report.listed} instances in {report.seconds:.1f} s")
    return 1 if report.failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", metavar="TITLE@HOST:PORT")
    parser.add_argument("folder", type=Path)
    parser.add_argument("studies", nargs="+", metavar="STUDY_INSTANCE_UID")
    parser.add_argument("--receiver", metavar="TITLE@INTERFACE:PORT")
    arguments = parser.parse_args()
    return asyncio.run(retrieve(arguments.address, arguments.folder, arguments.studies, arguments.receiver))


if __name__ == "__main__":
    raise SystemExit(main())
