"""Backbones: images to one feature map."""
