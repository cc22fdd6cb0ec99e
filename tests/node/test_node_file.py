"""`node.toml`: what it means, and what of it is refused, with the place and the reason."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.certificate import CERTIFICATE, KEY

from dimse import Address, MoveDestination, Operation
from dimse.access import Peer
from dimse.node import NodeOptions, OnDuplicate
from dimse.node.events import EventKind
from dimse.node.node_file import _ARRAYS, _TABLES, _Reader, read
from dimse.tls import TLSOptions

EVERYTHING = """
[node]
ae_title = "ARCHIVE"
called_ae_titles = ["ARCHIVE", "OLD"]
host = "::"
port = 104
data = "data"
audit = "audit.xml"

[index]
url = "postgresql://archive@db/archive"

[storage]
on_duplicate = "reject"
fsync = false

[[peer]]
ae_title = "CT1"
networks = ["10.1.0.0/16"]
certificate_names = ["ct1.hospital.example"]
may = ["store", "commit"]
maximum_associations = 4
host = "10.1.2.3"
port = 4242

[[peer]]
ae_title = "WS1 "
host = "from-association"

[[peer]]
ae_title = "MONITOR"
may = []

[limits]
maximum_associations = 500
maximum_associations_per_host = 0
idle = 30

[query]
scan_limit = 5

[settling]
quiet = 1.5

[[webhook]]
url = "https://ris.example/events"
on = ["study-created", "study-settled"]
ca = "ca.pem"

[[command]]
run = ["cat", "{folder}"]

[web]
port = 8081

