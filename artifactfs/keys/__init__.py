"""The keys that wrap data keys: from text, from a file, or from whoever keeps them."""
