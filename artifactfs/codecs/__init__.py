"""How the bytes of a version are stored: as they are, or sealed."""
