"""The network: backbone, neck and weights."""
