"""The report of `dimse commit`: whether the peer is committed to store each object."""

from __future__ import annotations

from dimse.address import Address
from dimse.cli import exit_codes
from dimse.cli.output import counted, duration, print_error, reason, reason_with_name
from dimse.cli.report import Report
from dimse.errors import NotCommitted
from dimse.services.commitment_scu import CommitmentResult


class CommittingReport(Report):
    """Counts `committed`, `failed` and `skipped`."""

    def __init__(self, address: Address, *, json: bool, events: tuple[str, str] = ("result", "summary")) -> None:
        super().__init__(json=json)
        self._address = address
        self._of_result, self._of_summary = events

    def add(self, result: CommitmentResult) -> None:
        """Count a result, and write it."""
        outcome = "committed" if result.committed else "skipped" if result.skipped else "failed"
        self.counts[outcome] += 1
        error, name = result.error, result.name or result.sop_instance_uid
        number = error.reason if isinstance(error, NotCommitted) else None
        fields = {
            "name": name,
            "outcome": outcome,
            "sop_class_uid": result.sop_class_uid or None,
            "sop_instance_uid": result.sop_instance_uid or None,
            "failure_reason": None if number is None else f"0x{number:04X}",
            "error": None if error is None else reason(error, with_peer=False),
            "retrieve_ae_title": result.retrieve_ae_title,
            "transaction_uid": result.transaction_uid,
        }
        if error is None:
            self.write(self._of_result, fields, f"committed: {name}")
        else:
            words = "not committed" if outcome == "failed" else outcome
            self.write(self._of_result, fields, f"{words}: {reason_with_name(name, error)}", is_problem=True)

    @property
    def exit_code(self) -> int:
        """The exit code of the command, if nothing ended it early."""
        has_failed = self.counts["failed"] or not self.counts["committed"]
        return exit_codes.FAILED if has_failed else exit_codes.OK

    def finish(self, transactions: int | None = None, error: str | None = None) -> None:
        """Write the summary. `error` is the reason if the job ended early."""
        committed, failed, seconds = self.counts["committed"], self.counts["failed"], self.seconds
        fields = {
            "address": str(self._address),
            "committed": committed,
            "failed": failed,
            "skipped": self.counts["skipped"],
            "transactions": transactions,
            "seconds": round(seconds, 3),
        }
        others = "".join(f", {self.counts[each]} {word}" for each, word in _OTHERS.items() if self.counts[each])
        text = f"{counted(committed, 'object')} committed at {self._address}{others}: {duration(seconds)}"
        is_of_interest = committed or failed
        self.write(
            self._of_summary, fields if error is None else fields | {"error": error}, text if is_of_interest else None
        )
        if error is None and not is_of_interest:
            print_error("dimse: nothing to ask for: no DICOM files found")


_OTHERS = {"failed": "not committed", "skipped": "skipped"}
"""Words of the summary by outcome."""
