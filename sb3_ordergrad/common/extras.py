"""The optional dependencies of setup.py, which a user may not have installed."""


def install_hint(extra: str) -> str:
    """
    The command that installs an extra. The package is installed from a checkout: no registry has it.

    :param extra: a key of ``extras_require`` in setup.py, e.g. ``"plots"``
    :return: a shell command, to be run in the root folder of the checkout
    """
    return f'pip install -c constraints.txt ".[{extra}]"'
