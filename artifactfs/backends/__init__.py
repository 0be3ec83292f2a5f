"""The stores that artifacts can live in, one module each, behind the protocol of `artifactfs.backends.base`."""
