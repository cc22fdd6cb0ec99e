"""The version of the library: the build, the command line and the Implementation Version Name read it from here."""

__version__ = "0.1.0"
