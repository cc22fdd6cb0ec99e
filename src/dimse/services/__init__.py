"""PS3.4: the service classes, SCU and SCP of a service on the same page.

`verification` is C-ECHO, `storage` is C-STORE, `sending` is whole jobs of it, `server` takes them all.
"""
