"""The information models of Query/Retrieve and of worklists: their SOP Classes and levels (PS3.4, PS3.6 Annex A)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import ClassVar, Final, Literal

from dimse import uids
from dimse.upper_layer.extended import QueryFeatures

RetrieveOperation = Literal["find", "move", "get"]


class QueryRetrieveLevel(StrEnum):
    """Query/Retrieve Level (0008,0052) (PS3.4 C.6.1, C.6.2, Y.6.1)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"
    """Composite object instances, not only images."""
    FRAME = "FRAME"
    """Frames of one instance, of which the archive makes a new instance; only Composite Instance Root has it."""

    @property
    def unique_key(self) -> str:
        """The keyword of the attribute that identifies one patient, study, series or instance (PS3.4 C.2.2.1.1).

        At the FRAME level it is that of the instance, as frames have none.
        """
        return _UNIQUE_KEYS[self]

    @property
    def below(self) -> QueryRetrieveLevel | None:
        """The next level down, None for IMAGE, where queries end."""
        return dict(pairwise(LEVELS)).get(self)


_PATIENT, _STUDY, _SERIES, _IMAGE, _FRAME = QueryRetrieveLevel

LEVELS: Final = (_PATIENT, _STUDY, _SERIES, _IMAGE)
"""The levels of queries."""

_UNIQUE_KEYS: Final = {
    _PATIENT: "PatientID",
    _STUDY: "StudyInstanceUID",
    _SERIES: "SeriesInstanceUID",
    _IMAGE: "SOPInstanceUID",
    _FRAME: "SOPInstanceUID",
}

FRAME_KEYS: Final = ("SimpleFrameList", "CalculatedFrameList", "TimeRange")
"""One of these says which frames a retrieval at the FRAME level is for (PS3.4 Table Y.6-2)."""


