"""Keras layers and tensor functions that detectors and backbones are made of."""
