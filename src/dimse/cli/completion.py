"""`dimse completion`: a script that completes the command line in a shell."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from typing import Any, Final

from dimse.cli import exit_codes
from dimse.cli.output import print_error, print_verbatim
from dimse.cli.usage_errors import commands_of
from dimse.tls import TLSProfile
from dimse.uids import TRANSFER_SYNTAXES

EXIT_CODES: Final = "0 the script was printed; 1 shtab is not installed; 2 wrong usage; 130 interrupted."

SHELLS: Final = ("bash", "zsh", "fish")

_NAMES: Final = {
    "--syntax": tuple(TRANSFER_SYNTAXES),
    "--prefer": tuple(TRANSFER_SYNTAXES),
    "--tls-profile": tuple(profile.value for profile in TLSProfile),
}
"""The values of options whose metavar does not list them."""

_PEERS: Final = {
    "bash": "_dimse_peers",
    "zsh": "_dimse_peers",
    "fish": "(dimse peers --names 2>/dev/null)",
    "preamble": {
        "bash": '_dimse_peers() { compgen -W "$(dimse peers --names 2>/dev/null)" -- "$1"; }',
        "zsh": "_dimse_peers() { compadd -- $(dimse peers --names 2>/dev/null) }",
    },
}
"""The names of the peers, asked for when they are needed."""

_NO_SPACE: Final = """
_dimse() {
  _shtab_dimse "$@"
  [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
complete -o bashdefault -F _dimse dimse
"""
"""For bash, which would put a space behind the = of a key."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument("shell", metavar="|".join(SHELLS), choices=SHELLS, help="Shell to complete in.")


def completion(*, shell: str) -> int:
    """Print a script that completes dimse in a shell.

    It completes commands, options, files, names of peers, and keywords after -k. Save it where the shell looks for it:

    bash: dimse completion bash > ~/.local/share/bash-completion/completions/dimse

    zsh: dimse completion zsh > ~/.zfunc/_dimse, where ~/.zfunc is in fpath before compinit

    fish: dimse completion fish > ~/.config/fish/completions/dimse.fish
    """
    if find_spec("shtab") is None:
        print_error('dimse: completion needs shtab; install it with: pip install "dimse[cli]"')
        return exit_codes.FAILED
    import shtab

    from dimse.cli.app import make_parser

    parser = make_parser()
    for command in commands_of(parser).values():
        for action in command._actions:
            _describe(action)
    script = shtab.complete(parser, shell)
    print_verbatim(script + _NO_SPACE if shell == "bash" else script)
    return exit_codes.OK


def _describe(action: Any) -> None:
    """Tell shtab what an argument takes, and shorten its help to the first sentence."""
    name, metavar = (action.option_strings or [action.dest])[-1], str(action.metavar or "")
    if action.help is not None:
        action.help = action.help.partition(", e.g.")[0].partition(". ")[0].rstrip(".").replace("%", "%%")
    choices = _NAMES.get(name) or [word for word in metavar.split("|") if word not in ("N", "NAME") and "|" in metavar]
    if (complete := _complete(name, metavar)) is not None:
        action.complete = complete
    elif choices and action.choices is None:
        action.choices = choices


def _complete(name: str, metavar: str) -> dict[str, Any] | None:
    """How shtab completes a value that is one of many."""
    import shtab

    if name == "address":
        return _PEERS
    if name == "--key":
        return _keywords()
    kinds = {"FILE": shtab.FILE, "PATH": shtab.FILE, "DIR": shtab.DIRECTORY}
    return kinds.get(metavar.partition(".")[0])


def _keywords() -> dict[str, Any]:
    """The keywords of PS3.6 that a query may have, each with the = before its value."""
    from pydicom._dicom_dict import DicomDictionary

    large = ("OB", "OW", "OB or OW", "OF", "OD", "OL", "OV")
    keywords = " ".join(
        f"{keyword}="
        for tag, (vr, _, _, retired, keyword) in sorted(DicomDictionary.items())
        if keyword and not retired and tag >> 16 > 4 and vr not in large
    )
    return {
        "bash": "_dimse_keywords",
        "zsh": "_dimse_keywords",
        "fish": "(_dimse_keywords)",
        "preamble": {
            "bash": f"_dimse_keywords() {{ compgen -W '{keywords}' -- \"$1\"; }}",
            "zsh": f"_dimse_keywords() {{ local -a keys=({keywords}); compadd -S '' -a keys }}",
            "fish": f"function _dimse_keywords; string join \\n {keywords}; end",
        },
    }
