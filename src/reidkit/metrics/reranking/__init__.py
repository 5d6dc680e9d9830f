"""Re-ranking methods, each in a file of its own: features in, distances out."""
