"""PS3.4: the service classes, SCU and SCP of a service on the same page; of C-STORE on one page each.

`verification` is C-ECHO, `store_scu`, `store_scp` and `store_request` are C-STORE, `sending` is whole jobs of it,
`server` takes them all.
"""
