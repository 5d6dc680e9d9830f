"""Data sets in shards: many images to a file, on a disk or at a URL, listed in columns and read piece by piece."""
