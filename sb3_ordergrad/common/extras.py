"""The optional dependencies of setup.py, which a user may not have installed."""


def install_hint(extra: str) -> str:
    """
    The command that installs an extra (a key of ``extras_require``), for the root folder of the checkout: no registry has the
    package.
    """
    return f'pip install -c constraints.txt ".[{extra}]"'
