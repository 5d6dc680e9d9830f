"""Ways to put ranked lists in order again, each in a file of its own: features in, distances out."""
