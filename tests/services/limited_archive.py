"""An archive that limits its answers, ignores keys, and notes what it is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from pydicom.dataset import Dataset

from dimse import Match, Matcher, QueryFeatures, QueryRequest, Server, ServerOptions, Status, StatusError

OPTIONS = ServerOptions(
    maximum_connections_per_second=None, maximum_associations_per_host=None, maximum_associations_per_title=None
)


def study(
    number: int,
    day: str = "20240101",
    time: str = "120000",
    *,
    patient: str | None = None,
    series: int = 1,
    instances: int = 1,
) -> list[Dataset]:
    """The instances of a study, which also have its number in their UIDs; series are CT, MR, CT, MR..."""
    made = []
    for a_series in range(1, series + 1):
        for instance in range(1, instances + 1):
            dataset = Dataset()
            dataset.StudyInstanceUID = f"1.{number}"
            dataset.SeriesInstanceUID = f"1.{number}.{a_series}"
            dataset.SOPInstanceUID = f"1.{number}.{a_series}.{instance}"
            dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
            dataset.PatientID = patient or f"ID{number:03}"
            dataset.PatientName = f"Doe^{dataset.PatientID}"
            dataset.StudyDate, dataset.StudyTime = day, time
            dataset.StudyDescription = "Head"
            dataset.Modality = "CT" if a_series % 2 else "MR"
            made.append(dataset)
    return made


class LimitedArchive(Server):
    """Returns no more than `limit` matches, with that status at the end of an answer that it cut."""

    def __init__(
        self,
        studies: Iterable[list[Dataset]],
        *,
        limit: int | None = None,
        status: int = Status.OUT_OF_RESOURCES,
        ignores: str = "",
        sends_some: bool = True,
        title: str = "ARCHIVE",
        features: QueryFeatures | None = None,
        unsupported_keys: bool = False,
    ) -> None:
        super().__init__(title, port=0, options=OPTIONS)
        self.instances = [instance for study in studies for instance in study]
        self.asked: list[Dataset] = []
        self.agreed: list[QueryFeatures] = []
        self._unsupported_keys = unsupported_keys
        self._limit, self._status, self._ignores, self._sends_some = limit, status, ignores, sends_some
        self.on_c_find(features=features)(self._find)

    @property
    def address(self) -> str:
        return f"{self.ae_title}@127.0.0.1:{self.port}"

    @property
    def levels(self) -> list[str]:
        """The levels of the queries."""
        return [identifier.QueryRetrieveLevel for identifier in self.asked]

    async def _find(self, request: QueryRequest) -> AsyncIterator[Dataset | Match]:
        self.asked.append(request.identifier)
        self.agreed.append(request.features)
        keys = Dataset()
        keys.update(request.identifier)
        if self._ignores in keys:
            keys[self._ignores].value = None
        found = list(Matcher(keys).find(self.instances))
        is_cut = self._limit is not None and len(found) > self._limit
        for match in found[: self._limit if self._sends_some or not is_cut else 0]:
            yield Match(match, unsupported_keys=True) if self._unsupported_keys else match
        if is_cut and self._status != Status.SUCCESS:
            raise StatusError(Status(self._status), "too many")
