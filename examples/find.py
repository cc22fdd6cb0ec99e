"""List the studies of an archive, one line each, as they are found.

    python find.py ARCHIVE@localhost:11112 --name "Smith*" --since 2024-01-01 --modality CT --modality MR

The exit code is 0 if the archive answered, whatever it found.
"""

import argparse
import asyncio
from datetime import date

import dimse
from dimse import Query


async def find(address: str, query: Query) -> None:
    count = 0
    async for match in dimse.find(address, query):
        print(f"{match.StudyDate}  {match.PatientID}  {match.PatientName}  {match.get('StudyDescription', '')}")
        print(f"          {match.StudyInstanceUID}")
        count += 1
    print(f"{count} studies")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", metavar="TITLE@HOST:PORT")
    parser.add_argument("--name", default="", help="wild cards: * and ?")
    parser.add_argument("--since", type=date.fromisoformat, metavar="YYYY-MM-DD")
    parser.add_argument("--modality", action="append", default=[])
    arguments = parser.parse_args()
    try:
        query = Query.studies(PatientName=arguments.name).returning("StudyDescription")
        if arguments.since is not None:
            query = query.study_date(arguments.since, None)
        if arguments.modality:
            query = query.modality(*arguments.modality)
    except ValueError as error:
        parser.error(str(error))
    code = 0
    try:
        asyncio.run(find(arguments.address, query))
    except* dimse.DimseError as group:
        for failure in group.exceptions:
            print(failure)
        code = 1
    return code


if __name__ == "__main__":
    raise SystemExit(main())
