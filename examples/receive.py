"""Receive into a folder, and refuse images of other modalities before their pixels arrive.

    python receive.py 11112 received/ --modality CT --modality MR

Ctrl-C finishes open associations, and exits.
"""

import argparse
from pathlib import Path

import dimse
from dimse import Status


def receive(port: int, folder: Path, modalities: list[str]) -> None:
    server = dimse.Server("RECEIVER", port=port)

    @server.on_c_store
    async def store(request: dimse.StoreRequest) -> Status:
        modality = request.dataset.get("Modality", "")  # the elements before the pixel data
        if modalities and modality not in modalities:
            print(f"refused an object of modality {modality!r}", flush=True)
            return Status.NOT_AUTHORIZED  # the pixels are read and discarded
        path = await request.save_under(folder)  # written while it arrives
        print(f"{request.association.calling_ae_title}: {path.relative_to(folder)}", flush=True)
        return Status.SUCCESS

    async def announce() -> None:
        print(f"{server.ae_title}@{server.host}:{server.port} receives into {folder}", flush=True)

    server.run(announce)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, help="0 picks a free port")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--modality", action="append", default=[])
    arguments = parser.parse_args()
    receive(arguments.port, arguments.folder, arguments.modality)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
