"""A trained generator in whatever form it is: Keras, SavedModel, LiteRT, or behind a server.

Each gives the same picture for the same picture; only quantised LiteRT files differ, within
their limits.
"""
