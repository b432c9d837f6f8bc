"""What one would use instead of this system, each with this system's decoding, tiling and encoding around the same weights."""
