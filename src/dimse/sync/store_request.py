"""An instance that arrives, in a loop over the results of a C-GET."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dimse.messages.message import C_STORE_RQ
from dimse.services import store_request
from dimse.sync.facade import Facade, Iteration, blocking_method, same

if TYPE_CHECKING:
    from pathlib import Path

    from dimse.dataset.edits import Edits
    from dimse.dataset.file_writer import Stored
    from dimse.dataset.pydicom_names import Dataset


class StoreRequest(Facade[store_request.StoreRequest]):
    """An instance that arrives; see `dimse.StoreRequest`. Read it to its end, or `save` it, before the next one."""

    @property
    def command(self) -> C_STORE_RQ:
        """The C-STORE-RQ."""
        return self._asynchronous.command

    @property
    def sop_class_uid(self) -> str:
        """Affected SOP Class UID."""
        return self._asynchronous.sop_class_uid

    @property
    def sop_instance_uid(self) -> str:
        """Affected SOP Instance UID."""
        return self._asynchronous.sop_instance_uid

    @property
    def study_instance_uid(self) -> str | None:
        """Study Instance UID of the data set; None if it has none."""
        return self._asynchronous.study_instance_uid

    @property
    def path(self) -> Path | None:
        """The file that it was saved in; None before."""
        return self._asynchronous.path

    @property
    def stored(self) -> Stored | None:
        """What `save` did if the instance was stored already; see `dimse.Stored`."""
        return self._asynchronous.stored

    @property
    def transfer_syntax_uid(self) -> str:
        """The transfer syntax of the data set."""
        return self._asynchronous.transfer_syntax_uid

    @property
    def header(self) -> bytes:
        """The encoded elements before the pixel data."""
        return self._asynchronous.header

    @property
    def file_meta(self) -> bytes:
        """The preamble and the File Meta Information (PS3.10 7.1) of the file that `save` writes."""
        return self._asynchronous.file_meta

    @property
    def dataset(self) -> Dataset:
        """The data set; while streaming, the part before the pixel data. Raises `DatasetError`."""
        return self._asynchronous.dataset

    def pixels(self) -> Iterator[bytes]:
        """The value of the pixel data in pieces; see `dimse.StoreRequest.pixels`."""
        return Iteration(self._asynchronous.pixels(), same)

    def frames(self) -> Iterator[bytes]:
        """The frames of the pixel data; see `dimse.StoreRequest.frames`."""
        return Iteration(self._asynchronous.frames(), same)

    def chunks(self, *, edits: Edits | None = None) -> Iterator[bytes]:
        """A Part 10 file, chunk by chunk; see `dimse.StoreRequest.chunks`."""
        return Iteration(self._asynchronous.chunks(edits=edits), same)

    def dataset_chunks(self, *, edits: Edits | None = None) -> Iterator[bytes]:
        """The data set alone, chunk by chunk; see `dimse.StoreRequest.dataset_chunks`."""
        return Iteration(self._asynchronous.dataset_chunks(edits=edits), same)

    save = blocking_method(store_request.StoreRequest.save)
    save_under = blocking_method(store_request.StoreRequest.save_under)

    def __repr__(self) -> str:
        return repr(self._asynchronous)
