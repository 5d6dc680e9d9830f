"""Other projects' weights: layouts of keys as data, recognised by the keys alone, made a network of reidkit's."""
