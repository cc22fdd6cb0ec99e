"""Whole jobs; see the functions of the same names in `dimse`."""

from __future__ import annotations

from dimse.services import explaining, getting, moving, retrieving, sending, verification
from dimse.sync.facade import blocking

echo = blocking(verification.echo)
explain = blocking(explaining.explain)
get = blocking(getting.get)
move = blocking(moving.move)
retrieve = blocking(retrieving.retrieve)
send = blocking(sending.send)
