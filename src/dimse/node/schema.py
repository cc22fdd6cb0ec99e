"""The tables of the index, on SQLite and on PostgreSQL.

1. A row of `instance` is narrow: there are millions. What a whole series or study has is kept there.
2. Dates are integers, yyyymmdd; times are integers, in milliseconds; moments are seconds since 1970, UTC.
3. Texts that queries compare are folded or trimmed by `keys`, whose version is in `study.key_version`. NULL is
   an attribute that is missing or empty.
4. `attributes` has all other attributes of a study or series, encoded (see `attributes`).
5. The indexes of `study` end in `id`: with a key, it is the order in which a query reads its pages.
6. Counters are right whenever a transaction has been committed.
7. What changes here changes in `migrations` too. As long as there was no release with this room,
   `PYTHONPATH=. python tests/node/test_migrating.py` writes the first version anew.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeEngine

VERSION: Final = "0001"
"""Of the tables, and the last one in `dimse.node.migrations`."""

metadata: Final = MetaData()

_TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Compared by code points in both databases, so that texts with a common beginning are a range of an index."""
_ID: Final = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only in an INTEGER


def _text(name: str) -> Column[str]:
    return Column(name, _TEXT)


def _counter(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def _required(name: str, type_: TypeEngine[Any]) -> Column[Any]:
    return Column(name, type_, nullable=False)


def _partial(name: str, column: str, where: str) -> Index:
    """An index of the rows that a condition selects."""
    return Index(name, column, sqlite_where=text(where), postgresql_where=text(where))


study: Final = Table(
    "study",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("uid", _TEXT, nullable=False, unique=True),
    _text("patient_id"),
    _text("issuer"),
    _text("name_key"),
    _text("name_ideographic_key"),
    _text("name_phonetic_key"),
    Column("birth_date", Integer),
    _text("sex"),
    Column("date", Integer),
    Column("time", Integer),
    _text("accession_number"),
    _text("dicom_study_id"),
    _text("description"),
    _text("referring_key"),
    # The values of all series, each between two backslashes: \CT\SR\
    Column("modalities", Text, nullable=False, server_default=""),
    Column("sop_classes", Text, nullable=False, server_default=""),
    # Number of Study Related Instances, where an instance names it
    Column("announced", Integer),
    _counter("series_count"),
    _counter("instance_count"),
    _counter("bytes"),
    _required("created_at", Double()),
    _required("changed_at", Double()),
    Column("settled_at", Double),
    _text("settled_because"),
    Column("source", Integer, ForeignKey("source.id")),
    _required("key_version", SmallInteger()),
    _required("attributes", LargeBinary()),
    Index("study_patient", "patient_id", "id"),
    Index("study_name", "name_key", "id"),
    *(
        # Few archives have such names
        Index(f"study_{name}", column, "id", sqlite_where=text(there), postgresql_where=text(there))
        for name, column, there in (
            ("ideographic", "name_ideographic_key", "name_ideographic_key IS NOT NULL"),
            ("phonetic", "name_phonetic_key", "name_phonetic_key IS NOT NULL"),
        )
    ),
    Index("study_date", "date", "id"),
    Index("study_accession", "accession_number", "id"),
    Index("study_study_id", "dicom_study_id", "id"),
    Index("study_birth_date", "birth_date", "id"),
    _partial("study_unsettled", "changed_at", "settled_at IS NULL"),
    _partial("study_announced", "id", "settled_at IS NULL AND announced IS NOT NULL"),
)

series: Final = Table(
    "series",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("study_id", _ID, ForeignKey("study.id", ondelete="CASCADE"), nullable=False),
    Column("uid", _TEXT, nullable=False),
    _text("modality"),
    Column("number", Integer),
    _text("description"),
    _text("body_part"),
    _text("laterality"),
    Column("step_date", Integer),
    Column("step_time", Integer),
    _text("station"),
    _text("institution"),
    _text("performing_key"),
    _counter("instance_count"),
    _counter("bytes"),
    _required("attributes", LargeBinary()),
    UniqueConstraint("study_id", "uid"),
    Index("series_uid", "uid"),
)

request: Final = Table(
    "request",
    metadata,
    Column("series_id", _ID, ForeignKey("series.id", ondelete="CASCADE"), nullable=False, index=True),
    _text("accession_number"),
    _text("requested_procedure_id"),
    _text("scheduled_step_id"),
    Index("request_accession", "accession_number"),
    Index("request_procedure", "requested_procedure_id"),
    Index("request_step", "scheduled_step_id"),
)

instance: Final = Table(
    "instance",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("series_id", _ID, ForeignKey("series.id", ondelete="CASCADE"), nullable=False),
    Column("uid", _TEXT, nullable=False),
    _required("uid_hash", BigInteger()),
    Column("sop_class", Integer, ForeignKey("uid.id"), nullable=False),
    Column("transfer_syntax", Integer, ForeignKey("uid.id"), nullable=False),
    Column("number", Integer),
    Column("frames", Integer),
    Column("rows", Integer),
    Column("columns", Integer),
    Column("bits", Integer),
    # Of the file, and where its data set begins in it
    _required("bytes", BigInteger()),
    _required("offset", Integer()),
    # SHA-256 of the data set as it arrived
    _required("digest", LargeBinary()),
    Column("storage", Integer, ForeignKey("storage.id"), nullable=False),
    # Only where it is not the usual one
    _text("path"),
    _required("received_at", Double()),
    Column("source", Integer, ForeignKey("source.id")),
    UniqueConstraint("series_id", "uid"),
    Index("instance_uid_hash", "uid_hash"),
)

name_word: Final = Table(
    "name_word",
    metadata,
    Column("study_id", _ID, ForeignKey("study.id", ondelete="CASCADE"), primary_key=True),
    Column("word", _TEXT, primary_key=True),
    Index("name_word_word", "word", "study_id"),
)

# Small tables of texts that many rows share

uid: Final = Table(
    "uid", metadata, Column("id", Integer, primary_key=True), Column("uid", _TEXT, nullable=False, unique=True)
)
source: Final = Table(
    "source", metadata, Column("id", Integer, primary_key=True), Column("name", Text, nullable=False, unique=True)
)
storage: Final = Table(
    "storage", metadata, Column("id", Integer, primary_key=True), Column("url", Text, nullable=False, unique=True)
)

# Besides the instances

set_aside: Final = Table(
    "set_aside",
    metadata,
    Column("id", _ID, primary_key=True),
    _required("study_uid", Text()),
    _required("series_uid", Text()),
    _required("uid", Text()),
    _required("digest", LargeBinary()),
    _required("bytes", BigInteger()),
    _required("path", Text()),
    _required("received_at", Double()),
    Column("source", Integer, ForeignKey("source.id")),
    UniqueConstraint("study_uid", "series_uid", "uid", "digest"),
)

CONFLICTS: Final = "kind = 'conflict'"
"""Of events, those whose series is told once."""

event: Final = Table(
    "event",
    metadata,
    Column("id", _ID, primary_key=True),
    _required("at", Double()),
    _required("kind", Text()),
    _text("study_uid"),
    _text("series_uid"),
    _text("instance_uid"),
    Column("detail", JSON, nullable=False),
    _partial("event_conflict", "study_uid", CONFLICTS),
    sqlite_autoincrement=True,
)

commitment: Final = Table(
    "commitment",
    metadata,
    Column("transaction_uid", Text, primary_key=True),
    _required("requestor", Text()),
    # From where it called, if its reports go there
    _text("host"),
    _required("asked_at", Double()),
    Column("instances", JSON, nullable=False),
    Column("outcomes", JSON),
)

job: Final = Table(
    "job",
    metadata,
    Column("id", _ID, primary_key=True),
    _required("kind", Text()),
    Column("payload", JSON, nullable=False),
    Column("key", Text, unique=True),
    # Jobs of a queue run one at a time
    _required("queue", Text()),
    # The event that it tells of; when that is forgotten, so is the job
    Column("event_id", _ID, ForeignKey("event.id", ondelete="CASCADE"), index=True),
    _required("not_before", Double()),
    _counter("attempts"),
    # How often it was deferred again by its key
    _counter("deferrals"),
    _text("problem"),
    Index("job_due", "queue", "not_before", "id"),
)

# The jobs that an event makes, for the webhooks and commands of the node
subscription: Final = Table(
    "subscription",
    metadata,
    Column("event_kind", Text, primary_key=True),
    Column("queue", Text, primary_key=True),
    _required("job_kind", Text()),
)

# Performed procedure steps (MPPS): evidence that a study is complete

procedure_step: Final = Table(
    "procedure_step",
    metadata,
    Column("uid", Text, primary_key=True),
    _required("status", Text()),
    # Of its data set, and of what it lists with each of its studies
    _required("bytes", BigInteger()),
    # Explicit VR Little Endian
    _required("dataset", LargeBinary()),
    _required("changed_at", Double()),
    # It has all that the sum of their bytes needs
    Index("procedure_step_changed", "changed_at", "bytes"),
)

# A study that a step belongs to, until it was settled by it
expected: Final = Table(
    "expected",
    metadata,
    Column("study_uid", Text, primary_key=True),
    Column("step_uid", Text, ForeignKey("procedure_step.uid", ondelete="CASCADE"), primary_key=True, index=True),
    # The SOP Instance UIDs that it lists, and how many; NULL while it is in progress
    Column("instances", JSON(none_as_null=True)),
    Column("listed", Integer),
)
