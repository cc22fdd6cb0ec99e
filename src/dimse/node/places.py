"""Where the files of an archive belong. Pure.

1. The usual place of an instance is `studies/{study}/{series}/{instance}.dcm` in the data folder, each by its UID. The
   index has no path for it, so that the folder can be moved.
2. Any other place is in the index: relative to the data folder, or absolute for a file that is not ours.
"""

from __future__ import annotations

from pathlib import Path


def place(data: Path, study_uid: str, series_uid: str, uid: str, path: str | None = None) -> Path:
    """Where the file of an instance belongs, in the data folder `data`; `path` is that of its row.

    >>> place(Path("/srv"), "1.2", "1.2.3", "1.2.3.4").as_posix()
    '/srv/studies/1.2/1.2.3/1.2.3.4.dcm'
    """
    return data / (path or f"studies/{study_uid}/{series_uid}/{uid}.dcm")
