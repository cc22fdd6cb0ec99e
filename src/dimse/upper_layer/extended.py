"""Extended negotiation: what the application information of a SOP class says (PS3.7 D.3.3.5, D.3.3.6; PS3.4).

Peers send fewer bytes than the standard has, and more. One reading is safe: a missing byte has its default, what
follows the last byte is ignored, and only the value 1 means that a feature is supported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from dimse.records import record
from dimse.uids import MODALITY_WORKLIST_FIND, STORAGE_SERVICE_CLASS, is_known, is_storage
from dimse.upper_layer.items import SOPClassExtendedNegotiation, UserInformation

_PADDING: Final = " \0"

_RESERVED: Final = "reserved"
"""A byte that is always 1 (PS3.4 K.5.1)."""

_FIND: Final = (
    "relational",
    "combined_date_time",
    "fuzzy_names",
    "timezone",
    "enhanced_multiframe",
    "empty_values",
    "multiple_values",
)
_RETRIEVE: Final = ("relational", "enhanced_multiframe")
_WORKLIST: Final = (_RESERVED, _RESERVED, "fuzzy_names", "timezone")

_QUERY_RETRIEVE: Final = "1.2.840.10008.5.1.4.1.2."
"""The root of the UIDs of Query/Retrieve, where C-MOVE ends in 2 and C-GET in 3."""


@record(kw_only=True)
class QueryFeatures:
    """Features of a query or a retrieval that count only if both sides support them (PS3.4 C.5).

    C-FIND has all of them, C-GET and C-MOVE `relational` and `enhanced_multiframe`, Modality Worklist `fuzzy_names` and
    `timezone` (PS3.4 K.5.1). Without an agreement, none is supported.

    >>> QueryFeatures(relational=True, fuzzy_names=True) & QueryFeatures(fuzzy_names=True)
    <QueryFeatures fuzzy_names>

    :param relational: Unique keys of higher levels may be left out, and keys of all levels mixed (PS3.4 C.4.1.2.2.1).
    :param combined_date_time: A date and a time with a range each are one range (PS3.4 C.2.2.2.5).
    :param fuzzy_names: Names of persons are matched by how they sound or are spelled (PS3.4 C.2.2.2.1).
    :param timezone: Dates and times are adjusted to the time zone of the query (PS3.4 C.4.1.1.3.1).
    :param enhanced_multiframe: The view of the query chooses between multi-frame and single-frame images (PS3.4 C.3.5).
    :param empty_values: A key of two quotation marks matches an empty value (PS3.4 C.2.2.2.7).
    :param multiple_values: A key with several values matches each of them (PS3.4 C.2.2.2.8).
    """

    relational: bool = False
    combined_date_time: bool = False
    fuzzy_names: bool = False
    timezone: bool = False
    enhanced_multiframe: bool = False
    empty_values: bool = False
    multiple_values: bool = False

    def __post_init__(self) -> None:
        for name in _FIND:
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a bool, not {type(getattr(self, name)).__name__}")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features that it has."""
        return tuple(name for name in _FIND if getattr(self, name))

    def __bool__(self) -> bool:
        return bool(self.names)

    def __and__(self, other: QueryFeatures) -> QueryFeatures:
        return QueryFeatures(**dict.fromkeys(set(self.names) & set(other.names), True))

    def __or__(self, other: QueryFeatures) -> QueryFeatures:
        return QueryFeatures(**dict.fromkeys((*self.names, *other.names), True))

    def __sub__(self, other: QueryFeatures) -> QueryFeatures:
        return QueryFeatures(**dict.fromkeys(set(self.names) - set(other.names), True))

    def __repr__(self) -> str:
        return f"<QueryFeatures {' '.join(self.names) or 'none'}>"

    def of_class(self, sop_class_uid: str) -> QueryFeatures:
        """Those of them that this SOP class has."""
        return QueryFeatures(**dict.fromkeys(set(self.names) & set(_layout(sop_class_uid)), True))

    def encode(self, sop_class_uid: str) -> bytes:
        """The application information for a SOP class, to the last feature: not every peer knows the newer ones."""
        layout = _layout(sop_class_uid)
        values = bytes(name == _RESERVED or getattr(self, name) for name in layout)
        shortest = 3 if layout is _WORKLIST else 1
        return values[:shortest] + values[shortest:].rstrip(b"\0")

    @classmethod
    def decode(cls, information: bytes, sop_class_uid: str) -> QueryFeatures:
        """The features of the application information for a SOP class."""
        fields = zip(_layout(sop_class_uid), information, strict=False)
        return cls(**{name: value == 1 for name, value in fields if name != _RESERVED})

    def answer(self, information: bytes, sop_class_uid: str) -> bytes:
        """What an acceptor with these features answers to application information, in as many bytes (PS3.4 C.5.1.1)."""
        agreed = self & self.decode(information, sop_class_uid)
        return agreed.encode(sop_class_uid).ljust(len(_layout(sop_class_uid)), b"\0")[: len(information)]


