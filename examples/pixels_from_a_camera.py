"""Stream numpy frames from a camera to an archive as one multi-frame object, while it records.

    python pixels_from_a_camera.py ARCHIVE@localhost:11112 --frames 250

The object is never whole in memory or on disk: at any time there is one frame and one PDU. The camera is made up.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator

import numpy as np
from pydicom import Dataset
from pydicom.uid import MultiFrameGrayscaleByteSecondaryCaptureImageStorage, generate_uid

import dimse
from dimse import uids

ROWS, COLUMNS = 480, 640


async def camera(frames: int) -> AsyncIterator[memoryview]:
    """A bright bar that moves across a gradient."""
    background = np.tile(np.linspace(0, 200, COLUMNS, dtype=np.uint8), (ROWS, 1))
    for number in range(frames):
        frame = background.copy()
        frame[:, number * 8 % COLUMNS : number * 8 % COLUMNS + 8] = 255
        yield frame.data  # a buffer, which is not copied
        await asyncio.sleep(0)  # await a real camera here


def description(frames: int) -> Dataset:
    """Everything except the pixels, which it must describe correctly."""
    dataset = Dataset()
    dataset.SOPClassUID = MultiFrameGrayscaleByteSecondaryCaptureImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.PatientID = "CAMERA-TEST"
    dataset.PatientName = "Camera^Test"
    dataset.Modality = "OT"
    dataset.ConversionType = "WSD"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.NumberOfFrames = frames
    dataset.Rows, dataset.Columns = ROWS, COLUMNS
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    return dataset


async def record(address: str, frames: int) -> None:
    dataset = description(frames)
    pixels = dimse.NativePixels(camera(frames), length=frames * ROWS * COLUMNS)
    contexts = [(dataset.SOPClassUID, [uids.EXPLICIT_VR_LITTLE_ENDIAN])]
    async with dimse.connect(address, calling_ae_title="CAMERA", contexts=contexts) as association:
        response = await dimse.CStoreSCU(association).send(dataset, pixels=pixels)
    print(f"{frames} frames, {pixels.length} bytes: {response.status}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", metavar="TITLE@HOST:PORT")
    parser.add_argument("--frames", type=int, default=100)
    arguments = parser.parse_args()
    asyncio.run(record(arguments.address, arguments.frames))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
