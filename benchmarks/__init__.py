"""This package and plain PyTorch at the same work; see README.md."""
