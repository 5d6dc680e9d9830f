"""From a folder to batches of images."""
