"""Tensors in, tensors out. Imports neither FiftyOne nor CVAT nor the command line, and opens no connection."""
