"""odil as an archive of a few files, run by the Python that has odil: C-ECHO, C-FIND and C-GET of all of them.

python3 odil_peer.py PORT FILE...

As odil does, it sends every data set on whichever context of its SOP class was accepted last.
"""

from __future__ import annotations

import sys

import odil  # type: ignore[import-not-found]


def read(path: str) -> odil.DataSet:
    with odil.open(path) as stream:
        return odil.Reader.read_file(stream)[1]


FILES = [read(path) for path in sys.argv[2:]]


class Each:
    """Gives what `initialize` puts into `given`, as a generator of odil's does."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[odil.DataSet] = []

    def count(self) -> int:
        return len(self.given)

    def done(self) -> bool:
        return not self.given

    def next(self) -> None:
        self.given.pop(0)

    def get(self) -> odil.DataSet:
        return self.given[0]


class Matches(Each, odil.FindSCP.DataSetGenerator):  # type: ignore[misc]
    def initialize(self, message: odil.messages.Message) -> None:
        query = message.get_data_set()
        self.given = [self._match(query, held) for held in wanted(query)]

    def _match(self, query: odil.DataSet, held: odil.DataSet) -> odil.DataSet:
        match = odil.DataSet()
        for tag, element in query.items():
            match.add(tag, held[tag] if held.has(tag) else element)
        return match


class Instances(Each, odil.GetSCP.DataSetGenerator):  # type: ignore[misc]
    def initialize(self, message: odil.messages.Message) -> None:
        self.given = wanted(message.get_data_set())


def wanted(query: odil.DataSet) -> list[odil.DataSet]:
    """The files that have the unique keys of a query."""
    found = []
    for held in FILES:
        for key in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            tag = getattr(odil.registry, key)
            asked = list(query.as_string(tag)) if query.has(tag) else []
            if asked and held.as_string(tag)[0] not in asked:
                break
        else:
            found.append(held)
    return found


def serve(port: int) -> None:
    """Serve one association."""
    association = odil.Association()
    association.receive_association("v4", port)
    echo, find, get = odil.EchoSCP(association), odil.FindSCP(association), odil.GetSCP(association)
    matches, instances = Matches(), Instances()
    echo.set_callback(lambda _: 0)
    find.set_generator(matches)
    get.set_generator(instances)
    services = {0x0030: echo, 0x0020: find, 0x0010: get}
    while True:
        message = association.receive_message()
        services[message.get_command_field()](message)


while True:
    try:
        serve(int(sys.argv[1]))
    except (odil.AssociationReleased, odil.AssociationAborted):
        pass
    except odil.Exception as error:  # the connection with which a test looks whether it listens
        print(error, flush=True)  # noqa: T201
