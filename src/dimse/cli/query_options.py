"""Options of find, get, move and retrieve, and the queries made of them."""

from __future__ import annotations

import csv
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import product
from pathlib import Path
from typing import Final, TextIO

from dimse.cli import arguments
from dimse.cli.output import print_error
from dimse.services.query import Query
from dimse.services.query_keys import Path as KeyPath
from dimse.services.query_keys import name_of, path_of, tag_of, vr_of_key
from dimse.services.query_models import DEFAULT_MODELS, QueryRetrieveLevel, QueryRetrieveModel, RetrieveOperation
from dimse.services.query_models import MODELS as STANDARD_MODELS

LEVELS: Final = {level.value: level for level in QueryRetrieveLevel}
MODELS: Final = {model.name.lower().removesuffix("_root").replace("_", "-"): model for model in STANDARD_MODELS}
"""The information models by the names that the options know: patient, study, modality-worklist and so on."""

DEFAULT_COLUMNS: Final = {
    QueryRetrieveLevel.PATIENT: ("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    QueryRetrieveLevel.STUDY: (
        "PatientName",
        "PatientID",
        "StudyDate",
        "ModalitiesInStudy",
        "StudyDescription",
        "StudyInstanceUID",
    ),
    QueryRetrieveLevel.SERIES: (
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "NumberOfSeriesRelatedInstances",
        "SeriesInstanceUID",
    ),
    QueryRetrieveLevel.IMAGE: ("InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}

_ABOVE: Final = ("PatientName", "StudyDate")
_BELOW_STUDY: Final = (QueryRetrieveLevel.SERIES, QueryRetrieveLevel.IMAGE)


def add_find_keys(parser: ArgumentParser) -> None:
    """Matching keys and keys to return."""
    text = (
        "Key to match, e.g. PatientName=Smith*, 0010,0020=4711, StudyDate=2024-01..2024-06, StudyDate=-7d, or "
        "ProcedureCodeSequence.CodeValue=24627-2. Without a value, a key to return. Repeat the option for several "
        "keys; a key given twice makes one query for each value. @FILE reads keys from a file, one per line."
    )
    _add_keys(parser, "KEY[=VALUE]", text)


def add_unique_keys(parser: ArgumentParser) -> None:
    """Unique keys of the entities to retrieve."""
    text = (
        "Unique key, e.g. StudyInstanceUID=1.2.3; add SeriesInstanceUID and SOPInstanceUID with --level SERIES or "
        "IMAGE. Separate several UIDs with commas. Repeat the option for several keys; a key given twice makes one "
        "request for each value. @FILE reads keys from a file, one per line."
    )
    _add_keys(parser, "KEY=VALUE", text)


def _add_keys(parser: ArgumentParser, metavar: str, text: str) -> None:
    parser.add_argument("-k", "--key", dest="keys", metavar=metavar, action="append", default=[], help=text)
    parser.add_argument(
        "--from",
        dest="table",
        metavar="FILE.csv",
        help="Make one query for each row of a CSV file (- for standard input) whose header names keys. If a row has "
        "UIDs, as the output of find --csv has, only they are used; else every column with a value.",
    )


def add_level_and_model(parser: ArgumentParser, operation: RetrieveOperation | None = None) -> None:
    """The Query/Retrieve Level, and the information model: of those with the operation, or of archives."""
    models = {
        name: model
        for name, model in MODELS.items()
        if (model in DEFAULT_MODELS if operation is None else getattr(model, operation) is not None)
    }
    levels = {name: level for name, level in LEVELS.items() if any(level in each.levels for each in models.values())}
    others = [name for name, model in models.items() if model not in DEFAULT_MODELS]
    more = f" Or one of: {', '.join(others)}." if others else ""
    parser.add_argument(
        "-l",
        "--level",
        metavar="|".join(levels),
        type=arguments.one_of(levels),
        help="Query/Retrieve Level. [default: STUDY, if the model has it]",
    )
    parser.add_argument(
        "--model",
        metavar="MODEL" if others else "|".join(models),
        type=arguments.one_of(models),
        help="Information model: patient (Patient Root) or study (Study Root)."
        f"{more} [default: patient at the PATIENT level, else study]",
    )


def add_timeout(parser: ArgumentParser, default: str) -> None:
    """The timeout. Without it, each step has a default of its own."""
    text = "Abort after this many seconds without progress."
    arguments.add_timeout(parser, f"{text} [default: 30 to connect, {default}]")


# The queries


def queries(
    level: QueryRetrieveLevel | None, model: QueryRetrieveModel | None, keys: Sequence[str], table: str | None
) -> list[Query]:
    """The queries made of the options, of which there must be some. Raises `ValueError`."""
    if not keys and table is None:
        raise ValueError("give the keys to match with -k KEY=VALUE, or with --from FILE.csv")
    return Keys(keys).queries(level, model, table)


def features(names: Sequence[str], *, relational: bool) -> dict[str, bool]:
    """The features to negotiate, as `Query.negotiating` takes them."""
    return dict.fromkeys(names, True) | {"relational": relational}


def to_retrieve(queries: Sequence[Query]) -> list[Query]:
    """The queries of a retrieval: relational where a unique key above the level is missing. Raises `ValueError`."""
    found = []
    for query in queries:
        is_relational = not all(query.text_of(tag_of(keyword)) for keyword in query.unique_keys[:-1])
        found.append(query.negotiating(relational=is_relational))
        found[-1].retrieve_identifier()
    return found


class Keys:
    """The keys of `-k`, also of those in files, with the values of each. Raises `ValueError`."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._names: dict[KeyPath, str] = {}
        """How each is written where it is first given."""
        self._values: dict[KeyPath, list[str]] = {}
        self._levels: list[str] = []
        for key in _lines(keys):
            name, _, value = key.partition("=")
            name = name.strip()
            if name in _LEVEL_KEYS:
                self._levels.append(value.strip().upper())
            else:
                self._add(path_of(name), name, value)

    def _add(self, path: KeyPath, name: str, value: str) -> None:
        values = value.split(",") if vr_of_key(path) == "CS" else [value]  # in a code, a comma is no character
        if len(values) > 1:
            print_error(f"dimse: {name}: {len(values)} values, one query for each")
        self._names.setdefault(path, name)
        self._values.setdefault(path, []).extend(map(str.strip, values))

    def queries(
        self, level: QueryRetrieveLevel | None, model: QueryRetrieveModel | None, table: str | None
    ) -> list[Query]:
        """The queries, each once: one for each row of the table and each combination of values."""
        level = self._level(level, model)
        found: dict[Query, None] = {}
        for where, row in [("", {})] if table is None else _rows(table):
            try:
                keys = self._of_row(row, Query.of(level, {}, model)) if where else []
                for chosen in self._choices():
                    found[Query.parse(level, [*chosen, *(f"{name}={row[name]}" for name in keys)], model)] = None
            except ValueError as error:
                raise ValueError(f"{where}: {error}" if where else str(error)) from None
        if not found:
            raise ValueError(f"--from {table}: has no rows")
        return list(found)

    def _level(self, option: QueryRetrieveLevel | None, model: QueryRetrieveModel | None) -> QueryRetrieveLevel | None:
        """The level, by the option or by its key; None in a model without levels."""
        wanted = {*self._levels, *(() if option is None else (option.value,))}
        if len(wanted) > 1:
            raise ValueError(f"two levels are given: {', '.join(sorted(wanted))}; leave one out")
        levels = LEVELS.values() if model is None else model.levels
        usual = QueryRetrieveLevel.STUDY if QueryRetrieveLevel.STUDY in levels else next(iter(levels), None)
        if not wanted:
            return usual
        (name,) = wanted
        if name not in LEVELS:
            raise ValueError(f"QueryRetrieveLevel must be one of {', '.join(LEVELS)}, not {name!r}")
        return LEVELS[name]

    def _choices(self) -> Iterator[list[str]]:
        """Each combination of one value for each key."""
        values = [[value for value in dict.fromkeys(each) if value] or [""] for each in self._values.values()]
        for chosen in product(*values):
            yield [f"{name}={value}" for name, value in zip(self._names.values(), chosen, strict=True)]

    def _of_row(self, row: Mapping[str, str], query: Query) -> list[str]:
        """The keys in a row. UIDs say alone what is wanted; without them, every column counts."""
        unique_keys = query.unique_keys
        is_identified = any(row.get(key) for key in unique_keys if key.endswith("UID"))
        names = [name for name, value in row.items() if value and (name in unique_keys or not is_identified)]
        if not names:
            raise ValueError("no column has a value, so the query would match everything")
        twice = next((name for name in names if any(self._values.get(path_of(name), ()))), None)
        if twice is not None:
            raise ValueError(f"{twice} is also given with -k; leave one out")
        return names

    def columns(self, query: Query) -> list[str]:
        """The columns to show: the given keys and, if all of them have values, the usual ones of the level.

        Where a search of series or instances begins above their level, the patient and the date are usual, too.
        """
        names = list(self._names.values())
        if all(any(values) for values in self._values.values()):
            begins_above = query.features.relational or query.first_step()[0] is not query.level
            above = _ABOVE if begins_above and query.level in _BELOW_STUDY else ()
            usual = [key for key in (*above, *_usual_columns(query)) if _is_allowed(query, key)]
            names = [*usual, *(name for path, name in self._names.items() if name_of(*path) not in usual)]
        return names


_LEVEL_KEYS: Final = ("QueryRetrieveLevel", "0008,0052", "00080052", "(0008,0052)")


def _lines(keys: Iterable[str]) -> Iterator[str]:
    """The keys, with those in files."""
    for key in keys:
        if not key.startswith("@"):
            yield key
            continue
        with _text_of(key[1:]) as file:
            lines = map(str.strip, file)
            yield from (line for line in lines if line and not line.startswith("#"))


def _rows(table: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file, separated by commas, semicolons or tabs, and where each is."""
    with _text_of(table) as file:
        header = file.readline()
        delimiter = next((each for each in ",;\t" if each in header), ",")
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        if not any(names):
            raise ValueError(f"--from {table}: the first line must name keys, e.g. PatientID,StudyDate")
        reader = csv.reader(file, delimiter=delimiter)
        for row in reader:
            if any(map(str.strip, row)):
                values = zip(names, map(str.strip, row), strict=False)
                yield f"--from {table}, line {reader.line_num + 1}", dict(values)


@contextmanager
def _text_of(name: str) -> Iterator[TextIO]:
    """A text file of the user; "-" is standard input. Raises `ValueError` where it cannot be read."""
    try:
        with nullcontext(sys.stdin) if name == "-" else Path(name).open(encoding="utf-8-sig", newline="") as file:
            yield file
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{name}: must be UTF-8 text") from None


def _usual_columns(query: Query) -> Sequence[str]:
    """The usual columns of the level; without levels, the unique key if there is one."""
    if query.level is not None:
        return DEFAULT_COLUMNS[query.level]
    return () if query.unique_key is None else (query.unique_key,)


def _is_allowed(query: Query, key: str) -> bool:
    """Patient Root has the patient's name above the study, where it is not asked for if the patient is known."""
    begins = query.first_step()[0]
    is_above = query.model == QueryRetrieveModel.PATIENT_ROOT and begins is not QueryRetrieveLevel.PATIENT
    return key != "PatientName" or not is_above
