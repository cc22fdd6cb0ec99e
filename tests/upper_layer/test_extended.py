"""Extended negotiation: each feature in its byte, one safe reading of odd items, and answers that add nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimse import uids
from dimse.upper_layer.extended import (
    QueryFeatures,
    StorageFeatures,
    accept_extended,
    declared_storage,
    exceeds,
    query_features,
    storage_features,
)
from dimse.upper_layer.items import (
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserInformation,
)

NAMES = (
    "relational",
    "combined_date_time",
    "fuzzy_names",
    "timezone",
    "enhanced_multiframe",
    "empty_values",
    "multiple_values",
)
FIND, GET, MOVE, WORKLIST = (
    uids.STUDY_ROOT_FIND,
    uids.PATIENT_ROOT_GET,
    uids.STUDY_ROOT_MOVE,
    uids.MODALITY_WORKLIST_FIND,
)
CT = "1.2.840.10008.5.1.4.1.1.2"
NEW = "1.2.840.10008.5.1.4.99.1"
"""A storage class that no dictionary has yet, and that no arc of UIDs gives away."""

classes = st.sampled_from((FIND, GET, MOVE, WORKLIST))
features = st.builds(QueryFeatures, **dict.fromkeys(NAMES, st.booleans()))
storages = st.builds(
    StorageFeatures,
    level=st.sampled_from((None, 0, 1, 2)),
    signature_level=st.integers(0, 3),
    coerces=st.sampled_from((None, False, True)),
)


def saying(sop_class_uid: str, information: bytes) -> UserInformation:
    return UserInformation(sop_class_extended=(SOPClassExtendedNegotiation(sop_class_uid, information),))


@pytest.mark.parametrize(("number", "name"), list(enumerate(NAMES)))
def test_each_feature_of_a_query_has_its_byte(number: int, name: str) -> None:
    one = QueryFeatures(**{name: True})
    assert one.encode(FIND) == bytes(number) + b"\1"
    assert one.names == (name,)
    assert QueryFeatures.decode(bytes(number) + b"\1\0\0", FIND) == one


def test_a_retrieval_has_two_bytes_and_a_worklist_two_that_are_reserved() -> None:
    everything = QueryFeatures(**dict.fromkeys(NAMES, True))
    for uid in (GET, MOVE):
        assert everything.encode(uid) == b"\1\1"
        assert QueryFeatures.decode(b"\0\1", uid).names == ("enhanced_multiframe",)
    assert everything.encode(WORKLIST) == b"\1\1\1\1"
    assert QueryFeatures(fuzzy_names=True).encode(WORKLIST) == b"\1\1\1"
    assert QueryFeatures().encode(WORKLIST) == b"\1\1\0"  # three bytes at least
    assert not QueryFeatures.decode(b"\1\1\0\0", WORKLIST)


@given(features, classes)
def test_what_is_encoded_is_decoded(given: QueryFeatures, uid: str) -> None:
    assert QueryFeatures.decode(given.encode(uid), uid) == given.of_class(uid)


@given(st.binary(max_size=12), classes)
def test_odd_items_have_one_reading(information: bytes, uid: str) -> None:
    """A value other than 1 is no support, a missing byte is 0, and what follows the last byte is ignored."""
    read = QueryFeatures.decode(information, uid)
    assert read == QueryFeatures.decode(bytes(each == 1 for each in information), uid)
    assert read == QueryFeatures.decode(information.ljust(7, b"\0") + b"\1", uid)


@given(features, features, classes)
def test_only_what_both_sides_have_is_agreed_on(requestor: QueryFeatures, acceptor: QueryFeatures, uid: str) -> None:
    proposed = saying(uid, requestor.encode(uid))
    accepted = UserInformation(sop_class_extended=accept_extended(proposed, {uid: acceptor}))
    assert query_features(proposed, accepted, uid) == (requestor & acceptor).of_class(uid)
    (answer,) = accepted.sop_class_extended
    assert len(answer.service_class_application_information) == len(requestor.encode(uid))
    # An acceptor that answers more than was proposed adds nothing.
    assert query_features(proposed, saying(uid, b"\1" * 9), uid) == requestor.of_class(uid)
    assert not query_features(proposed, UserInformation(), uid)
    assert not query_features(UserInformation(), saying(uid, b"\1" * 9), uid)


def test_features_are_combined() -> None:
    one, two = QueryFeatures(relational=True, timezone=True), QueryFeatures(timezone=True)
    assert one - two == QueryFeatures(relational=True)
    assert two | QueryFeatures(relational=True) == one
    assert one
    assert not QueryFeatures()
    assert repr(QueryFeatures()) == "<QueryFeatures none>"
    with pytest.raises(TypeError, match="relational must be a bool, not int"):
        QueryFeatures(relational=1)  # type: ignore[arg-type]


@given(st.binary(max_size=300), st.integers(0, 7), features)
def test_an_answer_is_never_longer_than_a_class_has_bytes(extra: bytes, cut: int, acceptor: QueryFeatures) -> None:
    (answer,) = accept_extended(saying(FIND, (b"\1" * 7)[:cut] + extra), {FIND: acceptor})
    assert len(answer.service_class_application_information) == min(cut + len(extra), 7)


@given(storages)
def test_storage_features_are_decoded(given: StorageFeatures) -> None:
    assert StorageFeatures.decode(given.encode()) == given
    assert StorageFeatures.decode(given.encode() + b"\1") == given


@given(st.binary(max_size=8))
def test_odd_storage_items_have_one_reading(information: bytes) -> None:
    """Reserved bytes are ignored, what is missing has its default, and a value without a meaning says nothing."""
    read = StorageFeatures.decode(information)
    known = information[:6] + bytes((3, 0, 0, 0, 2, 0))[len(information) :]
    assert read.level == (known[0] if known[0] < 3 else None)
    assert read.signature_level == (known[2] if known[2] < 4 else 0)
    assert read.coerces == {0: False, 1: True}.get(known[4])


def test_storage_features_are_checked_and_asked_of_one_side() -> None:
    assert StorageFeatures(level=2, signature_level=1, coerces=True).encode() == b"\2\0\1\0\1\0"
    assert StorageFeatures().encode() == b"\3\0\0\0\2\0"
    said = saying(f"{CT}\0", b"\2\0\1\0\0\0")  # padded
    assert storage_features(said, CT) == StorageFeatures(level=2, signature_level=1, coerces=False)
    assert storage_features(said, FIND) is None
    (answer,) = accept_extended(saying(CT, b""), {CT: StorageFeatures(level=2)})
    assert answer == SOPClassExtendedNegotiation(CT, b"\2\0\0\0\2\0")
    with pytest.raises(ValueError, match="level must be 0, 1, 2 or None, not 3"):
        StorageFeatures(level=3)
    with pytest.raises(ValueError, match="signature_level must be 0 to 3, not 4"):
        StorageFeatures(signature_level=4)
    with pytest.raises(TypeError, match="coerces must be a bool or None, not int"):
        StorageFeatures(coerces=2)  # type: ignore[arg-type]


def test_each_class_is_answered_once_and_others_not_at_all() -> None:
    items = [SOPClassExtendedNegotiation(uid, b"\1") for uid in (FIND, FIND, GET, "1.2.3") for _ in range(50)]
    proposed = UserInformation(sop_class_extended=tuple(items))
    answers = accept_extended(proposed, {FIND: QueryFeatures(relational=True)})
    assert answers == (SOPClassExtendedNegotiation(FIND, b"\1"),)
    assert not exceeds(proposed, UserInformation(sop_class_extended=answers))
    assert exceeds(UserInformation(), UserInformation(sop_class_extended=answers))


@pytest.mark.parametrize(
    ("uid", "service", "general", "is_storage"),
    [
        (NEW, uids.STORAGE_SERVICE_CLASS, (), True),
        (NEW, uids.STORAGE_SERVICE_CLASS, ("1.2.3",), True),
        (NEW, "1.2.840.10008.4.99", (CT,), True),
        (NEW, "1.2.840.10008.4.99", (FIND,), False),
        (NEW, "", (), False),
        (uids.FILM_SESSION, uids.STORAGE_SERVICE_CLASS, (CT,), False),  # PS3.6 knows better
        (FIND, uids.STORAGE_SERVICE_CLASS, (CT,), False),
    ],
)
def test_only_an_unknown_class_can_be_declared_a_storage_class(
    uid: str, service: str, general: tuple[str, ...], is_storage: bool
) -> None:
    item = SOPClassCommonExtendedNegotiation(uid, service, general)
    assert (uid in declared_storage(UserInformation(sop_class_common_extended=(item,)))) == is_storage
