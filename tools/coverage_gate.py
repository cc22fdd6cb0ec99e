"""Fail where tests cover too little of `src/dimse`: in all, and of each module by the test file of its name.

Where a module is covered only by the tests of others, nobody knows where to look when it breaks. So `network/window.py`
has to be covered by `tests/network/test_window.py`. Modules without a test file of their name count in the total only,
and so do `cli/` and `demo/`, whose tests start processes. `make coverage` runs this.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from coverage import Coverage, CoverageData

ROOT: Final = Path(__file__).parent.parent
SOURCE: Final = ROOT / "src" / "dimse"
IN_TOTAL: Final = 96
BY_ITS_OWN_TESTS: Final = 75
LOWER: Final = {
    "dataset/streams.py": 38,  # the streams of callers: services/test_given.py and test_collecting.py
    "dataset/texts.py": 61,  # the texts of each character set: test_character_sets.py
    "dataset/threads.py": 38,  # file access: test_sources.py and the services
    "network/incoming_data.py": 43,  # a data set that arrives: test_operations.py and the services
    "network/incoming_request.py": 60,  # responses to a peer: the services
    "network/sender.py": 57,  # data sets as streams: test_invoking.py and the services
    "pytest_plugin.py": 55,  # its tests run it in a pytest of their own
    "services/incoming_dataset.py": 71,  # a whole C-STORE: test_store_request.py and test_store_scp.py
    "uids.py": 70,  # names and kinds of SOP classes: the services
}
"""Modules whose own tests cover less; these limits may only rise."""
TESTED_IN_PROCESSES: Final = ("cli", "demo")


def share(covered: int, all_lines: int) -> float:
    return 100 * covered / all_lines if all_lines else 100.0


def lines_covered_by(data: CoverageData, module: Path, test: str | None) -> set[int]:
    """The lines of `module` that ran in a test file, or on import; by any test if `test` is None."""
    lines = data.contexts_by_lineno(str(module))
    if test is None:
        return set(lines)
    return {
        line
        for line, contexts in lines.items()
        if any(context.endswith(("|import", f"|{test}")) for context in contexts)
    }


def main() -> int:
    measured = Coverage(config_file=str(ROOT / "pyproject.toml"))
    measured.load()
    data = measured.get_data()
    covered = statements = 0
    too_low: list[str] = []
    for module in sorted(SOURCE.rglob("*.py")):
        name = module.relative_to(SOURCE)
        _, lines, *_ = measured.analysis2(str(module))
        executable = set(lines)
        by_any = lines_covered_by(data, module, None) & executable
        covered, statements = covered + len(by_any), statements + len(executable)
        test = ROOT / "tests" / name.parent / f"test_{name.name}"
        own = ""
        if test.exists() and name.parts[0] not in TESTED_IN_PROCESSES:
            by_its_own = lines_covered_by(data, module, test.relative_to(ROOT).as_posix()) & executable
            percent = share(len(by_its_own), len(executable))
            own = f"{percent:.0f}"
            limit = LOWER.get(name.as_posix(), BY_ITS_OWN_TESTS)
            if percent < limit:
                too_low.append(f"{name.as_posix()}: {percent:.1f} % by its own tests, not {limit} %")
        sys.stdout.write(f"{name.as_posix():44} {share(len(by_any), len(executable)):4.0f} {own:>4}\n")
    total = share(covered, statements)
    sys.stdout.write(f"{'total':44} {total:6.1f} %\n")
    if total < IN_TOTAL:
        too_low.append(f"{total:.1f} % in total, not {IN_TOTAL} %")
    sys.stderr.write("".join(f"{line}\n" for line in too_low))
    return 1 if too_low else 0


if __name__ == "__main__":
    sys.exit(main())
