"""The command line: parse arguments, call the packages, print, return a status."""
