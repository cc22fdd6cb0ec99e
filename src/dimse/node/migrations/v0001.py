"""The tables of the first version."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _commitment()
    _event()
    _event_indexes()
    _procedure_step()
    _procedure_step_indexes()
    _source()
    _storage()
    _subscription()
    _uid()
    _expected()
    _expected_indexes()
    _job()
    _job_indexes()
    _set_aside()
    _study()
    _study_indexes()
    _name_word()
    _name_word_indexes()
    _series()
    _series_indexes()
    _instance()
    _instance_indexes()
    _request()
    _request_indexes()


def _commitment() -> None:
    op.create_table(
        "commitment",
        sa.Column("transaction_uid", sa.Text(), nullable=False),
        sa.Column("requestor", sa.Text(), nullable=False),
        sa.Column("host", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("asked_at", sa.Double(), nullable=False),
        sa.Column("instances", sa.JSON(), nullable=False),
        sa.Column("outcomes", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("transaction_uid"),
    )


def _event() -> None:
    op.create_table(
        "event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("series_uid", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("instance_uid", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )


def _event_indexes() -> None:
    op.create_index(
        "event_conflict",
        "event",
        ["study_uid"],
        unique=False,
        sqlite_where=sa.text("kind = 'conflict'"),
        postgresql_where=sa.text("kind = 'conflict'"),
    )


def _procedure_step() -> None:
    op.create_table(
        "procedure_step",
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("dataset", sa.LargeBinary(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("uid"),
    )


def _procedure_step_indexes() -> None:
    op.create_index("procedure_step_changed", "procedure_step", ["changed_at", "bytes"], unique=False)


def _source() -> None:
    op.create_table(
        "source",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )


def _storage() -> None:
    op.create_table(
        "storage",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("url"),
    )


def _subscription() -> None:
    op.create_table(
        "subscription",
        sa.Column("event_kind", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("job_kind", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_kind", "queue"),
    )


def _uid() -> None:
    op.create_table(
        "uid",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uid", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("uid"),
    )


def _expected() -> None:
    op.create_table(
        "expected",
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("step_uid", sa.Text(), nullable=False),
        sa.Column("instances", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("listed", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["step_uid"], ["procedure_step.uid"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_uid", "step_uid"),
    )


def _expected_indexes() -> None:
    op.create_index(op.f("ix_expected_step_uid"), "expected", ["step_uid"], unique=False)


def _job() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("deferrals", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("problem", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.ForeignKeyConstraint(["event_id"], ["event.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )


def _job_indexes() -> None:
    op.create_index(op.f("ix_job_event_id"), "job", ["event_id"], unique=False)
    op.create_index("job_due", "job", ["queue", "not_before", "id"], unique=False)


def _set_aside() -> None:
    op.create_table(
        "set_aside",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("source", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["source"],
            ["source.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("study_uid", "series_uid", "uid", "digest"),
    )


def _study() -> None:
    op.create_table(
        "study",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("uid", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("patient_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("issuer", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("name_key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("name_ideographic_key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("name_phonetic_key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("birth_date", sa.Integer(), nullable=True),
        sa.Column("sex", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("date", sa.Integer(), nullable=True),
        sa.Column("time", sa.Integer(), nullable=True),
        sa.Column("accession_number", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("dicom_study_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("description", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("referring_key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("modalities", sa.Text(), server_default="", nullable=False),
        sa.Column("sop_classes", sa.Text(), server_default="", nullable=False),
        sa.Column("announced", sa.Integer(), nullable=True),
        sa.Column("series_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("instance_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("settled_at", sa.Double(), nullable=True),
        sa.Column("settled_because", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("source", sa.Integer(), nullable=True),
        sa.Column("key_version", sa.SmallInteger(), nullable=False),
        sa.Column("attributes", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["source"],
            ["source.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("uid"),
    )


def _study_indexes() -> None:
    op.create_index("study_accession", "study", ["accession_number", "id"], unique=False)
    op.create_index(
        "study_announced",
        "study",
        ["id"],
        unique=False,
        sqlite_where=sa.text("settled_at IS NULL AND announced IS NOT NULL"),
        postgresql_where=sa.text("settled_at IS NULL AND announced IS NOT NULL"),
    )
    op.create_index("study_birth_date", "study", ["birth_date", "id"], unique=False)
    op.create_index("study_date", "study", ["date", "id"], unique=False)
    op.create_index(
        "study_ideographic",
        "study",
        ["name_ideographic_key", "id"],
        unique=False,
        sqlite_where=sa.text("name_ideographic_key IS NOT NULL"),
        postgresql_where=sa.text("name_ideographic_key IS NOT NULL"),
    )
    op.create_index("study_name", "study", ["name_key", "id"], unique=False)
    op.create_index("study_patient", "study", ["patient_id", "id"], unique=False)
    op.create_index(
        "study_phonetic",
        "study",
        ["name_phonetic_key", "id"],
        unique=False,
        sqlite_where=sa.text("name_phonetic_key IS NOT NULL"),
        postgresql_where=sa.text("name_phonetic_key IS NOT NULL"),
    )
    op.create_index("study_study_id", "study", ["dicom_study_id", "id"], unique=False)
    op.create_index(
        "study_unsettled",
        "study",
        ["changed_at"],
        unique=False,
        sqlite_where=sa.text("settled_at IS NULL"),
        postgresql_where=sa.text("settled_at IS NULL"),
    )


def _name_word() -> None:
    op.create_table(
        "name_word",
        sa.Column("study_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("word", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "word"),
    )


def _name_word_indexes() -> None:
    op.create_index("name_word_word", "name_word", ["word", "study_id"], unique=False)


def _series() -> None:
    op.create_table(
        "series",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("study_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("uid", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("modality", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("description", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("body_part", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("laterality", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("step_date", sa.Integer(), nullable=True),
        sa.Column("step_time", sa.Integer(), nullable=True),
        sa.Column("station", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("institution", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("performing_key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("instance_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("attributes", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("study_id", "uid"),
    )


def _series_indexes() -> None:
    op.create_index("series_uid", "series", ["uid"], unique=False)


def _instance() -> None:
    op.create_table(
        "instance",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("series_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("uid", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("uid_hash", sa.BigInteger(), nullable=False),
        sa.Column("sop_class", sa.Integer(), nullable=False),
        sa.Column("transfer_syntax", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("frames", sa.Integer(), nullable=True),
        sa.Column("rows", sa.Integer(), nullable=True),
        sa.Column("columns", sa.Integer(), nullable=True),
        sa.Column("bits", sa.Integer(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("storage", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("source", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["sop_class"],
            ["uid.id"],
        ),
        sa.ForeignKeyConstraint(
            ["source"],
            ["source.id"],
        ),
        sa.ForeignKeyConstraint(
            ["storage"],
            ["storage.id"],
        ),
        sa.ForeignKeyConstraint(
            ["transfer_syntax"],
            ["uid.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("series_id", "uid"),
    )


def _instance_indexes() -> None:
    op.create_index("instance_uid_hash", "instance", ["uid_hash"], unique=False)


def _request() -> None:
    op.create_table(
        "request",
        sa.Column("series_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("accession_number", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column(
            "requested_procedure_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True
        ),
        sa.Column("scheduled_step_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], ondelete="CASCADE"),
    )


def _request_indexes() -> None:
    op.create_index(op.f("ix_request_series_id"), "request", ["series_id"], unique=False)
    op.create_index("request_accession", "request", ["accession_number"], unique=False)
    op.create_index("request_procedure", "request", ["requested_procedure_id"], unique=False)
    op.create_index("request_step", "request", ["scheduled_step_id"], unique=False)
