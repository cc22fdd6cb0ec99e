"""What the index keeps of an instance."""

from __future__ import annotations

from dimse.node.keys import uid_hash


def test_the_hash_of_a_uid_never_changes() -> None:
    """It is in the index; and it fits a BIGINT."""
    assert uid_hash("1.2.840.10008.1.1") == -1174645151247305395
    assert all(-(2**63) <= uid_hash(f"1.2.{number}") < 2**63 for number in range(100))
