"""PS3.7: DIMSE messages. Fragments in, messages and data out, and back; no socket, no data set library.

`command_set` is the codec of Command Sets, `message` has the messages, and `fragments` cuts and joins them.
"""
