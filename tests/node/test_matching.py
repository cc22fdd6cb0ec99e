"""The answers of the index are those of `Matcher` over all data sets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from sqlalchemy import delete
from tests.node.archived import finder, put, search

from dimse import Matcher, QueryFeatures
from dimse.node.index import Index
from dimse.node.matching import level_of
from dimse.node.schema import metadata
from dimse.services.query_models import LEVELS, QueryRetrieveLevel

# Data sets

NAMES: Mapping[str, tuple[str, ...]] = {
    "": ("Smith^Ada", "Smith^John", "SMITH^^", "Smithers^A%b_c", "O'Brien^P.-J. [x]", "", "a=b=c", "Doe^Jane^^Dr"),
    "ISO_IR 100": ("Müller^Jürgen", "Muller^Juergen", "Ångström^Å"),
    "\\ISO 2022 IR 87": ("Yamada^Tarou=山田^太郎=やまだ^たろう", "=山田^花子", "山田^太郎"),
    "\\ISO 2022 IR 149": ("Hong^Gildong=洪^吉洞=홍^길동", "홍^길동"),
    "GB18030": ("Wang^XiaoDong=王^小东", "王^小东"),
    "ISO_IR 144": ("Люксембург", "Достоевский^Фёдор"),
    "ISO_IR 126": ("Διονύσιος", "Διονυσιος^\u0391"),
    "ISO_IR 192": ("Žižek^Slavoj", "\uff37\uff49\uff44\uff45^Name", "ß^ﬁ", "山田^太郎=Smith"),
}
"""By character set."""

TEXTS = ("A1", "a1", "A12", "A%", "A_1", "B*", "A1\\B2", "x!y", "[A1]", "", None)
DATES = ("20240101", "20240229", "2024.02.29", "20231231", "20240229\\20250101", "garbage", "", None)
TIMES = ("10", "1030", "10:30", "103015", "103015.123456", "235959.999", "", None)
NUMBERS = ("1", "01", "+2", "12", "-3", "", None)
CODES = ("CT", "MR", "SR", "C", "", None)
UIDS = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4")

PATIENT = {"PatientBirthDate": DATES, "PatientSex": ("M", "F", "", None), "IssuerOfPatientID": TEXTS}
STUDY = {
    "StudyDate": DATES,
    "StudyTime": TIMES,
    "AccessionNumber": TEXTS,
    "StudyID": TEXTS,
    "StudyDescription": TEXTS,
    "AdmittingDiagnosesDescription": TEXTS,
    "PatientAge": ("030Y", "", None),
    "TimezoneOffsetFromUTC": ("+0100", "-0500", "", None),
}
SERIES = {
    "Modality": CODES,
    "SeriesNumber": NUMBERS,
    "SeriesDescription": TEXTS,
    "BodyPartExamined": CODES,
    "PerformedProcedureStepStartDate": DATES,
    "PerformedProcedureStepStartTime": TIMES,
    "ProtocolName": TEXTS,
}
IMAGE = {
    "SOPClassUID": UIDS,
    "InstanceNumber": NUMBERS,
    "NumberOfFrames": NUMBERS,
    "Rows": (1, 512, None),
    "ContentDate": DATES,
    "ContentTime": TIMES,
    "AcquisitionDateTime": ("20240229103000+0100", "2024", None),
}
MOMENTS = (
    *("20240229103000+0100", "20240229093000", "2024", "202402290930+0000-", "-20240229103000+0100", "2023-2024"),
    *("20240229113000+0200-20240229113001+0200", "20240229103000-0500-", "-20240229103000-0500", '""'),
)
"""Keys of date and time: an offset from UTC may look like a range."""

Pools = Mapping[str, tuple[Any, ...]]

OF_LEVEL: Mapping[QueryRetrieveLevel, Pools] = dict(zip(LEVELS, (PATIENT, STUDY, SERIES, IMAGE), strict=True))
NAMED = {
    LEVELS[0]: ("PatientName",),
    LEVELS[1]: ("PatientName", "ReferringPhysicianName"),
    LEVELS[2]: ("PatientName", "ReferringPhysicianName", "PerformingPhysicianName"),
    LEVELS[3]: ("PatientName", "ReferringPhysicianName", "PerformingPhysicianName"),
}
NO_COLUMN = ("ContentDate", "ContentTime", "AcquisitionDateTime")
"""Attributes of instances that are matched at their level only."""


def filled(dataset: Dataset, values: Mapping[str, Any]) -> Dataset:
    """Set what is not None, valid or not."""
    for keyword, value in values.items():
        if value is not None:
            tag = tag_for_keyword(keyword)
            assert tag is not None
            dataset.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE))
    return dataset


def item(**values: Any) -> Dataset:
    return filled(Dataset(), values)


@st.composite
def attributes(draw: st.DrawFn, pools: Mapping[str, tuple[Any, ...]], *, tidy: bool) -> dict[str, Any]:
    """Values of a pool each; if `tidy`, those that a column holds."""
    found = {}
    for keyword, pool in pools.items():
        kept = [each for each in pool if not (tidy and isinstance(each, str) and ("\\" in each or each == "garbage"))]
        found[keyword] = draw(st.sampled_from(kept))
    return found


IDS = st.sampled_from(("A1", "A12", "b", "", None))
REQUESTS = st.none() | st.lists(
    st.builds(item, ScheduledProcedureStepID=IDS, RequestedProcedureID=IDS, AccessionNumber=IDS), max_size=2
)
MADE = st.sampled_from(("20240229103000", "20240229093000", None))
CODED = st.none() | st.lists(st.builds(item, CodeValue=IDS, CodeMeaning=IDS, ContextGroupVersion=MADE), max_size=2)


@st.composite
def archives(draw: st.DrawFn, *, tidy: bool) -> list[Dataset]:
    """Instances; what belongs to a patient, a study or a series is the same in all of its instances."""
    found = list[Dataset]()

    def some(pools: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
        return draw(attributes(pools, tidy=tidy))

    for patient in range(draw(st.integers(1, 3))):
        terms = draw(st.sampled_from(sorted(NAMES)))
        names = {"name": NAMES[terms]}
        of_patient = some({**PATIENT, "PatientID": (("A1\\X", "A12", "", "P%"), (f"B{patient}",))[patient > 0]})
        of_patient["PatientName"] = some(names)["name"]
        for study in range(draw(st.integers(1, 2))):
            uid = f"1.2.{patient}.{study}"
            of_study = {"StudyInstanceUID": uid, **some(STUDY), "ProcedureCodeSequence": draw(CODED)}
            of_study["ReferringPhysicianName"] = some(names)["name"]
            for series in range(draw(st.integers(1, 2))):
                of_series = {"SeriesInstanceUID": f"{uid}.{series}", **some(SERIES)}
                of_series["RequestAttributesSequence"] = draw(REQUESTS)
                of_series["PerformingPhysicianName"] = some(names)["name"]
                for number in range(draw(st.integers(1, 2))):
                    own = {"SOPInstanceUID": f"{uid}.{series}.{number}", **some(IMAGE)}
                    own["SpecificCharacterSet"] = terms.split("\\") if terms else None
                    found.append(filled(Dataset(), of_patient | of_study | of_series | own))
    return found


# Keys


@st.composite
def texts(draw: st.DrawFn, pool: Iterable[Any]) -> str:
    """A value of the pool, perhaps with wild cards; or another one."""
    value = draw(st.sampled_from([each for each in pool if each])).split("\\")[0]
    at = draw(st.integers(0, len(value)))
    start, end = value[:at], value[at:]
    forms = (value, f"{start}*", f"*{end}", f"{start}?{end[1:]}", f"{start}*{end[1:]}", start, f"{start}^*", '""')
    other = st.lists(st.sampled_from(("*", "?", "A", "1", "^", "=", "山", "s", "M")), min_size=1, max_size=4)
    found: str = draw(st.sampled_from(forms) | other.map("".join))
    return found


@st.composite
def moments(draw: st.DrawFn, pool: Iterable[Any], shorter: tuple[str, ...]) -> str:
    whole = [each.split("\\")[0] for each in pool if each and each != "garbage"]
    low, high = sorted(draw(st.lists(st.sampled_from((*whole, *shorter)), min_size=2, max_size=2)))
    found: str = draw(st.sampled_from((low, f"{low}-", f"-{high}", f"{low}-{high}", "-", '""')))
    return found


def values_of(keyword: str, pool: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    vr = dictionary_VR(keyword)
    if vr == "DA":
        one = moments(pool, ("2024", "202402"))
        return one | st.lists(one, min_size=2, max_size=2) | st.just(["20240229", "20240229-20240229"])
    if vr == "TM":
        return moments(pool, ("09", "1029"))
    if vr == "DT":
        return st.sampled_from(MOMENTS)
    if keyword == "TimezoneOffsetFromUTC":
        return st.sampled_from(("+0100", "-0930"))
    if vr in ("IS", "US", "AS", "UI"):
        return st.sampled_from([each for each in pool if each])
    return texts(pool) | st.lists(texts(pool), min_size=2, max_size=3)


UNIQUE = {
    LEVELS[0]: ("A12", "B1", "B*", "A1"),
    LEVELS[1]: ("1.2.0.0", "1.2.0.0\\1.2.1.0", "9"),
    LEVELS[2]: ("1.2.0.0.0", "1.2.0.0.0\\1.2.1.0.0\\1.2.0.1.0"),
    LEVELS[3]: ("1.2.0.0.0.0", "1.2.0.0.0.0\\1.2.1.0.0.0"),
}
ITEMS = st.builds(item, ScheduledProcedureStepID=st.just("") | texts(("A1", "b")), RequestedProcedureID=IDS)
CODES_WANTED = st.sampled_from(
    (
        *([], [Dataset()], [item(CodeValue="A1*", CodeMeaning="")], [item(CodeValue="A1*"), item(CodeValue="b")]),
        [item(CodeValue="", ContextGroupVersion="202402291030")],
    )
)
SUMMARIES: Mapping[QueryRetrieveLevel, Pools] = {
    LEVELS[0]: {},
    LEVELS[1]: {"ModalitiesInStudy": CODES, "SOPClassesInStudy": UIDS, "NumberOfStudyRelatedInstances": ("2", "3")},
    LEVELS[2]: {"NumberOfSeriesRelatedInstances": ("1", "2")},
    LEVELS[3]: {},
}


@st.composite
def identifiers(draw: st.DrawFn) -> Dataset:
    """Keys of the level and those above, and some of those below."""
    level = draw(st.sampled_from(LEVELS))
    asked: dict[str, Any] = {
        "QueryRetrieveLevel": str(level),
        level.unique_key: draw(st.sampled_from((None, *UNIQUE[level]))) or "",
    }
    below = draw(st.booleans())
    for each in LEVELS if below else LEVELS[: LEVELS.index(level) + 1]:
        names = dict.fromkeys(NAMED[each], tuple(name for names in NAMES.values() for name in names))
        pools: dict[str, tuple[Any, ...]] = {**OF_LEVEL[each], **names}
        if each is level and not below:
            pools |= SUMMARIES[level]
        if level is not LEVELS[3]:
            pools = {keyword: pool for keyword, pool in pools.items() if keyword not in NO_COLUMN}
        for keyword in draw(st.lists(st.sampled_from(sorted(pools)), max_size=2, unique=True)):
            asked[keyword] = draw(st.just("") | values_of(keyword, pools[keyword]))
    if draw(st.booleans()) and (below or level in LEVELS[2:]):
        asked["RequestAttributesSequence"] = [draw(ITEMS)]
    if draw(st.booleans()) and level is not LEVELS[0]:
        asked["ProcedureCodeSequence"] = draw(CODES_WANTED)
    return filled(Dataset(), asked)


FEATURES = st.builds(QueryFeatures, combined_date_time=st.booleans(), fuzzy_names=st.booleans())


# Answers


def answered(matches: Iterable[Dataset], identifier: Dataset) -> list[str]:
    """The attributes of each answer that belong to the level or above it; those of others depend on the order."""
    level = QueryRetrieveLevel(identifier.QueryRetrieveLevel)
    return sorted(
        repr([(tag, texts_of(match[tag])) for tag in sorted(compared(identifier, level))]) for match in matches
    )


def compared(identifier: Dataset, level: QueryRetrieveLevel) -> set[int]:
    if level is LEVELS[0]:
        return {tag for tag in map(int, identifier.keys()) if tag >> 16 == 0x0010 or tag & 0xFFFFFF00 == 0x00201200}
    return {tag for tag in map(int, identifier.keys()) if LEVELS.index(level_of(tag)) <= LEVELS.index(level)}


def texts_of(element: DataElement) -> list[Any]:
    if element.VR == "SQ":
        return [[(each.keyword, texts_of(each)) for each in one] for one in element.value]
    if element.is_empty:
        return []
    values = element.value if element.VM > 1 else [element.value]
    return [int(each) if element.VR in ("IS", "US") else str(each) for each in values if str(each)]


def cleared(index: Index) -> None:
    with index.writing() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_answers_are_those_of_the_matcher(index: Index, tmp_path: Path, data: st.DataObject) -> None:
    cleared(index)
    unknown_matches = data.draw(st.booleans(), "unknown_matches")
    archive = data.draw(archives(tidy=not unknown_matches), "archive")
    put(index, tmp_path, archive)
    queries = data.draw(st.lists(st.tuples(identifiers(), FEATURES), min_size=5, max_size=15), "queries")

    async def ask() -> None:
        for identifier, features in queries:
            level = QueryRetrieveLevel(identifier.QueryRetrieveLevel)
            matches = await search(
                finder(index, tmp_path),
                identifier,
                level,
                features=features,
                unknown_matches=unknown_matches,
                limit=1000,
            )
            expected = Matcher(identifier, features, unknown_matches=unknown_matches).find(archive)
            assert answered(matches, identifier) == answered(expected, identifier), (identifier, features)

    asyncio.run(ask())