[tls]
certificate = "cert.pem"
key = "key.pem"
ca = "ca.pem"
"""


def options(tmp_path: Path, text: str) -> NodeOptions:
    path = tmp_path / "node.toml"
    path.write_text(text, encoding="utf-8")
    for name, content in (("cert.pem", CERTIFICATE), ("ca.pem", CERTIFICATE), ("key.pem", KEY)):
        (tmp_path / name).write_text(content, encoding="ascii")
    return read(path, tmp_path / "usual")


def test_an_empty_file_is_the_defaults_with_the_page(tmp_path: Path) -> None:
    found = options(tmp_path, "")
    assert found.web is not None
    assert (found.ae_title, found.host, found.port, found.data) == ("DIMSE", "localhost", 11112, tmp_path / "usual")
    assert found.server.access.admits_everyone
    assert options(tmp_path, "web = false").web is None


def test_every_table(tmp_path: Path) -> None:
    found = options(tmp_path, EVERYTHING)
    assert (found.ae_title, found.host, found.port, found.data) == ("ARCHIVE", "::", 104, tmp_path / "data")
    assert found.index == "postgresql://archive@db/archive"
    assert (found.storage.on_duplicate, found.storage.fsync) == (OnDuplicate.REJECT, False)
    assert (found.query.scan_limit, found.settling.quiet) == (5, 1.5)
    assert found.web is not None
    assert found.web.port == 8081
    assert found.server.audit is not None
    assert found.server.audit.path == tmp_path / "audit.xml"
    assert (found.server.maximum_associations, found.server.maximum_associations_per_host) == (500, None)
    assert (found.server.timeouts.idle, found.server.timeouts.artim) == (30, 10)
    assert [(each.url, each.on, each.ca) for each in found.webhooks] == [
        (
            "https://ris.example/events",
            [EventKind.STUDY_CREATED, EventKind.STUDY_SETTLED],
            tmp_path / "ca.pem",
        )
    ]
    assert [each.run for each in found.commands] == [["cat", "{folder}"]]


def test_only_peers_may_associate_each_for_what_it_may(tmp_path: Path) -> None:
    access = options(tmp_path, EVERYTHING).server.access
    assert access.called_ae_titles == {"ARCHIVE", "OLD"}

    def rule(*peer: object) -> Peer:
        found = access.rule_for(*peer)  # type: ignore[arg-type]
        assert isinstance(found, Peer)
        return found

    ct = rule("CT1", "10.1.9.9", ["ct1.hospital.example"])
    assert ct.operations == {Operation.ECHO, Operation.STORE, Operation.NORMALIZED}
    assert ct.maximum_associations == 4
    assert isinstance(access.rule_for("CT1", "10.2.9.9", ["ct1.hospital.example"]), str)
    assert isinstance(access.rule_for("CT1", "10.1.9.9", []), str)
    assert isinstance(access.rule_for("CT2", "10.1.9.9", []), str)
    assert rule("WS1", "10.2.0.1").operations == set(Operation)
    assert rule("MONITOR", "10.2.0.1").operations == {Operation.ECHO}


def test_peers_with_a_host_are_destinations(tmp_path: Path) -> None:
    found = options(tmp_path, EVERYTHING).destinations
    assert {title: str(each.address) for title, each in found.items() if isinstance(each, MoveDestination)} == {
        "CT1": "CT1@10.1.2.3:4242",
        "WS1": "WS1@from-association:11112",
    }


def test_tls_of_the_node_and_to_a_destination(tmp_path: Path) -> None:
    tls = '[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n'
    found = options(tmp_path, f'{tls}[[peer]]\nae_title = "WS1"\nhost = "ws1"\ntls = true\n')
    assert isinstance(found.server.tls, TLSOptions)
    assert found.server.tls.certificate == str(tmp_path / "cert.pem")
    destination = found.destinations["WS1"]
    assert isinstance(destination, MoveDestination)
    assert destination.address == Address("WS1", "ws1", 11112)
    assert destination.options.tls == found.server.tls


def test_what_a_destination_needs(tmp_path: Path) -> None:
    """Some fail with several operations at once, or read an instance in another syntax than that of its context."""
    needs = 'window = 1\nsyntaxes = ["explicit", "1.2.840.10008.1.2"]'
    found = options(tmp_path, f'[[peer]]\nae_title = "WS1"\nhost = "ws1"\n{needs}\n').destinations["WS1"]
    assert isinstance(found, MoveDestination)
    assert found.options.operations_window == 1
    assert found.transfer_syntaxes == ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
    usual = options(tmp_path, '[[peer]]\nae_title = "WS1"\nhost = "ws1"\n').destinations["WS1"]
    assert usual == MoveDestination(Address("WS1", "ws1", 11112))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[node", "is not TOML: "),
        ("[nod]", "nod: is not known; did you mean node?"),
        ("[zebra]", "zebra: is not known; known are node, "),
        ("node = 3", "[node]: must be a table"),
        ("peer = 3", "peer: must be tables [[peer]]"),
        ("[peer]", "peer: must be tables [[peer]]"),
        ("peer = [3]", "[[peer]] 1: must be a table"),
        ("[node]\nprot = 3", "[node]: prot: is not known; did you mean port?"),
        ('[node]\nport = "x"', "[node]: port: must be an integer, not a string"),
        ("[node]\nport = true", "[node]: port: must be an integer, not true or false"),
        ("[node]\nport = 65536", "[node]: port: must be 0 to 65535, not 65536"),
        ('[node]\nae_title = ""', "[node]: ae_title: '' is not an AE title"),
        ("[node]\ncalled_ae_titles = ['A', '']", "[node]: called_ae_titles: '' is not an AE title"),
        ("[node]\ndata = 3", "[node]: data: must be the path of a file or folder"),
        ('[node]\nproxy_networks = ["x"]', "[node]: proxy_networks: 'x' is not a network"),
        ("[node]\ncalled_ae_titles = []", "[node]: called_ae_titles: must not be empty"),
        ("[[peer]]\nhost = 'x'", "[[peer]] 1: ae_title: is missing"),
        ("[[peer]]\nae_title = 'A'\n[[peer]]\nae_title = 'B'\nport = 0", "[[peer]] 2: port: must be 1 to 65535, not 0"),
        ("[[peer]]\nae_title = 'A'\nnetworks = []", "[[peer]] 1: networks: must not be empty"),
        ("[[peer]]\nae_title = 'A'\nport = 104", "[[peer]] 1: port: needs a host"),
        ("[[peer]]\nae_title = 'A'\ntls = true", "[[peer]] 1: tls: needs a host"),
        ("[[peer]]\nae_title = 'A'\nwindow = 1", "[[peer]] 1: window: needs a host"),
        ("[[peer]]\nae_title = 'A'\nsyntaxes = ['explicit']", "[[peer]] 1: syntaxes: needs a host"),
        ("[[peer]]\nae_title = 'A'\nhost = 'x'\nwindow = 0", "[[peer]] 1: window: must be 1 to 65535, not 0"),
        ("[[peer]]\nae_title = 'A'\nhost = 'x'\nsyntaxes = []", "[[peer]] 1: syntaxes: must not be empty"),
        (
            "[[peer]]\nae_title = 'A'\nhost = 'x'\nsyntaxes = ['x']",
            "[[peer]] 1: syntaxes: 'x' is not a transfer syntax",
        ),
        (
            "[[peer]]\nae_title = 'A'\nhost = 'ws1:104'",
            "[[peer]] 1: host: must be a host name or an address, not 'ws1:104'; its port is a key of its own",
        ),
        ("[[peer]]\nae_title = 'A'\nhost = ''", "[[peer]] 1: host: must be a host name or an address, not ''"),
        (
            "[[peer]]\nae_title = 'A'\n[[peer]]\nae_title = 'B'\ncertificate_names = ['b']",
            "[[peer]] 2: certificate_names: needs [tls] with a ca, which verifies certificates",
        ),
        ("[[peer]]\nae_title = 'A\\B'", "[[peer]] 1: ae_title: 'A\\B' is not an AE title"),
        ("[[peer]]\nae_title = 'A'\nnetworks = ['10.0.0.1/8']", "[[peer]] 1: networks: '10.0.0.1/8' is not a network"),
        (
            "[[peer]]\nae_title = 'A'\nmay = ['stor']",
            "may[0]: must be one of store, find, get, move, commit, not 'stor'",
        ),
        ("[[peer]]\nae_title = 'A'\nmay = 'store'", "[[peer]] 1: may: must be an array, not a string"),
        (
            "[[peer]]\nae_title = 'A'\nhost = 'x'\n[[peer]]\nae_title = 'A'\nhost = 'y'",
            "[[peer]] 2: ae_title: another peer has A and a host too",
        ),
        (
            "[web]\nhost = '::'",
            "[web]: host: must be a loopback address, not '::', unless there is a password, a token or ",
        ),
        ("[web]\ncertificate = 'none.pem'", "[web]: cannot read "),
        ("[web]\nport = -1", "[web]: port: must be 0 to 65535, not -1"),
        ("[settling]\nquiet = 0", "[settling]: quiet: must be a positive number of seconds, not 0"),
        ("[settling]\nquiet_after_association = inf", "must be a positive number of seconds, not inf"),
        ("[limits]\nidle = inf", "[limits]: idle: must be at least 0 seconds, not inf"),
        ("[limits]\nstop_timeout = inf", "[limits]: stop_timeout: must be at least 0 seconds, not inf"),
        ("[limits]\nstop_timeout = nan", "[limits]: stop_timeout: must be at least 0 seconds, not nan"),
        ("[[webhook]]\nurl = 'https://x'\ntimeout = inf", "timeout: must be a positive number of seconds, not inf"),
        ("[[command]]\nrun = ['cat']\ntimeout = inf", "timeout: must be a positive number of seconds, not inf"),
        ("[limits]\nmaximum_associations = 0", "[limits]: maximum_associations: must be at least 1, not 0"),
        ("[limits]\nidle = -1", "[limits]: idle: must be at least 0 seconds, not -1"),
        (
            "[index]\nurl = 'mysql://db/archive'",
            "[index]: url: must be the URL of a PostgreSQL database, such as postgresql://dimse@db",
        ),
        ("[tls]\ncertificate = 'none.pem'", "[tls]: cannot read"),
        ("[tls]", "[tls]: certificate: is missing"),
        ("[storage]\non_duplicate = 'x'", "[storage]: on_duplicate: must be one of keep, replace, reject, not 'x'"),
        ("[[webhook]]\nurl = 'https://x'\nca = 'none.pem'", "[[webhook]] 1: ca: cannot read "),
        ("[[webhook]]\nurl = 'https://x'\non = []", "[[webhook]] 1: on: must have at least one kind of event"),
        ("[[webhook]]\nurl = 'https://x'\nsecret = ''", "[[webhook]] 1: secret: must not be empty"),
        (
            "[[webhook]]\nurl = 'http://x'\n[[webhook]]\nurl = 'http://x?a'",
            "node.toml: webhooks: must have different",
        ),
        ("[[command]]\nrun = ['cat']\n[[command]]\nrun = ['cat']", "node.toml: commands: must have different"),
        ("[[webhook]]\nurl = 'ftp://x'", "[[webhook]] 1: url: must be an http or https URL"),
        (
            "[[command]]\nrun = ['cat']\ntimeout = 0",
            "[[command]] 1: timeout: must be a positive number of seconds, not 0",
        ),
    ],
)
def test_what_is_refused_with_file_place_and_reason(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"node\.toml") as error:
        options(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'node.toml'}: ")
    assert said in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"node\.toml: No such file"):
        read(tmp_path / "node.toml", tmp_path)


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_bytes(b"# caf\xe9\n")
    with pytest.raises(ValueError, match=r"node\.toml: must be UTF-8 text$"):
        read(tmp_path / "node.toml", tmp_path)


VALUES = st.recursive(
    st.none().map(lambda _: datetime(2026, 1, 1, tzinfo=UTC))
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["CT1", "10.0.0.0/8", "postgresql://a", "https://a", "store", "study-settled", "keep", "cat"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def tables() -> st.SearchStrategy[dict[str, object]]:
    def table(kind: type) -> st.SearchStrategy[object]:
        names = [each.name for each in fields(kind)]
        return st.dictionaries(st.sampled_from(names), VALUES, max_size=3)

    known: dict[str, st.SearchStrategy[object]] = {name: table(kind) | VALUES for name, kind in _TABLES.items()}
    known |= {name: st.lists(table(kind), max_size=2) | VALUES for name, kind in _ARRAYS.items()}
    return st.fixed_dictionaries({}, optional=known)


@given(tables())
def test_whatever_is_in_the_file_it_is_read_or_refused_with_its_place(content: dict[str, object]) -> None:
    reader = _Reader(Path("node.toml"))
    try:
        assert isinstance(reader.options(reader.file(content), Path("data")), NodeOptions)
    except ValueError as error:
        assert str(error).startswith("node.toml: ")  # noqa: PT017 - both may be
