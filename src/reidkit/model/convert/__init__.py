"""Other projects' weights: key layouts as data, recognised by the keys alone and converted to a reidkit network."""
