"""The table of information models, against the table of UIDs of pydicom."""

from __future__ import annotations

import copy
import pickle

import pytest
from pydicom._uid_dict import UID_dictionary

from dimse import Query, uids
from dimse.services.query_models import LEVELS, MODELS, QueryRetrieveLevel, QueryRetrieveModel

IDS = [model.name for model in MODELS]
OTHERS = {uids.UPS_PUSH, uids.UPS_EVENT}


def test_the_levels_are_the_values_on_the_wire() -> None:
    assert [str(level) for level in QueryRetrieveLevel] == ["PATIENT", "STUDY", "SERIES", "IMAGE", "FRAME"]
    assert list(QueryRetrieveLevel)[:4] == list(LEVELS)


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_the_uids_are_those_of_the_standard(model: QueryRetrieveModel) -> None:
    names = {
        operation: uids.name_of(uid) for operation in ("find", "move", "get") if (uid := getattr(model, operation))
    }
    assert names
    for operation, name in names.items():
        assert name.endswith(f"- {operation.upper()}") or (operation == "find" and len(names) == 1)
    named = [name.replace("Unified Procedure Step", "UPS").split() for name in names.values()]
    assert all(set(model.title.split()) <= {*words, "Root"} for words in named)
    assert all(uids.name_of(uid).endswith("Storage") for uid in model.stored)


def test_every_query_and_retrieve_class_of_the_standard_has_a_row() -> None:
    listed = {uid for model in MODELS for uid in (model.find, model.move, model.get) if uid}
    assert len(listed) == sum(uid is not None for model in MODELS for uid in (model.find, model.move, model.get))
    endings = ("- FIND", "- MOVE", "- GET", "Query", "Query SOP Class")
    of_standard = {
        uid for uid, entry in UID_dictionary.items() if entry[1] == "SOP Class" and entry[0].endswith(endings)
    }
    retired = {"1.2.840.10008.5.1.4.32.1"}  # General Purpose Worklist, which nothing uses
    assert of_standard - retired <= listed
    assert {uids.UPS_PULL, uids.UPS_WATCH, uids.UPS_QUERY} <= listed


def test_storage_classes_beside_the_others_are_storage_classes() -> None:
    stored = {uid for model in MODELS for uid in model.stored}
    named = {uid for uid, entry in UID_dictionary.items() if entry[1] == "SOP Class" and entry[0].endswith("Storage")}
    assert stored <= named
    assert all(uids.is_storage(uid) for uid in stored)
    assert all(uids.is_storage(uid) for uid in named if "Media Storage" not in UID_dictionary[uid][0])
    listed = {uid for model in MODELS for uid in (model.find, model.move, model.get) if uid}
    assert not any(map(uids.is_storage, listed))


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_a_model_is_a_value_with_a_name(model: QueryRetrieveModel) -> None:
    assert getattr(QueryRetrieveModel, model.name) is model
    assert model == copy.deepcopy(model) == pickle.loads(pickle.dumps(model))  # noqa: S301 our own
    assert model.title in repr(model)


def test_what_a_model_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="the Modality Worklist model has no C-MOVE"):
        QueryRetrieveModel.MODALITY_WORKLIST.sop_class("move")
    wrong: list[tuple[QueryRetrieveLevel | None, QueryRetrieveModel]] = [
        (QueryRetrieveLevel.STUDY, QueryRetrieveModel.COMPOSITE_INSTANCE_ROOT),
        (None, QueryRetrieveModel.STUDY_ROOT),
        (QueryRetrieveLevel.STUDY, QueryRetrieveModel.HANGING_PROTOCOL),
    ]
    for level, model in wrong:
        with pytest.raises(ValueError, match=f"{model.title} model .*levels"):
            Query.of(level, {}, model)


def test_the_unique_key_without_levels() -> None:
    assert Query.in_model(QueryRetrieveModel.HANGING_PROTOCOL).unique_key == "SOPInstanceUID"
    assert Query.in_model(QueryRetrieveModel.MODALITY_WORKLIST).unique_key is None
