"""Fetch a patient's studies from several archives, each study from the archive that has it, and no instance twice.

    python archives.py 4711 received/ ARCHIVE@pacs1:104 ARCHIVE@pacs2:104 ARCHIVE@pacs3:104

What is in the folder already is not fetched again. The exit code is 0 if everything is there, 1 if an archive failed.
"""

import argparse
import asyncio

import dimse
from dimse import Query


async def fetch(patient: str, folder: str, addresses: list[str]) -> list[Exception]:
    failures: list[Exception] = []
    async with dimse.find(addresses, Query.studies(PatientID=patient), raise_failures=False) as studies:
        async for study in studies:
            archive, query = studies.archive, Query.studies(StudyInstanceUID=study.StudyInstanceUID)
            try:
                report = await dimse.retrieve(archive, query, into=folder)
                print(f"{archive}: {len(report.retrieved)} of {report.listed} instances of {study.StudyInstanceUID}")
            except* (dimse.DimseError, OSError) as group:
                failures += group.exceptions
    return failures + studies.failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patient", metavar="PATIENT_ID")
    parser.add_argument("folder")
    parser.add_argument("addresses", metavar="TITLE@HOST:PORT", nargs="+")
    arguments = parser.parse_args()
    failures = asyncio.run(fetch(arguments.patient, arguments.folder, arguments.addresses))
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
