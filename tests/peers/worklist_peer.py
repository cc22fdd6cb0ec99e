"""Others' worklists and their users, each run by the Python that has its library.

python worklist_peer.py pynetdicom PORT MODALITY      prints the status and Patient ID of each match
python worklist_peer.py pynetdicom-scp PORT FILE...      answers with the files, whatever is asked, until a C-CANCEL
python worklist_peer.py odil PORT MODALITY      prints the Patient ID of each match
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

MODALITY_WORKLIST = "1.2.840.10008.5.1.4.31"


def ask_by_pynetdicom(port: str, modality: str) -> None:
    from pydicom import Dataset
    from pynetdicom import AE

    step, wanted = Dataset(), Dataset()
    step.Modality, wanted.PatientID, wanted.ScheduledProcedureStepSequence = modality, "", [step]
    ae = AE("PYNETDICOM")
    ae.add_requested_context(MODALITY_WORKLIST)
    association = ae.associate("127.0.0.1", int(port), ae_title="RIS")
    for status, match in association.send_c_find(wanted, MODALITY_WORKLIST):
        print(f"0x{status.Status:04x}", match.PatientID if match else "")  # noqa: T201
    association.release()


def serve_by_pynetdicom(port: str, *paths: str) -> None:
    from pydicom import dcmread
    from pynetdicom import AE, evt

    def find(event: Any) -> Iterator[tuple[int, Any]]:
        for path in paths * 1000:
            if event.is_cancelled:
                print("cancelled", flush=True)  # noqa: T201
                yield 0xFE00, None
                return
            yield 0xFF00, dcmread(path, force=True)

    ae = AE("PYNETDICOM")
    ae.add_supported_context(MODALITY_WORKLIST)
    ae.start_server(("127.0.0.1", int(port)), block=True, evt_handlers=[(evt.EVT_C_FIND, find)])


def ask_by_odil(port: str, modality: str) -> None:
    import odil  # type: ignore[import-not-found]

    context = odil.AssociationParameters.PresentationContext(
        MODALITY_WORKLIST,
        [odil.registry.ImplicitVRLittleEndian],
        odil.AssociationParameters.PresentationContext.Role.SCU,
    )
    parameters = odil.AssociationParameters()
    parameters.set_calling_ae_title("ODIL").set_called_ae_title("RIS").set_presentation_contexts([context])
    association = odil.Association()
    association.set_peer_host("127.0.0.1")
    association.set_peer_port(int(port))
    association.set_parameters(parameters)
    association.associate()
    step, wanted = odil.DataSet(), odil.DataSet()
    step.add("Modality", [modality.encode()])
    wanted.add("PatientID")
    wanted.add("ScheduledProcedureStepSequence", [step])
    find = odil.FindSCU(association)
    find.set_affected_sop_class(MODALITY_WORKLIST)
    for match in find.find(wanted):
        print(match["PatientID"].as_string()[0].decode())  # noqa: T201
    association.release()


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    commands: dict[str, Callable[..., None]] = {
        "pynetdicom": ask_by_pynetdicom,
        "pynetdicom-scp": serve_by_pynetdicom,
        "odil": ask_by_odil,
    }
    commands[name](*arguments)
