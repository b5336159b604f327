"""The commands of the command line, one a module: what can be typed, and what is printed."""
