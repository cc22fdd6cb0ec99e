"""The report of `dimse send`: the result of each object."""

from __future__ import annotations

from dimse.address import Address
from dimse.cli import exit_codes
from dimse.cli.output import counted, duration, print_error, reason, reason_with_name, size
from dimse.cli.progress import TransferBar
from dimse.cli.report import Report
from dimse.services.collecting import SendResult
from dimse.status import StatusCategory


class SendingReport(Report):
    """Counts `stored` (warnings included), `warning`, `failed` and `skipped`."""

    def __init__(self, address: Address, *, json: bool) -> None:
        super().__init__(json=json)
        self.bar = TransferBar()
        self.associations = 1
        """Associations that were open at once."""
        self.operations_window = 1
        """Objects that could be in flight at once on each."""
        self.sent_before = 0
        """Objects that an earlier run has sent, as the journal says."""
        self.left = 0
        """Objects whose result is not known, once the transfer has begun."""
        self._address = address
        self._failure = exit_codes.OK
        """The exit code for the worst failure so far."""

    def add(self, result: SendResult) -> None:
        """Count a result, and write it."""
        outcome = _outcome(result)
        self._count(outcome, result)
        status = result.status
        fields = {
            "name": result.name,
            "outcome": outcome,
            "sop_instance_uid": result.sop_instance_uid,
            "status": None if status is None else f"0x{int(status):04X}",
            "meaning": None if status is None else status.meaning,
            "error": None if result.error is None else reason(result.error, with_peer=False),
            "attempts": result.attempts,
            "bytes": result.bytes_sent,
            "sent_before": result.sent_before,
        }
        text = None
        if result.error is not None:
            text = f"{outcome}: {reason_with_name(result.name, result.error)}"
        elif outcome == "warning":
            comment = f" ({result.comment})" if result.comment else ""
            when = " before" if result.sent_before else ""
            text = f"warning: {result.name}: stored{when}, {status}{comment}"
        self.write("result", fields, text, is_problem=True)

    def _count(self, outcome: str, result: SendResult) -> None:
        self.counts[outcome] += 1
        self.sent_before += result.sent_before
        if outcome == "skipped":
            return
        self.bar.add_object()
        self.left = max(self.left - 1, 0)
        if outcome == "failed":
            self._failure = max(self._failure, exit_codes.code_of(result.error))
        else:
            self.bytes += result.bytes_sent

    @property
    def stored(self) -> int:
        """Number of objects that the peer has stored, with or without a warning."""
        return self.counts["stored"] + self.counts["warning"]

    @property
    def exit_code(self) -> int:
        """The exit code of the command, if nothing ended it early."""
        return self._failure or (exit_codes.OK if self.stored else exit_codes.FAILED)

    def finish(self, error: str | None = None) -> None:
        """Write the summary. `error` is the reason if the job ended early."""
        seconds = self.seconds
        fields = {
            "address": str(self._address),
            "stored": self.stored,
            "sent_before": self.sent_before,
            "warnings": self.counts["warning"],
            "failed": self.counts["failed"],
            "skipped": self.counts["skipped"],
            "not_sent": self.left,
            "bytes": self.bytes,
            "seconds": round(seconds, 3),
            "associations": self.associations,
            "operations_window": self.operations_window,
        }
        is_of_interest = self.stored or error is None
        self.write(
            "summary",
            fields if error is None else fields | {"error": error},
            self._summary(seconds) if is_of_interest else None,
        )
        if error is None and not self.stored and not self.counts["failed"]:
            print_error("dimse: nothing to send: no DICOM files found")

    def _summary(self, seconds: float) -> str:
        settled = self.stored + self.counts["failed"]
        number = f"{self.stored} of {settled + self.left} objects" if self.left else counted(self.stored, "object")
        counts = [f"{number} stored at {self._address}"]
        counts += [f"{self.sent_before} of them before"] if self.sent_before else []
        counts += [f"{self.counts['warning']} with a warning"] if self.counts["warning"] else []
        counts += [f"{self.counts[outcome]} {outcome}" for outcome in ("failed", "skipped") if self.counts[outcome]]
        counts += [f"{self.left} not sent"] if self.left else []
        transfer = f"{size(self.bytes)} in {duration(seconds)}"
        if self.bytes and seconds:
            transfer += f", {size(self.bytes / seconds)}/s"
        if self.associations > 1:
            transfer += f", over {self.associations} associations"
        if self.operations_window > 1 and self.stored - self.sent_before > 1:
            transfer += f", up to {self.operations_window} at once"
        return f"{', '.join(counts)}: {transfer}"


def _outcome(result: SendResult) -> str:
    if result.skipped:
        return "skipped"
    if not result.stored:
        return "failed"
    is_warning = result.status is not None and result.status.category is StatusCategory.WARNING
    return "warning" if is_warning else "stored"
