"""The large object over TLS."""

from __future__ import annotations

import socket
import ssl
import tempfile
from pathlib import Path
from typing import Final

import programs
import subsets
from measuring import Running, free_port
from pairs import measure
from tables import Section, Table, target

OF_FLOOR: Final = 0.8
OF_DCMTK: Final = 1.0

TABLE: Final = Table(
    ("sender and receiver", "protocol", "cipher"),
    (
        *(("MB/s", 8), ("transfer s", 10), ("x floor", 7), ("CPU s, sender", 13), ("CPU s, receiver", 15)),
        *(("MB, sender", 10), ("MB, receiver", 12)),
    ),
    widths=(20, 8, 29),
)

ABOUT = """\
- (a) over TLS; the sender checks the receiver's certificate. *floor* is the plain socket wrapped by Python's `ssl`,
  with which dimse works too; both take nothing below TLS 1.3. *protocol* and *cipher* are what the receiver agrees to
  with Python's `ssl`: DCMTK as it is installed may not know TLS 1.3. Its sender is storescu, as dcmsend has no TLS.
"""


def section(folder: Path, scale: str, runs: int) -> Section:
    """The floor, dimse, and DCMTK if its TLS works."""
    load = subsets.workload(scale, "a")
    notes, results, agreed = "", [], {}
    for name in ("floor", "DCMTK", "dimse"):
        try:
            agreed[name] = _agreed(name)
            results.append(measure(load, folder / "a", folder, (name, name), runs=runs, option="TLS"))
        except (RuntimeError, OSError) as error:
            if name != "DCMTK":
                raise
            notes = f"- DCMTK was not tried: {error}\n"
    seconds = {each.sender: each.transfer_seconds for each in results}
    rows = [
        TABLE.line(
            each.sender,
            *agreed[each.sender],
            f"{each.megabytes_per_second:.1f}",
            f"{each.transfer_seconds:.3f}",
            f"{seconds['floor'] / each.transfer_seconds:.2f}",
            f"{each.sender_cpu:.2f}",
            f"{each.receiver_cpu:.2f}",
            f"{each.sender_memory / 1e6:.0f}",
            f"{each.receiver_memory / 1e6:.0f}",
        )
        for each in results
    ]
    targets = []
    for other, wanted in (("floor", OF_FLOOR), ("DCMTK", OF_DCMTK)):
        text = (
            f"{load.title}, TLS: throughput beside {'a plain socket' if other == 'floor' else other} with TLS, transfer"
        )
        if other in seconds:
            ratio = seconds[other] / seconds["dimse"]
            targets.append(target(text, f">= {wanted:g}x", f"{ratio:.2f}x", reached=ratio >= wanted))
        else:
            targets.append(target(text, f">= {wanted:g}x", "not tried"))
    return Section(
        title="Over TLS",
        about=ABOUT + notes,
        table="\n".join([TABLE.header, *rows]),
        targets=targets,
        numbers=[each.as_json() | {"tls": agreed[each.sender]} for each in results],
    )


def _agreed(name: str) -> tuple[str, str]:
    """The protocol and the cipher that this receiver takes of what Python's `ssl` offers."""
    context = ssl.create_default_context(cafile=programs.PEM)
    port = free_port()
    with tempfile.TemporaryDirectory() as into, Running(programs.receiver(name, port, Path(into), "TLS")) as receiving:
        receiving.wait_for_port(port)
        plain = socket.create_connection(("127.0.0.1", port), timeout=10)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            cipher = connection.cipher()
            assert cipher is not None
            return connection.version() or "", cipher[0]
