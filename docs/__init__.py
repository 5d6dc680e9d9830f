"""Programs that draw and write parts of the documentation."""
