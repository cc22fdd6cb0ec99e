"""Each driving key uses its index, which has the order of the answers, in both databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pytest
from pydicom import Dataset
from sqlalchemy import Text
from tests.node.archived import keys
from tests.node.many_studies import fill

from dimse import QueryFeatures
from dimse.node.index import Index
from dimse.node.matching import Plan
from dimse.node.schema import study
from dimse.services.query_models import QueryRetrieveLevel

COUNT = 2000
LAST = {"date": 20040301, "birth_date": 19500101}
ITEM = Dataset()
ITEM.ScheduledProcedureStepID = "STEP471"
DRIVING: Mapping[str, tuple[str, dict[str, Any], str]] = {
    "UID": ("STUDY", {"StudyInstanceUID": "1.2.471"}, "uid"),
    "UIDs": ("STUDY", {"StudyInstanceUID": "1.2.471\\1.2.472"}, "uid"),
    "series of a study": ("SERIES", {"StudyInstanceUID": "1.2.471"}, "uid"),
    "images of a series": ("IMAGE", {"StudyInstanceUID": "1.2.471", "SeriesInstanceUID": "1.2.471.1"}, "series_uid"),
    "image": ("IMAGE", {"SOPInstanceUID": "1.2.471.1.1"}, "instance_uid_hash"),
    "step": ("SERIES", {"RequestAttributesSequence": [ITEM]}, "request_step"),
    "accession": ("STUDY", {"AccessionNumber": "A471"}, "study_accession"),
    "accessions": ("STUDY", {"AccessionNumber": "A471*"}, "study_accession"),
    "patient": ("STUDY", {"PatientID": "P235", "StudyDate": "20040101-20041231"}, "study_patient"),
    "patients": ("PATIENT", {"PatientID": "P23*"}, "study_patient"),
    "name": ("STUDY", {"PatientName": "Smith^J*"}, "study_name"),
    "day": ("STUDY", {"StudyDate": "20040501", "ModalitiesInStudy": "CT"}, "study_date"),
    "days": ("STUDY", {"StudyDate": "20040101-20040501"}, "study_date"),
    "series of days": ("SERIES", {"StudyDate": "20040101-20040501", "Modality": "CT"}, "study_date"),
    "birth": ("STUDY", {"PatientBirthDate": "19500101"}, "study_birth_date"),
    "study ID": ("STUDY", {"StudyID": "S471"}, "study_study_id"),
    "all": ("STUDY", {"StudyDescription": "*9"}, "pkey"),
    "all patients": ("PATIENT", {"PatientID": ""}, "study_patient"),
}


@pytest.fixture(scope="module")
def filled_indexes(postgresql_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Index]]:
    """An index with some studies in each database."""
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA explained")
    sqlite = f"sqlite:///{tmp_path_factory.mktemp('explained') / 'index.sqlite'}"
    urls = {"sqlite": sqlite, "postgresql": f"{postgresql_server}&options=-csearch_path%3Dexplained"}
    opened = {name: Index(url) for name, url in urls.items()}
    for index in opened.values():
        with index.writing() as connection:
            fill(connection, range(COUNT))
            if not index.is_sqlite:
                connection.exec_driver_sql("ANALYZE")
    yield opened
    for index in opened.values():
        index.close()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("name", DRIVING)
@pytest.mark.parametrize("is_later", [False, True], ids=["first page", "later page"])
def test_a_driving_key_uses_its_index_and_nothing_is_sorted(
    filled_indexes: Mapping[str, Index], database: str, name: str, is_later: bool
) -> None:
    level, values, wanted = DRIVING[name]
    identifier = keys(level, **values)
    plan = Plan(identifier, QueryRetrieveLevel(level), QueryFeatures(), unknown_matches=True)
    first, index = next(plan.ranges()), filled_indexes[database]
    last = ["Smith" if isinstance(each.type, Text) else LAST.get(each.name, 5) for each in plan.order(first)]
    if is_later and not last:
        return
    statement = plan.statement(first, [study.c.uid], last if is_later else None, 500)
    explained = "\n".join(explain(index, statement))
    if database == "sqlite":
        wanted = {"uid": "uid=?", "pkey": "SCAN study" if not is_later else "PRIMARY KEY"}.get(wanted, wanted)
        assert "TEMP B-TREE" not in explained
    else:
        wanted = {"uid": "study_uid_key", "pkey": "study_pkey"}.get(wanted, wanted)
        # It does not see that an index has the series of a study in order, and sorts those.
        assert (
            plan.order(first) != first.order or first.level is QueryRetrieveLevel.SERIES or "Sort " not in explained
        ), explained
    assert wanted in explained, explained


def explain(index: Index, statement: Any) -> list[str]:
    """How the database reads a statement, if it has more rows than these: a few it would sort."""
    compiled = statement.compile(index.engine, compile_kwargs={"render_postcompile": True, "literal_binds": True})
    with index.reading() as connection:
        if index.is_sqlite:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}").all()
            return [str(row[-1]) for row in rows]
        for kind in ("seqscan", "bitmapscan", "hashjoin", "mergejoin"):
            connection.exec_driver_sql(f"SET LOCAL enable_{kind} = off")
        connection.exec_driver_sql("SET LOCAL random_page_cost = 0.1")
        return [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {str(compiled).replace('%', '%%')}").all()]
