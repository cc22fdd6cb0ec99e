"""An archive: storage, query, retrieval and commitment over an index and a folder of files."""
