"""Frames to unit vectors: OpenCLIP and the offline model behind one protocol."""