@dataclass(frozen=True, slots=True)
class QueryRetrieveModel:
    """An information model: the SOP Classes of its C-FIND, C-MOVE and C-GET, each None if it has none, and its levels.

    The models of the standard are attributes of this class, from `PATIENT_ROOT` to `SUBSTANCE_APPROVAL`. Make one of
    your own for private SOP Classes, or for those of a newer edition; it is used like the others. `levels` are from
    the top; without them, requests have no Query/Retrieve Level. `stored` are the storage SOP Classes of its instances,
    if it is not for all. `features` are those that need no negotiation.

    >>> QueryRetrieveModel.STUDY_ROOT.find
    '1.2.840.10008.5.1.4.1.2.2.1'
    >>> ours = QueryRetrieveModel("Dose Archive", find="1.2.3.4.1", get="1.2.3.4.2")
    >>> ours.levels
    ()
    """

    title: str
    """Its name in messages, such as "Study Root"."""
    find: str | None = field(default=None, kw_only=True, repr=False)
    move: str | None = field(default=None, kw_only=True, repr=False)
    get: str | None = field(default=None, kw_only=True, repr=False)
    levels: tuple[QueryRetrieveLevel, ...] = field(default=(), kw_only=True, repr=False)
    stored: tuple[str, ...] = field(default=(), kw_only=True, repr=False)
    features: QueryFeatures = field(default=QueryFeatures(), kw_only=True, repr=False)

    PATIENT_ROOT: ClassVar[QueryRetrieveModel]
    """Patients, studies, series and instances (PS3.4 C.6.1)."""
    STUDY_ROOT: ClassVar[QueryRetrieveModel]
    """Studies, series and instances (PS3.4 C.6.2)."""
    PATIENT_STUDY_ONLY: ClassVar[QueryRetrieveModel]
    """Patients and studies: retired, but archives have it (PS3.4 2004 C.6.3)."""
    COMPOSITE_INSTANCE_ROOT: ClassVar[QueryRetrieveModel]
    """Instances, and frames of one, by SOP Instance UID alone (PS3.4 Annex Y)."""
    WITHOUT_BULK_DATA: ClassVar[QueryRetrieveModel]
    """Instances without their pixels, waveforms and the like (PS3.4 Annex Z): a server leaves them out itself."""
    REPOSITORY_QUERY: ClassVar[QueryRetrieveModel]
    """Whole repositories, in parts (PS3.4 C.6.4)."""
    MODALITY_WORKLIST: ClassVar[QueryRetrieveModel]
    """Scheduled procedure steps (PS3.4 Annex K)."""
    UPS_PULL: ClassVar[QueryRetrieveModel]
    """Unified procedure steps, to perform them (PS3.4 CC.2.8)."""
    UPS_WATCH: ClassVar[QueryRetrieveModel]
    """Unified procedure steps, to follow them."""
    UPS_QUERY: ClassVar[QueryRetrieveModel]
    """Unified procedure steps, to read about them."""
    RELEVANT_PATIENT_GENERAL: ClassVar[QueryRetrieveModel]
    """What is known of a patient (PS3.4 Annex Q)."""
    RELEVANT_PATIENT_BREAST: ClassVar[QueryRetrieveModel]
    """What is known of a patient, for breast imaging."""
    RELEVANT_PATIENT_CARDIAC: ClassVar[QueryRetrieveModel]
    """What is known of a patient, for cardiac imaging."""
    HANGING_PROTOCOL: ClassVar[QueryRetrieveModel]
    """PS3.4 Annex U."""
    COLOR_PALETTE: ClassVar[QueryRetrieveModel]
    """PS3.4 Annex X."""
    PRODUCT_CHARACTERISTICS: ClassVar[QueryRetrieveModel]
    """Contrast agents, drugs, devices (PS3.4 Annex V)."""
    SUBSTANCE_APPROVAL: ClassVar[QueryRetrieveModel]
    """Whether a substance may be given to a patient (PS3.4 Annex V)."""
    GENERIC_IMPLANT_TEMPLATE: ClassVar[QueryRetrieveModel]
    """PS3.4 Annex BB."""
    IMPLANT_ASSEMBLY_TEMPLATE: ClassVar[QueryRetrieveModel]
    """PS3.4 Annex BB."""
    IMPLANT_TEMPLATE_GROUP: ClassVar[QueryRetrieveModel]
    """PS3.4 Annex BB."""
    DEFINED_PROCEDURE_PROTOCOL: ClassVar[QueryRetrieveModel]
    """PS3.4 Annex HH."""
    PROTOCOL_APPROVAL: ClassVar[QueryRetrieveModel]
    """PS3.4 Annex II."""
    INVENTORY: ClassVar[QueryRetrieveModel]
    """PS3.4 Annex JJ."""

    @property
    def name(self) -> str:
        """The title as an identifier, such as STUDY_ROOT."""
        return "_".join(self.title.replace("/", " ").upper().split())

    def sop_class(self, operation: Literal["find", "move", "get"]) -> str:
        """The SOP Class UID of C-FIND, C-MOVE or C-GET. Raises `ValueError` if the model does not have it.

        >>> QueryRetrieveModel.MODALITY_WORKLIST.sop_class("get")
        Traceback (most recent call last):
        ValueError: the Modality Worklist model has no C-GET
        """
        uid: str | None = getattr(self, operation)
        if uid is None:
            raise ValueError(f"the {self.title} model has no C-{operation.upper()}")
        return uid

    def levels_to(self, level: QueryRetrieveLevel | None) -> tuple[QueryRetrieveLevel, ...]:
        """The levels of the model from the top down to `level`; none for a model without levels."""
        return () if level is None else self.levels[: self.levels.index(level) + 1]

    def unique_key(self, level: QueryRetrieveLevel | None) -> str | None:
        """The keyword of the attribute that identifies what a query at `level` finds; None if there is no such one.

        In a model without levels that is the SOP Instance UID, if it has instances to retrieve (as PS3.4 U.4.2 says).
        """
        if level is not None:
            return level.unique_key
        return None if self.move is None and self.get is None else _UNIQUE_KEYS[_IMAGE]


