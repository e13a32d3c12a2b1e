"""What ``import sb3_ordergrad`` brings beyond ``import stable_baselines3``; benchmarks/import_time.py has the times."""

import subprocess
import sys
from pathlib import Path

from repository import ROOT


def test_import_brings_no_package_that_sb3_does_not(tmp_path: Path) -> None:
    code = (
        "import sys; import stable_baselines3; before = set(sys.modules); import sb3_ordergrad; "
        "print(*sorted(name for name in set(sys.modules) - before if name.startswith('sb3_ordergrad.') or '.' not in name))"
    )
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    added = set(result.stdout.split())
    assert "sb3_ordergrad.order_ppo" in added
    heavy = {"matplotlib", "pandas", "rl_zoo3", "optuna", "scipy", "sb3_contrib", "joblib", "yaml", "mujoco"}
    assert not added & heavy
    assert not added & {f"sb3_ordergrad.{room}" for room in ("evaluation", "compare", "zoo")}
