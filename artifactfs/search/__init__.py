"""Searching a store: over its inventory, or by a scan of all of it, which gives the same answers."""
