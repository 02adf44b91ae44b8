"""The API of unistream 0.1.2, on this engine: docs/coming-from-0.1.2.md.

Programs find it at the paths that it had (`unistream.api`, `unistream.producer`, ...), which are thin modules over
these. Nothing here is loaded until one of them is asked for, and the engine knows nothing of it.

The producer half puts records into a buffer of this engine. The consumer half is 0.1.2's idea of one, in Python alone:
it reads a stream, calls the program for each record, and keeps in files how far it is.
"""