QueryRetrieveModel.PATIENT_ROOT = QueryRetrieveModel(
    "Patient Root",
    find=uids.PATIENT_ROOT_FIND,
    move=uids.PATIENT_ROOT_MOVE,
    get=uids.PATIENT_ROOT_GET,
    levels=LEVELS,
)
QueryRetrieveModel.STUDY_ROOT = QueryRetrieveModel(
    "Study Root",
    find=uids.STUDY_ROOT_FIND,
    move=uids.STUDY_ROOT_MOVE,
    get=uids.STUDY_ROOT_GET,
    levels=LEVELS[1:],
)
QueryRetrieveModel.PATIENT_STUDY_ONLY = QueryRetrieveModel(
    "Patient/Study Only",
    find="1.2.840.10008.5.1.4.1.2.3.1",
    move="1.2.840.10008.5.1.4.1.2.3.2",
    get="1.2.840.10008.5.1.4.1.2.3.3",
    levels=LEVELS[:2],
)
QueryRetrieveModel.COMPOSITE_INSTANCE_ROOT = QueryRetrieveModel(
    "Composite Instance Root",
    move="1.2.840.10008.5.1.4.1.2.4.2",
    get="1.2.840.10008.5.1.4.1.2.4.3",
    levels=(_IMAGE, _FRAME),
)
QueryRetrieveModel.WITHOUT_BULK_DATA = QueryRetrieveModel(
    "Without Bulk Data",
    get="1.2.840.10008.5.1.4.1.2.5.3",
    levels=(_IMAGE,),
)
QueryRetrieveModel.REPOSITORY_QUERY = QueryRetrieveModel(
    "Repository Query",
    find="1.2.840.10008.5.1.4.1.1.201.6",
    levels=LEVELS[1:],
)
QueryRetrieveModel.MODALITY_WORKLIST = QueryRetrieveModel(
    "Modality Worklist",
    find=uids.MODALITY_WORKLIST_FIND,
    features=QueryFeatures(combined_date_time=True),  # PS3.4 Table K.6-1
)
QueryRetrieveModel.UPS_PULL = QueryRetrieveModel(
    "UPS Pull",
    find=uids.UPS_PULL,
)
QueryRetrieveModel.UPS_WATCH = QueryRetrieveModel(
    "UPS Watch",
    find=uids.UPS_WATCH,
)
QueryRetrieveModel.UPS_QUERY = QueryRetrieveModel(
    "UPS Query",
    find=uids.UPS_QUERY,
)
QueryRetrieveModel.RELEVANT_PATIENT_GENERAL = QueryRetrieveModel(
    "Relevant Patient General",
    find="1.2.840.10008.5.1.4.37.1",
)
QueryRetrieveModel.RELEVANT_PATIENT_BREAST = QueryRetrieveModel(
    "Relevant Patient Breast",
    find="1.2.840.10008.5.1.4.37.2",
)
QueryRetrieveModel.RELEVANT_PATIENT_CARDIAC = QueryRetrieveModel(
    "Relevant Patient Cardiac",
    find="1.2.840.10008.5.1.4.37.3",
)
QueryRetrieveModel.HANGING_PROTOCOL = QueryRetrieveModel(
    "Hanging Protocol",
    find="1.2.840.10008.5.1.4.38.2",
    move="1.2.840.10008.5.1.4.38.3",
    get="1.2.840.10008.5.1.4.38.4",
    stored=("1.2.840.10008.5.1.4.38.1",),
)
QueryRetrieveModel.COLOR_PALETTE = QueryRetrieveModel(
    "Color Palette",
    find="1.2.840.10008.5.1.4.39.2",
    move="1.2.840.10008.5.1.4.39.3",
    get="1.2.840.10008.5.1.4.39.4",
    stored=("1.2.840.10008.5.1.4.39.1",),
)
QueryRetrieveModel.PRODUCT_CHARACTERISTICS = QueryRetrieveModel(
    "Product Characteristics",
    find="1.2.840.10008.5.1.4.41",
)
QueryRetrieveModel.SUBSTANCE_APPROVAL = QueryRetrieveModel(
    "Substance Approval",
    find="1.2.840.10008.5.1.4.42",
)
QueryRetrieveModel.GENERIC_IMPLANT_TEMPLATE = QueryRetrieveModel(
    "Generic Implant Template",
    find="1.2.840.10008.5.1.4.43.2",
    move="1.2.840.10008.5.1.4.43.3",
    get="1.2.840.10008.5.1.4.43.4",
    stored=("1.2.840.10008.5.1.4.43.1",),
)
QueryRetrieveModel.IMPLANT_ASSEMBLY_TEMPLATE = QueryRetrieveModel(
    "Implant Assembly Template",
    find="1.2.840.10008.5.1.4.44.2",
    move="1.2.840.10008.5.1.4.44.3",
    get="1.2.840.10008.5.1.4.44.4",
    stored=("1.2.840.10008.5.1.4.44.1",),
)
QueryRetrieveModel.IMPLANT_TEMPLATE_GROUP = QueryRetrieveModel(
    "Implant Template Group",
    find="1.2.840.10008.5.1.4.45.2",
    move="1.2.840.10008.5.1.4.45.3",
    get="1.2.840.10008.5.1.4.45.4",
    stored=("1.2.840.10008.5.1.4.45.1",),
)
QueryRetrieveModel.DEFINED_PROCEDURE_PROTOCOL = QueryRetrieveModel(
    "Defined Procedure Protocol",
    find="1.2.840.10008.5.1.4.20.1",
    move="1.2.840.10008.5.1.4.20.2",
    get="1.2.840.10008.5.1.4.20.3",
    stored=(
        "1.2.840.10008.5.1.4.1.1.200.1",
        "1.2.840.10008.5.1.4.1.1.200.7",
    ),
)
QueryRetrieveModel.PROTOCOL_APPROVAL = QueryRetrieveModel(
    "Protocol Approval",
    find="1.2.840.10008.5.1.4.1.1.200.4",
    move="1.2.840.10008.5.1.4.1.1.200.5",
    get="1.2.840.10008.5.1.4.1.1.200.6",
    stored=("1.2.840.10008.5.1.4.1.1.200.3",),
    features=QueryFeatures(combined_date_time=True),  # PS3.4 Table II.6-1
)
QueryRetrieveModel.INVENTORY = QueryRetrieveModel(
    "Inventory",
    find="1.2.840.10008.5.1.4.1.1.201.2",
    move="1.2.840.10008.5.1.4.1.1.201.3",
    get="1.2.840.10008.5.1.4.1.1.201.4",
    stored=("1.2.840.10008.5.1.4.1.1.201.1",),
)

