"""What an association agreed on, worked out without a socket."""

from __future__ import annotations

import dataclasses

import pytest

from dimse.errors import PresentationContextError
from dimse.uids import PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from dimse.upper_layer.agreement import Agreement, agree
from dimse.upper_layer.items import (
    AsynchronousOperationsWindow,
    PresentationContextAC,
    PresentationContextRQ,
    RoleSelection,
    UserInformation,
)
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

IMPLICIT, EXPLICIT, JPEG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
PROPOSED = (
    PresentationContextRQ(1, CT, (JPEG,)),
    PresentationContextRQ(3, CT, (EXPLICIT, IMPLICIT)),
    PresentationContextRQ(5, MR, (IMPLICIT,)),
)
ACCEPTED = (PresentationContextAC(1, 0, JPEG), PresentationContextAC(3, 0, EXPLICIT), PresentationContextAC(5, 4, ""))


def agreed(
    *,
    is_requestor: bool = True,
    accepted: tuple[PresentationContextAC, ...] = ACCEPTED,
    roles: tuple[RoleSelection, ...] = (),
    answered_roles: tuple[RoleSelection, ...] = (),
    announced: tuple[int | None, int | None] = (32768, 16384),
    limit: int = 65536,
    windows: tuple[int, int] | None = None,
) -> Agreement:
    proposed, granted = windows or (None, None)
    requested = UserInformation(
        maximum_length=announced[0],
        role_selections=roles,
        asynchronous_operations_window=None if proposed is None else AsynchronousOperationsWindow(proposed, 1),
    )
    responded = dataclasses.replace(
        requested,
        maximum_length=announced[1],
        role_selections=answered_roles,
        asynchronous_operations_window=None if granted is None else AsynchronousOperationsWindow(granted, 1),
    )
    request = A_ASSOCIATE_RQ("ARCHIVE", "MODALITY", requested, presentation_contexts=PROPOSED)
    acceptance = A_ASSOCIATE_AC("ARCHIVE", "MODALITY", responded, presentation_contexts=accepted)
    return agree(request, acceptance, is_requestor=is_requestor, maximum_length_limit=limit)


def test_titles() -> None:
    requestor, acceptor = agreed(), agreed(is_requestor=False)
    assert (requestor.calling_ae_title, requestor.called_ae_title) == ("MODALITY", "ARCHIVE")
    assert (requestor.own_ae_title, requestor.peer_ae_title) == ("MODALITY", "ARCHIVE")
    assert (acceptor.own_ae_title, acceptor.peer_ae_title) == ("ARCHIVE", "MODALITY")


@pytest.mark.parametrize(
    ("is_requestor", "announced", "limit", "expected"),
    [
        (True, (32768, 16384), 65536, 16384),
        (False, (32768, 16384), 65536, 32768),
        (True, (32768, 16384), 8192, 8192),
        (True, (32768, 0), 65536, 65536),
        (True, (32768, None), 65536, 16384),
    ],
)
def test_the_maximum_length_is_that_of_the_peer_up_to_ours(
    is_requestor: bool, announced: tuple[int | None, int | None], limit: int, expected: int
) -> None:
    agreement = agreed(is_requestor=is_requestor, announced=announced, limit=limit)
    assert agreement.maximum_length_to_send == expected


@pytest.mark.parametrize(("windows", "expected"), [(None, 1), ((16, 4), 4), ((4, 16), 4), ((16, 0), 16)])
def test_the_operations_window_is_what_both_allow(windows: tuple[int, int] | None, expected: int) -> None:
    assert agreed(windows=windows).operations_window == expected


def test_the_contexts_are_those_that_were_accepted() -> None:
    agreement = agreed()
    assert list(agreement.contexts) == [1, 3]
    assert agreement.accepts(CT)
    assert not agreement.accepts(MR)


def test_the_first_wanted_transfer_syntax_that_was_accepted_decides() -> None:
    agreement = agreed()
    assert agreement.context_for(CT).presentation_context_id == 1
    assert agreement.context_for(CT, [IMPLICIT, EXPLICIT, JPEG]).presentation_context_id == 3


def test_the_error_names_what_was_proposed_and_accepted() -> None:
    agreement = agreed(accepted=ACCEPTED[1:])
    with pytest.raises(PresentationContextError) as error:
        agreement.context_for(CT, [JPEG])
    assert str(error.value) == (
        "no presentation context for CT Image Storage in JPEG Baseline (Process 1); proposed: JPEG Baseline (Process 1)"
        ", Explicit VR Little Endian, Implicit VR Little Endian; accepted: Explicit VR Little Endian"
    )
    with pytest.raises(PresentationContextError, match=r"MR Image Storage; proposed: .*; accepted: none"):
        agreement.context_for(MR)
    with pytest.raises(PresentationContextError, match="was not proposed when the association was made"):
        agreement.context_for("1.2.3")


def test_an_acceptor_is_scu_only_where_the_requestor_is_scp() -> None:
    with pytest.raises(PresentationContextError, match="the requestor proposed no SCP role for CT Image Storage"):
        agreed(is_requestor=False).context_for(CT)
    role = (RoleSelection(CT, scu_role=False, scp_role=True),)
    acceptor = agreed(is_requestor=False, roles=role, answered_roles=role)
    assert acceptor.proposes_scp(CT)
    assert acceptor.context_for(CT).requestor_is_scp
    with pytest.raises(PresentationContextError, match="proposed:"):
        agreed(roles=role, answered_roles=role).context_for(CT)


def agreed_on_find(*proposed: str) -> Agreement:
    contexts = tuple(PresentationContextRQ(2 * i + 1, uid, (IMPLICIT,)) for i, uid in enumerate(proposed))
    return agree(
        A_ASSOCIATE_RQ("ARCHIVE", "DIMSE", UserInformation(), presentation_contexts=contexts),
        A_ASSOCIATE_AC("ARCHIVE", "DIMSE", UserInformation(), presentation_contexts=()),
        is_requestor=True,
        maximum_length_limit=16384,
    )


def test_a_peer_that_refuses_all_queries_is_no_query_archive() -> None:
    both = agreed_on_find(PATIENT_ROOT_FIND, STUDY_ROOT_FIND)
    with pytest.raises(PresentationContextError, match=r"^the peer is no query archive: it accepted neither .* nor"):
        both.context_for(STUDY_ROOT_FIND)
    with pytest.raises(PresentationContextError, match=r"archive, or not with this information model: it did not"):
        agreed_on_find(STUDY_ROOT_FIND).context_for(STUDY_ROOT_FIND)
    with pytest.raises(PresentationContextError, match=r"this SOP class was not proposed"):
        agreed_on_find(STUDY_ROOT_FIND).context_for(PATIENT_ROOT_FIND)
