"""Detectors of people: files of ONNX and OpenVINO in the conventions that are in use."""
