"""Perform the steps of a worklist manager that match, as an AI pipeline does (Unified Procedure Step, PS3.4 Annex CC).

    python ups_worker.py WORKLIST@localhost:11112 --workitem 110004 --once

The step is COMPLETED when its input was analyzed, and CANCELED with the reason when that failed. SIGTERM lets the step
that is being performed end. The exit code is 0 unless the worklist manager cannot be used.
"""

import argparse
import asyncio
import signal

import dimse
from dimse import UPS, ClaimedUPS, UPSKeys


async def analyze(step: ClaimedUPS) -> str:
    """Stands for the model: counts the images."""
    series = step.dataset.get("InputInformationSequence") or []
    if not series:
        raise ValueError("the step has no input")
    for number, item in enumerate(series, 1):
        await step.progress(100 * number / len(series), f"series {item.SeriesInstanceUID}")
    return f"{sum(len(item.ReferencedSOPSequence) for item in series)} images"


async def work(address: str, keys: UPSKeys, *, once: bool) -> None:
    async with UPS(address, calling_ae_title="AI1") as ups:
        await ups.subscribe()  # an event wakes the worker: without it, it only asks every minute
        claims = ups.claim(keys)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, claims.stop)
        async for step in claims:
            try:
                async with step:
                    await step.complete(await analyze(step))
                print(f"{step.dataset.ProcedureStepLabel}: {step.state}", flush=True)
            except ValueError as error:
                print(f"{step.dataset.ProcedureStepLabel}: {step.state}, {error}", flush=True)
            if once:
                claims.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", metavar="TITLE@HOST:PORT")
    parser.add_argument("--workitem", metavar="CODE", help="perform only steps with this code value")
    parser.add_argument("--once", action="store_true", help="stop after one step")
    arguments = parser.parse_args()
    try:
        asyncio.run(work(arguments.address, UPSKeys(workitem=arguments.workitem), once=arguments.once))
    except dimse.DimseError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
