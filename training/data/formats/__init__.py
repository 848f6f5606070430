"""Readers, one a data format: each brings its annotations into the form of `dataset`."""