def _layout(sop_class_uid: str) -> tuple[str, ...]:
    """The meaning of each byte of the application information for a query or retrieval class."""
    if sop_class_uid == MODALITY_WORKLIST_FIND:
        return _WORKLIST
    is_retrieval = sop_class_uid.startswith(_QUERY_RETRIEVE) and sop_class_uid.endswith((".2", ".3"))
    return _RETRIEVE if is_retrieval else _FIND


_SCU_ONLY: Final = 3
_COERCION_UNKNOWN: Final = 2


@record(kw_only=True)
class StorageFeatures:
    """What an application entity does as SCP of a storage class (PS3.4 B.3.1).

    :param level: The level of storage: 0 and 1 leave attributes out, 2 keeps all of them (PS3.4 B.4.1); None is an SCU
        only.
    :param signature_level: The level of digital signature support, 1 to 3; 0 is unspecified.
    :param coerces: Whether it may change data elements; None is an SCU only.
    """

    level: int | None = None
    signature_level: int = 0
    coerces: bool | None = None

    def __post_init__(self) -> None:
        if self.level not in (None, 0, 1, 2):
            raise ValueError(f"level must be 0, 1, 2 or None, not {self.level!r}")
        if self.signature_level not in (0, 1, 2, 3):
            raise ValueError(f"signature_level must be 0 to 3, not {self.signature_level!r}")
        if not (self.coerces is None or isinstance(self.coerces, bool)):
            raise TypeError(f"coerces must be a bool or None, not {type(self.coerces).__name__}")

    def encode(self) -> bytes:
        """The application information of a storage class."""
        level = _SCU_ONLY if self.level is None else self.level
        coerces = _COERCION_UNKNOWN if self.coerces is None else int(self.coerces)
        return bytes((level, 0, self.signature_level, 0, coerces, 0))

    @classmethod
    def decode(cls, information: bytes) -> StorageFeatures:
        """The features of the application information of a storage class. A value of another meaning says nothing."""
        level, _, signatures, _, coerces, _ = information[:6] + cls().encode()[len(information) :]
        return cls(
            level=level if level < _SCU_ONLY else None,
            signature_level=signatures if signatures <= 3 else 0,
            coerces=bool(coerces) if coerces < _COERCION_UNKNOWN else None,
        )


Features = QueryFeatures | StorageFeatures


def accept_extended(
    proposed: UserInformation, offered: Mapping[str, Features]
) -> tuple[SOPClassExtendedNegotiation, ...]:
    """The answer of an acceptor that has these features, by SOP class, to a requestor that proposed some.

    Each class is answered once, and others not at all, so that the answer is bounded.
    """
    answers = []
    for uid, information in _by_class(proposed).items():
        features = offered.get(uid)
        if isinstance(features, QueryFeatures):
            answers.append(SOPClassExtendedNegotiation(uid, features.answer(information, uid)))
        elif features is not None:
            answers.append(SOPClassExtendedNegotiation(uid, features.encode()))
    return tuple(answers)


def query_features(proposed: UserInformation, accepted: UserInformation, sop_class_uid: str) -> QueryFeatures:
    """What both sides agreed on for a query or retrieval class. An acceptor can add nothing (PS3.4 C.5.1.1.2)."""
    sides = (_by_class(each).get(sop_class_uid, b"") for each in (proposed, accepted))
    ours, theirs = (QueryFeatures.decode(information, sop_class_uid) for information in sides)
    return ours & theirs


def storage_features(said: UserInformation, sop_class_uid: str) -> StorageFeatures | None:
    """What one side said of itself as SCP of a storage class; None if it said nothing."""
    information = _by_class(said).get(sop_class_uid)
    return None if information is None else StorageFeatures.decode(information)


def exceeds(proposed: UserInformation, accepted: UserInformation) -> bool:
    """Whether an acceptor answered extended negotiation that was not proposed, which it must not (PS3.7 D.3.3.5)."""
    return not _by_class(accepted).keys() <= _by_class(proposed).keys()


def _by_class(information: UserInformation) -> dict[str, bytes]:
    """The application information by SOP class; of two for one class, the last counts, as for roles."""
    return {
        item.sop_class_uid.strip(_PADDING): item.service_class_application_information
        for item in information.sop_class_extended
    }


def declared_storage(information: UserInformation) -> frozenset[str]:
    """The SOP classes that a requestor declares to be storage classes, of those that PS3.6 does not know as others.

    They are of the Storage Service Class, or a storage class is their general one (PS3.7 D.3.3.6, PS3.4 B.3.1.3).
    """
    return frozenset(
        item.sop_class_uid
        for item in information.sop_class_common_extended
        if not is_known(item.sop_class_uid)
        and _is_of_storage(item.service_class_uid, item.related_general_sop_class_uids)
    )


def _is_of_storage(service_class_uid: str, general: Iterable[str]) -> bool:
    return service_class_uid == STORAGE_SERVICE_CLASS or any(map(is_storage, general))
