"""The tests of the zoo need its extra (`make install` has it)."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("rl_zoo3") else ["test_*.py"]
