"""The identifier of a C-GET or C-MOVE: which patients, studies, series or instances it names (PS3.4 C.4.2.2.1).

1. The unique key of the level must have values. Without them a request would mean the whole archive, and is refused
   with Data Set does not match SOP Class (0xA900).
2. Each level above has a unique key, too (PS3.4 C.4.2.1.4). Where it is missing, or has several values, the peer has
   not kept to it, unless both sides agreed on relational retrieval: a strict association refuses it.
3. "*" is no value.
4. A study without a Patient ID, or without its issuer, matches any, as in C-FIND (PS3.4 C.2.2.1.2). But a request for
   a patient is never for studies without a Patient ID.
5. Keys above the level have at most `UIDS_AT_ONCE` values each. Long lists are for the level itself, and read in parts.
6. The issuer is that of a Patient ID; no other key counts, as these requests have none (PS3.4 C.4.2.1.4).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import ColumnElement, or_

from dimse.dataset.pydicom_names import Dataset
from dimse.dataset.texts import Texts, character_sets_of
from dimse.errors import StatusError
from dimse.network.association import exchange_of
from dimse.node.keys import uid_hash
from dimse.node.schema import instance, series, study
from dimse.services.query_keys import tag_of
from dimse.services.query_models import QueryRetrieveLevel
from dimse.services.query_request import QueryRequest
from dimse.status import Status

UIDS_AT_ONCE: Final = 500
"""Values of a key in one statement, and of a key above the level."""

_ISSUER: Final = 0x00100021
_LISTS: Final = {
    QueryRetrieveLevel.PATIENT: "patient_ids",
    QueryRetrieveLevel.STUDY: "study_uids",
    QueryRetrieveLevel.SERIES: "series_uids",
    QueryRetrieveLevel.IMAGE: "uids",
}


@dataclass(frozen=True, slots=True)
class RetrieveKeys:
    """What a request names; no values do not restrict."""

    level: QueryRetrieveLevel
    patient_ids: Sequence[str] = ()
    issuers: Sequence[str] = ()
    study_uids: Sequence[str] = ()
    series_uids: Sequence[str] = ()
    uids: Sequence[str] = ()

    def conditions(self, *, unknown_matches: bool) -> Iterator[Sequence[ColumnElement[bool]]]:
        """The conditions of each statement: long lists need several."""
        name = _LISTS[self.level]
        values = getattr(self, name)
        for start in range(0, max(len(values), 1), UIDS_AT_ONCE):
            part = replace(self, **{name: values[start : start + UIDS_AT_ONCE]})
            yield [*part._conditions(unknown_matches=unknown_matches)]

    def _conditions(self, *, unknown_matches: bool) -> Iterator[ColumnElement[bool]]:
        yield from self._patient(unknown_matches=unknown_matches)
        if self.study_uids:
            yield study.c.uid.in_(self.study_uids)
        if self.series_uids:
            yield series.c.uid.in_(self.series_uids)
        if self.uids:
            yield instance.c.uid_hash.in_(map(uid_hash, self.uids))
            yield instance.c.uid.in_(self.uids)

    def _patient(self, *, unknown_matches: bool) -> Iterator[ColumnElement[bool]]:
        if self.patient_ids:
            is_patient = study.c.patient_id.in_(self.patient_ids)
            may_lack_it = unknown_matches and self.level is not QueryRetrieveLevel.PATIENT
            yield or_(is_patient, study.c.patient_id.is_(None)) if may_lack_it else is_patient
        if self.issuers:
            is_issuer = study.c.issuer.in_(self.issuers)
            yield or_(is_issuer, study.c.issuer.is_(None)) if unknown_matches else is_issuer


def read_keys(request: QueryRequest) -> RetrieveKeys:
    """The keys of a request. Raises `StatusError` with the status to answer, by the rules above."""
    level, name = request.level, request.command.name
    assert level is not None  # noqa: S101 - all models of archives have levels
    if level is QueryRetrieveLevel.FRAME:
        raise StatusError(Status.DATASET_DOES_NOT_MATCH, name, "frames cannot be retrieved without their instance")
    *above, _ = request.model.levels_to(level)
    values = {each: _values(request.identifier, tag_of(each.unique_key)) for each in (*above, level)}
    if not values[level]:
        raise StatusError(Status.DATASET_DOES_NOT_MATCH, name, f"{level.unique_key} has no value")
    for each in above:
        if len(values[each]) > UIDS_AT_ONCE:
            comment = f"{each.unique_key} has over {UIDS_AT_ONCE} values, above the {level} level"
            raise StatusError(Status.DATASET_DOES_NOT_MATCH, name, comment)
    if not request.features.relational:
        _check_above(request, {each: values[each] for each in above})
    patient_ids = values.get(QueryRetrieveLevel.PATIENT, ())
    issuers = _values(request.identifier, _ISSUER)[:UIDS_AT_ONCE] if patient_ids else ()
    return RetrieveKeys(
        level,
        patient_ids=patient_ids,
        issuers=issuers,
        study_uids=values.get(QueryRetrieveLevel.STUDY, ()),
        series_uids=values.get(QueryRetrieveLevel.SERIES, ()),
        uids=values.get(QueryRetrieveLevel.IMAGE, ()),
    )


def _check_above(request: QueryRequest, values: Mapping[QueryRetrieveLevel, Sequence[str]]) -> None:
    """Complain of each level above that of the request whose key does not have one value."""
    deviations, name = exchange_of(request.association).deviations, request.command.name
    for each, given in values.items():
        if len(given) != 1:
            said = "several values" if given else "no value"
            comment = f"{each.unique_key} has {said}, above the {request.level} level"
            if deviations.is_strict:
                raise StatusError(Status.DATASET_DOES_NOT_MATCH, name, comment)
            deviations.tolerated(f"{name}: {comment}")


def _values(identifier: Dataset, tag: int) -> Sequence[str]:
    """The values of a key, each once and without padding."""
    if tag not in identifier:
        return ()
    texts = Texts().of(identifier, tag, character_sets_of(identifier))
    values = dict.fromkeys(text.strip(" \0") for text in texts)
    return () if "*" in values else [value for value in values if value]
