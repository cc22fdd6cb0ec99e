"""Where the files of an archive belong. Pure, but for random names.

1. The usual place of an instance is `studies/{study}/{series}/{instance}.dcm` in the data folder, each by its UID. The
   index has no path for it, so that the folder can be moved.
2. Any other place is in the index: relative to the data folder, or absolute for a file that is not ours.
3. An instance that replaces another one, or that is set aside, gets a name that is never used again: a reader may be
   about to open the old file, and a job about to delete it.
"""

from __future__ import annotations

import secrets
from pathlib import Path


def place(data: Path, study_uid: str, series_uid: str, uid: str, path: str | None = None) -> Path:
    """Where the file of an instance belongs, in the data folder `data`; `path` is that of its row.

    >>> place(Path("/srv"), "1.2", "1.2.3", "1.2.3.4").as_posix()
    '/srv/studies/1.2/1.2.3/1.2.3.4.dcm'
    """
    return data / (path or usual_path(study_uid, series_uid, uid))


def usual_path(study_uid: str, series_uid: str, uid: str) -> str:
    """The usual place of an instance, relative to the data folder."""
    return f"studies/{study_uid}/{series_uid}/{uid}.dcm"


def replacing_path(study_uid: str, series_uid: str, uid: str) -> str:
    """A new place for an instance that replaces another one."""
    return f"studies/{study_uid}/{series_uid}/{uid}-{secrets.token_hex(8)}.dcm"


def set_aside_path(uid: str) -> str:
    """A new place for an instance that is set aside."""
    return f"set-aside/{uid}-{secrets.token_hex(8)}.dcm"


def is_ours(path: str) -> bool:
    """Whether a file is the archive's to move and to delete: one that was adopted in place is not."""
    return not Path(path).is_absolute()