DEFAULT_MODELS: Final = (QueryRetrieveModel.PATIENT_ROOT, QueryRetrieveModel.STUDY_ROOT)
"""The models of archives: what handlers are registered for, and associations proposed for, unless others are named."""

MODELS: Final = (
    QueryRetrieveModel.PATIENT_ROOT,
    QueryRetrieveModel.STUDY_ROOT,
    QueryRetrieveModel.PATIENT_STUDY_ONLY,
    QueryRetrieveModel.COMPOSITE_INSTANCE_ROOT,
    QueryRetrieveModel.WITHOUT_BULK_DATA,
    QueryRetrieveModel.REPOSITORY_QUERY,
    QueryRetrieveModel.MODALITY_WORKLIST,
    QueryRetrieveModel.UPS_PULL,
    QueryRetrieveModel.UPS_WATCH,
    QueryRetrieveModel.UPS_QUERY,
    QueryRetrieveModel.RELEVANT_PATIENT_GENERAL,
    QueryRetrieveModel.RELEVANT_PATIENT_BREAST,
    QueryRetrieveModel.RELEVANT_PATIENT_CARDIAC,
    QueryRetrieveModel.HANGING_PROTOCOL,
    QueryRetrieveModel.COLOR_PALETTE,
    QueryRetrieveModel.PRODUCT_CHARACTERISTICS,
    QueryRetrieveModel.SUBSTANCE_APPROVAL,
    QueryRetrieveModel.GENERIC_IMPLANT_TEMPLATE,
    QueryRetrieveModel.IMPLANT_ASSEMBLY_TEMPLATE,
    QueryRetrieveModel.IMPLANT_TEMPLATE_GROUP,
    QueryRetrieveModel.DEFINED_PROCEDURE_PROTOCOL,
    QueryRetrieveModel.PROTOCOL_APPROVAL,
    QueryRetrieveModel.INVENTORY,
)
"""Every model of the standard."""
