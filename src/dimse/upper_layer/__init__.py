"""PS3.8: the DICOM Upper Layer protocol. Bytes in, events and bytes out; no socket, no clock.

`pdu` and `items` encode and decode; `negotiation` has the rules of an association's contexts, roles and limits;
`deviations` the treatment of peers that violate the standard; `states` is Table 9-10, and `machine` runs it.
"""
