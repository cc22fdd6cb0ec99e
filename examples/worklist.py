"""Show what a scanner is to do today: a query of its Modality Worklist (PS3.4 Annex K).

    python worklist.py RIS@localhost:11112 CT1 CT

The exit code is 0 if the worklist answered, however long it is.
"""

import argparse
from datetime import date

from pydicom import Dataset

import dimse
from dimse import sync, uids

MODALITY_WORKLIST = "1.2.840.10008.5.1.4.31"


def show(address: str, station: str, modality: str) -> None:
    step = Dataset()
    step.ScheduledStationAETitle = station
    step.Modality = modality
    step.ScheduledProcedureStepStartDate = f"{date.today():%Y%m%d}"  # noqa: DTZ011 - the scanner's day
    step.ScheduledProcedureStepStartTime = step.ScheduledProcedureStepDescription = ""
    wanted = Dataset()
    wanted.PatientName = wanted.PatientID = wanted.AccessionNumber = ""
    wanted.ScheduledProcedureStepSequence = [step]
    with sync.connect(address, contexts=[(MODALITY_WORKLIST, uids.LITTLE_ENDIAN)]) as association:
        for item in sync.CFindSCU(association).find(None, wanted, model=MODALITY_WORKLIST):
            [scheduled] = item.ScheduledProcedureStepSequence
            print(scheduled.ScheduledProcedureStepStartTime, item.PatientID, item.PatientName)


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
