"""Plain peers of the library's products, written for the benchmark; the package never imports them.

Every module has a class `Peer` with the methods of :class:`peers.contract.Peer`.
"""
