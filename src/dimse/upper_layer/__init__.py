"""PS3.8: the DICOM Upper Layer protocol. Bytes in, events and bytes out; no socket, no clock.

`pdu` and `items` are what is on the wire, `negotiation` is what two sides agree on, `states` is the
standard's Table 9-10 and `machine` runs it.
"""
