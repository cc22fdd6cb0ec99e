"""PS3.7: DIMSE messages. PDVs in, commands and data out, and back; no socket, no data set library.

`command` is the Command Set codec, `primitives` the messages, `fragments` cuts and joins them, `status`
knows the codes.
"""
