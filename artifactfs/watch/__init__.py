"""Watching a scope or a store: every new version and every deletion told once, resumable by a token."""
