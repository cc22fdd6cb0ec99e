"""Show what a scanner is to do today: a query of its Modality Worklist (PS3.4 Annex K).

    python worklist.py RIS@localhost:11112 CT1 CT

The exit code is 0 if the worklist answered, however long it is.
"""

import argparse

import dimse
from dimse import Worklist, sync


def show(address: str, station: str, modality: str) -> None:
    for match in sync.find(address, Worklist(station_ae_title=station, modality=modality, date="today")):
        [step] = match.ScheduledProcedureStepSequence
        print(step.ScheduledProcedureStepStartTime, match.PatientID, match.PatientName)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", metavar="TITLE@HOST:PORT")
    parser.add_argument("station", help="AE title of the scanner")
    parser.add_argument("modality")
    arguments = parser.parse_args()
    try:
        show(arguments.address, arguments.station, arguments.modality)
    except dimse.DimseError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
