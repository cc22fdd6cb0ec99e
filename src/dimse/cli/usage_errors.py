"""What to type instead of a wrong command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from dimse.cli import old_spellings
from dimse.cli.parser import Parser
from dimse.configuration import nearest

_MISSING: Final = re.compile(r"the following arguments are required: (?!COMMAND)")
_UNKNOWN: Final = re.compile(r"unrecognized arguments: (?P<word>\S+)")
_NO_VALUE: Final = re.compile(r"argument (?P<option>[^:]+): expected ")
_COMMAND: Final = re.compile(r"argument COMMAND: invalid choice: '(?P<word>[^']*)'")


def commands_of(parser: argparse.ArgumentParser, above: str = "") -> dict[str, Parser]:
    """The parsers of the commands by name, also of those below others, such as `node import`."""
    found: dict[str, Parser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, made in action.choices.items():
                found |= {f"{above}{name}": made, **commands_of(made, f"{above}{name} ")}
    return found


def options_of(parser: Parser) -> dict[str, argparse.Action]:
    """The options of a command, by their names."""
    return {name: action for action in parser._actions for name in action.option_strings}


def in_words(message: str, arguments: Sequence[str], command: str | None, parser: Parser) -> str:
    """The message with what to type instead; or what other software calls that, in our words.

    `parser` knows at least the `command`; without one, all of them.
    """
    commands = commands_of(parser)
    words = old_spellings.answer(arguments, lambda name: options_of(commands[name]) if name in commands else {})
    if words is not None:
        return words
    words = _about_commands(message, arguments, command, commands)
    return _about_options(message, command or "", commands) if words is None else words


def _about_commands(
    message: str, arguments: Sequence[str], command: str | None, commands: Mapping[str, Parser]
) -> str | None:
    """What to say of a command that is misspelled or in the wrong place; None if it is not about one."""
    found = _COMMAND.match(message)
    if command is None:
        if found is None:
            return f"{message}; dimse --help lists the commands"
        return _no_such(f"command {found['word']}", found["word"], commands, "dimse --help")
    below = {name.rpartition(" ")[2]: name for name in commands if name.startswith(f"{command} ")}
    if (word := next((each for each in arguments if each in below), None)) is not None:
        return f"{word} comes right behind {command}: write dimse {below[word]} [options]"
    if found is None:
        return None
    if (before := _option_before(found["word"], arguments)) and before not in options_of(commands[command]):
        return _about_options(f"unrecognized arguments: {before}", command, commands)
    if "--data" in options_of(commands[command]) and _is_path(found["word"]):
        word = found["word"]
        return f"there is no command {command} {word}; for a data folder, write dimse {command} --data {word}"
    return _no_such(f"command {command} {found['word']}", found["word"], below, f"dimse {command} --help")


def _is_path(word: str) -> bool:
    return bool(Path(word).anchor) or word.startswith(".") or "/" in word or Path(word).is_dir()


def _option_before(word: str, arguments: Sequence[str]) -> str:
    """The option whose value `word` may be meant to be; empty if there is none."""
    before = arguments[arguments.index(word) - 1] if word in arguments[1:] else ""
    return before if before.startswith("-") else ""


def _about_options(message: str, command: str, commands: Mapping[str, Parser]) -> str:
    options = options_of(commands[command])
    if (found := _UNKNOWN.match(message)) and found["word"].startswith("-"):
        word = found["word"].partition("=")[0]
        names = [name for name in options if name.startswith("--")]
        return _no_such(f"option {word} of dimse {command}", word, names, f"dimse {command} --help")
    if _MISSING.match(message) or found is not None:
        return f"{message}; write {' '.join(commands[command].format_usage().partition('usage: ')[2].split())}"
    if (found := _NO_VALUE.match(message)) and (option := found["option"].partition("/")[0]) in options:
        return f"{message}; write {option} {options[option].metavar}"
    return message


def _no_such(what: str, word: str, known: Iterable[str], where: str) -> str:
    meant = nearest(word, known)
    return f"there is no {what}; " + (f"did you mean {meant}?" if meant is not None else f"{where} lists them")
