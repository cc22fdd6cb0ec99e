"""asyncio: the only room with sockets, tasks, TLS and clocks.

`connection` moves bytes between a transport and the upper layer machine, `association` moves messages,
`client` opens associations and `server` takes them.
"""
