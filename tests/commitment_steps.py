"""What is done with a store of open commitment transactions, compared with a dictionary."""

from __future__ import annotations

from dimse import InstanceReference, OpenTransaction
from dimse.services.commitment_store import Transactions

UIDS = ("1.1", "1.2", "1.3")
INSTANCES = (InstanceReference("1.2.840.1", "1.5"), InstanceReference("1.2.840.2", "1.6"))


def transaction(uid: str, requestor: str = "WS1") -> OpenTransaction:
    return OpenTransaction(uid, requestor, INSTANCES)


Step = tuple[str, str]
"""What is done, and with which transaction."""


async def does(store: Transactions, step: Step, model: dict[str, OpenTransaction]) -> None:
    """Do a step with a store and with a dictionary, and compare."""
    what, uid = step
    known = model.get(uid)
    if what in ("add", "add again"):
        new = transaction(uid, "WS1" if what == "add" else "WS2")
        assert await store.add(new) == known
        model.setdefault(uid, new)
    elif what == "get":
        assert await store.get(uid) == known
    elif what == "decide" and known is not None:
        await store.decide(uid, (None, 0x0112))
        model[uid] = OpenTransaction(uid, known.requestor, known.instances, (None, 0x0112))
    elif what == "remove":
        await store.remove(uid)
        model.pop(uid, None)
