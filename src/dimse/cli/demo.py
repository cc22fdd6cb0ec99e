"""demo"""

EXIT_CODES = "x"


def demo() -> int:
    """demo"""
    return 0
