"""`dimse explain`: says why an archive cannot be used."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any, Final

from dimse.address import Address, check_ae_title
from dimse.cli import arguments, exit_codes, explain_report, requestor, runtime, saving
from dimse.cli.output import print_error, print_json, print_line
from dimse.cli.parser import width
from dimse.services.explaining import explain as explain_address
from dimse.services.explaining_services import ExplainPurpose
from dimse.services.explanation import ExplainOutcome

EXIT_CODES: Final = (
    "0 it works; 1 the archive accepts an association, but not all that is wanted; 2 wrong usage; 3 no association; "
    "130 interrupted."
)

_CODES: Final = {
    ExplainOutcome.WORKS: exit_codes.OK,
    ExplainOutcome.REFUSED: exit_codes.FAILED,
    ExplainOutcome.NO_ASSOCIATION: exit_codes.NO_ASSOCIATION,
}
_PURPOSES: Final = {purpose.value: purpose for purpose in ExplainPurpose}


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    arguments.add_address(parser, "Archive to talk to")
    parser.add_argument(
        "--for",
        dest="purposes",
        metavar="|".join(_PURPOSES),
        action="append",
        type=arguments.one_of(_PURPOSES),
        default=[],
        help="Service that the archive must provide. Repeat the option for several. [default: echo]",
    )
    parser.add_argument(
        "--also-called",
        metavar="TITLE",
        action="append",
        type=arguments.checked(check_ae_title),
        default=[],
        help="AE title of the archive to try if it rejects the one in its address. Repeat the option for several.",
    )
    parser.add_argument(
        "--also-calling",
        metavar="TITLE",
        action="append",
        type=arguments.checked(check_ae_title),
        default=[],
        help="Our AE title to try if the archive rejects --calling. Repeat the option for several.",
    )
    arguments.add_classes(parser, "Storage SOP classes that the archive has to accept.")
    arguments.add_syntaxes(parser, "Transfer syntaxes that it has to accept.")
    parser.add_argument(
        "--save",
        metavar="NAME",
        type=arguments.checked(saving.check),
        help="Save the archive under this name in the configuration file, with the titles and settings that work.",
    )
    requestor.add_arguments(parser)
    arguments.add_timeout(parser, "Abort after this many seconds without a connection or a response.", default=5)
    arguments.add_json(parser, "Print one JSON object.")


def explain(
    address: Address,
    *,
    purposes: Sequence[ExplainPurpose],
    also_called: Sequence[str],
    also_calling: Sequence[str],
    classes: Sequence[str],
    syntaxes: Sequence[str],
    save: str | None,
    timeout: float | None,
    json: bool,
    **association: Any,
) -> int:
    """Find out why an archive cannot be used.

    Tries name, connection, TLS, AE titles, C-ECHO and the services, and says what to change, and on which side. It
    sends no objects and no queries.
    """
    with arguments.usage():
        options = requestor.options(timeout=timeout, **association)
    with explain_report.waiting(address) as ended:
        asking = explain_address(
            address,
            options=options,
            purposes=purposes or (ExplainPurpose.ECHO,),
            sop_classes=classes,
            transfer_syntaxes=syntaxes,
            called_ae_titles=also_called,
            calling_ae_titles=also_calling,
            step_timeout=options.timeouts.association or 5,
            on_step=ended,
        )
        found = runtime.run(asking, fast=False)
    if json:
        print_json(**explain_report.as_json(found))
    else:
        for line in explain_report.as_lines(found, width()):
            print_line(line)
    if save is not None:
        saved = saving.save(save, found, options, association)
        print_error(
            "dimse: not saved: the archive accepted no AE titles" if saved is None else f"saved as {save} in {saved}"
        )
    return _CODES[found.outcome]
