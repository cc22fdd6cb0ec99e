"""`dimse demo`: the main jobs on real images. It needs the extra `demo`, and uses the command line as a user would.

command        the command, step by step
processes      the `dimse` commands that it runs
comparison     sent and received files, byte for byte
archive        the Query/Retrieve server
phantom        the CT study that is generated
contact_sheet  the picture of everything that was received
"""
