"""pynetdicom as a printer and as its user, in a process of its own.

python pynetdicom_printer.py serve PORT      a printer; prints what it gets as JSON lines, until it is terminated
python pynetdicom_printer.py print PORT COLOR      prints an image of 2x3 pixels, and says what came of it
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from pydicom import Dataset
from pydicom.tag import Tag
from pydicom.uid import generate_uid
from pynetdicom import AE, evt

SESSION, BOX, GRAY, COLOR = (f"1.2.840.10008.5.1.1.{tail}" for tail in ("1", "2", "4", "4.1"))
PRINTER, INSTANCE, JOB, LUT = (f"1.2.840.10008.5.1.1.{tail}" for tail in ("16", "17", "14", "23"))
GRAY_META, COLOR_META = "1.2.840.10008.5.1.1.9", "1.2.840.10008.5.1.1.18"


def told(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)  # noqa: T201 - read by the test


def reference(sop_class: str, uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    return item


def serve(port: int) -> None:
    """Take everything, and tell the state of each job: printing when first asked for, done then."""
    asked: dict[str, int] = {}

    def create(event: Any) -> tuple[int, Dataset]:
        given = event.attribute_list
        made = Dataset()
        made.update(given)
        request = event.request
        uid = request.AffectedSOPInstanceUID or generate_uid()
        made.AffectedSOPInstanceUID = uid
        if request.AffectedSOPClassUID == BOX:
            columns, rows = map(int, given.ImageDisplayFormat.split("\\")[1].split(","))
            kind = COLOR if event.context.abstract_syntax == COLOR_META else GRAY
            made.ReferencedImageBoxSequence = [reference(kind, generate_uid()) for _ in range(columns * rows)]
            told(film=given.ImageDisplayFormat, size=given.get("FilmSizeID"))
        return 0x0000, made

    def change(event: Any) -> tuple[int, Dataset]:
        given = event.modification_list
        images = given.get("BasicGrayscaleImageSequence") or given.get("BasicColorImageSequence")
        told(position=given.ImageBoxPosition, pixels=list(images[0].PixelData), samples=images[0].SamplesPerPixel)
        return 0xB604, Dataset()

    def act(event: Any) -> tuple[int, Dataset]:
        reply = Dataset()
        reply.ReferencedPrintJobSequence = [reference(JOB, generate_uid())]
        told(action=event.action_type)
        return 0x0000, reply

    def get(event: Any) -> tuple[int, Dataset]:
        found = Dataset()
        if event.request.RequestedSOPClassUID == PRINTER:
            found.PrinterStatus, found.PrinterStatusInfo, found.PrinterName = "WARNING", "SUPPLY LOW", "laser"
            return 0x0000, found
        uid = event.request.RequestedSOPInstanceUID
        asked[uid] = asked.get(uid, 0) + 1
        found.ExecutionStatus = "PRINTING" if asked[uid] == 1 else "DONE"
        return 0x0000, found

    def delete(event: Any) -> int:
        told(deleted=event.request.RequestedSOPClassUID)
        return 0x0000

    ae = AE("PYNETDICOM")
    for uid in (GRAY_META, COLOR_META, JOB, LUT):
        ae.add_supported_context(uid)
    handlers: list[Any] = [(evt.EVT_N_CREATE, create), (evt.EVT_N_SET, change), (evt.EVT_N_ACTION, act)]
    handlers += [(evt.EVT_N_GET, get), (evt.EVT_N_DELETE, delete)]
    ae.start_server(("127.0.0.1", port), block=True, evt_handlers=handlers)


def print_one(port: int, *, color: bool) -> int:
    """Print an image, and wait for the event that says that it is done."""
    meta, kind = (COLOR_META, COLOR) if color else (GRAY_META, GRAY)
    done, events = threading.Event(), list[int]()

    def event_report(event: Any) -> tuple[int, None]:
        events.append(event.event_type)
        if event.event_type == 3:
            done.set()
        return 0x0000, None

    ae = AE("PYNETDICOM")
    for uid in (meta, JOB):
        ae.add_requested_context(uid)
    association = ae.associate("127.0.0.1", port, evt_handlers=[(evt.EVT_N_EVENT_REPORT, event_report)])
    assert association.is_established
    status, printer = association.send_n_get([Tag(0x21100010)], PRINTER, INSTANCE, meta_uid=meta)
    assert printer is not None
    told(printer=printer.PrinterStatus)
    session, box, copies = generate_uid(), generate_uid(), Dataset()
    copies.NumberOfCopies = "1"
    statuses = [status.Status, association.send_n_create(copies, SESSION, session, meta_uid=meta)[0].Status]
    film = Dataset()
    film.ImageDisplayFormat = "STANDARD\\1,1"
    film.ReferencedFilmSessionSequence = [reference(SESSION, session)]
    status, made = association.send_n_create(film, BOX, box, meta_uid=meta)
    statuses.append(status.Status)
    assert made is not None
    item = made.ReferencedImageBoxSequence[0]
    image, given = Dataset(), Dataset()
    image.SamplesPerPixel, image.PhotometricInterpretation = (3, "RGB") if color else (1, "MONOCHROME2")
    if color:
        image.PlanarConfiguration = 0
    image.Rows, image.Columns, image.BitsAllocated, image.BitsStored, image.HighBit = 2, 3, 8, 8, 7
    image.PixelRepresentation = 0
    image.PixelData = bytes(range(18 if color else 6))
    given.ImageBoxPosition = 1
    setattr(given, "BasicColorImageSequence" if color else "BasicGrayscaleImageSequence", [image])
    uid = item.ReferencedSOPInstanceUID
    assert item.ReferencedSOPClassUID == kind
    statuses.append(association.send_n_set(given, kind, uid, meta_uid=meta)[0].Status)
    statuses.append(association.send_n_action(None, 1, BOX, box, meta_uid=meta)[0].Status)
    done.wait(30)
    statuses.append(association.send_n_delete(SESSION, session, meta_uid=meta).Status)
    association.release()
    told(statuses=statuses, events=events)
    return 0 if not any(statuses) and events == [2, 3] else 1


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        sys.exit(print_one(int(sys.argv[2]), color=sys.argv[3] == "color"))
