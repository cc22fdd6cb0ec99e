"""The documentation site: `make docs` builds it into build/docs; each warning is an error."""

import inspect
import re
from pathlib import Path
from typing import Final

from sphinx.application import Sphinx
from sphinx.util import logging

import dimse
from dimse.network import application_entity, client

DOCS: Final = Path(__file__).parent
ROOT: Final = DOCS.parent
ON_THE_FORGE: Final = "https://github.com/dimse/dimse/blob/main/"

project = "dimse"
author = "The dimse developers"
copyright = f"{author}, MIT license"  # noqa: A001 - Sphinx's name
version = release = dimse.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "index"
exclude_patterns = ["_build"]

myst_heading_anchors = 4
myst_enable_extensions = ["fieldlist"]

# Docstrings name code between single backticks. Where that is an object of this reference, it becomes a link.
default_role = "py:obj"
autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "undoc-members": True,
    "exclude-members": "layout, mandatory",
    "inherited-members": "BaseException,ExceptionGroup,Exception,Enum,IntEnum,StrEnum,ReprEnum,int,str,tuple,object",
}
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
add_module_names = False
maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"


html_theme = "furo"
html_title = f"dimse {release}"
html_static_path: list[str] = []
html_theme_options = {
    "source_repository": "https://github.com/dimse/dimse/",
    "source_branch": "main",
    "source_directory": "docs/",
}

_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


def _link_for_the_site(target: str, file: Path) -> str:
    """A link of `file`, as the site needs it: pages by path, other files of the repository on the forge."""
    name, anchor = re.fullmatch(r"([^#]*)(#.*)?", target, flags=re.DOTALL).groups("")  # type: ignore[union-attr] # matches all
    if name.startswith(ON_THE_FORGE):
        path = ROOT / name.removeprefix(ON_THE_FORGE)
    elif not name or "://" in name or name.startswith("mailto:"):
        return target
    else:
        path = (file.parent / name).resolve()
    if path.is_relative_to(DOCS) and path.is_file():
        return f"/{path.relative_to(DOCS).as_posix()}{anchor}"
    return f"{ON_THE_FORGE}{path.relative_to(ROOT).as_posix()}{anchor}"


def _adapt_links(text: str, file: Path) -> str:
    return _LINK.sub(lambda match: f"]({_link_for_the_site(match[1], file)})", text)


def _documented_nowhere() -> list[str]:
    pages = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    return [name for name in dimse.__all__ if not re.search(rf":: dimse\.{name}\b", pages)]


def _directive_for(name: str) -> str:
    value = getattr(dimse, name)
    kind = "class" if inspect.isclass(value) else "function" if inspect.isfunction(value) else "data"
    return f".. auto{kind}:: dimse.{name}\n"


def _adapt_page(app: Sphinx, name: str, content: list[str]) -> None:
    content[0] = _adapt_links(content[0], Path(app.env.doc2path(name)))
    if name == "reference/types":
        content[0] = content[0].replace("(the rest)", "".join(map(_directive_for, _documented_nowhere())))


def _adapt_include(_app: Sphinx, path: Path, _parent: str, content: list[str]) -> None:
    content[0] = _adapt_links(content[0], (DOCS / path).resolve())


def _check_reference(app: Sphinx, error: Exception | None) -> None:
    """Warn of public names that the built reference lacks."""
    if error is None:
        pages = "".join(page.read_text(encoding="utf-8") for page in (Path(app.outdir) / "reference").glob("*.html"))
        for name in dimse.__all__:
            if f'id="dimse.{name}"' not in pages:
                logging.getLogger(__name__).warning("dimse.%s is not in the reference", name)


def setup(app: Sphinx) -> None:
    # Imported for type checkers alone: without it, autodoc cannot tell which `Association` these functions return.
    vars(client)["Server"] = vars(application_entity)["Server"] = dimse.Server
    app.connect("source-read", _adapt_page)
    app.connect("include-read", _adapt_include)
    app.connect("build-finished", _check_reference)
