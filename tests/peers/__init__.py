"""Runs against other people's software: DCMTK, Orthanc and pynetdicom."""
