"""A path of 0.1.2: kinds of producers."""
