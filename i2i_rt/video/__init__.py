"""Frames from files, cameras and streams, through a translator, to files and windows. BGR exists only here."""
