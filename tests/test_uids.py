"""UIDs and their names."""

from __future__ import annotations

import subprocess
import sys


def test_an_echo_does_without_pydicom() -> None:
    code = """
import sys
from dimse import CEchoSCU, connect, uids
names = [uids.name_of(uid) for uid in (uids.VERIFICATION, *uids.LITTLE_ENDIAN)]
assert 'pydicom' not in sys.modules
from pydicom.uid import UID
assert names == [UID(uid).name for uid in (uids.VERIFICATION, *uids.LITTLE_ENDIAN)]
"""
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - it is our own
