"""The commit protocol, written once: generators of storage operations that any driver can run.

A step is a tuple of operations that are independent of each other; a driver performs them, at once where it can, and
sends their answers back. So the synchronous store, the asynchronous store and the simulator share every line.
"""
