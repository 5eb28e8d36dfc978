"""Simulated streams to train on, and rendered videos for the demo."""
