"""Whole jobs; see the functions of the same names in `dimse`."""

from __future__ import annotations

from dimse.services import commitment, explaining, finding, getting, moving, printing, retrieving, sending, verification
from dimse.sync.facade import blocking, making
from dimse.sync.results import Finding

commit = blocking(commitment.commit)
echo = blocking(verification.echo)
explain = blocking(explaining.explain)
find = making(finding.find, Finding)
get = blocking(getting.get)
move = blocking(moving.move)
print_images = blocking(printing.print_images)
printer_status = blocking(printing.printer_status)
retrieve = blocking(retrieving.retrieve)
send = blocking(sending.send)
