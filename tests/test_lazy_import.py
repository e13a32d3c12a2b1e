"""What an import of the package loads and registers, in fresh interpreters; benchmarks/import_time.py measures the time."""

import subprocess
import sys
from pathlib import Path

import pytest
from repository import OPTIONAL_PACKAGES, ROOT

LOADED = "print(*sorted(name for name in sys.modules if name.startswith('sb3_ordergrad.') or '.' not in name))"


def run(code: str, folder: Path) -> str:
    """The output of a fresh interpreter that finds this checkout's package."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_the_package_is_light_and_silent(tmp_path: Path) -> None:
    """It loads no optional package, prints nothing, gives no warning of its own, and leaves no file."""
    code = "import warnings; warnings.filterwarnings('error', module='sb3_ordergrad'); import sb3_ordergrad; print('loaded'); "
    first, *loaded = run(code + LOADED, tmp_path).split()
    assert first == "loaded" and not OPTIONAL_PACKAGES & set(loaded)
    assert list(tmp_path.iterdir()) == []


def test_the_mathematics_loads_no_reinforcement_learning(tmp_path: Path) -> None:
    code = "from sb3_ordergrad.lstatistics import LStatistic; print(LStatistic(8, 2, 'mean').value([1.0] * 8)); " + LOADED
    value, *loaded = run(code, tmp_path).split()
    assert value == "1.0"
    assert {"numpy", "torch"} <= set(loaded)
    heavy = {"stable_baselines3", "gymnasium", "tensorboard", "scipy", "sb3_ordergrad.envs", "sb3_ordergrad.common"}
    assert not heavy & set(loaded)


def test_algorithms_load_no_package_that_sb3_does_not(tmp_path: Path) -> None:
    code = "import stable_baselines3; before = set(sys.modules); from sb3_ordergrad import OrderA2C, OrderPPO, ReMAC, RePPO; "
    added = set(run(code + LOADED.replace("sys.modules", "set(sys.modules) - before"), tmp_path).split())
    assert "sb3_ordergrad.order_ppo" in added
    heavy = {"matplotlib", "pandas", "rl_zoo3", "optuna", "scipy", "sb3_contrib", "joblib", "yaml", "mujoco"}
    assert not added & heavy
    assert not added & {f"sb3_ordergrad.{name}" for name in ("evaluation", "compare", "zoo")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import sb3_ordergrad, gymnasium; gymnasium.make(env_id)",
        "import gymnasium, sb3_ordergrad; gymnasium.make(env_id)",
        "import sb3_ordergrad.lstatistics, gymnasium; gymnasium.make(env_id)",
        "import gymnasium; gymnasium.make(f'sb3_ordergrad:{env_id}')",
        # A check whether gymnasium is installed must not use up the import hook
        "import sb3_ordergrad, importlib.util as util; util.find_spec('gymnasium'); import gymnasium as gym; gym.make(env_id)",
        "import sb3_ordergrad; from stable_baselines3 import A2C; A2C('MlpPolicy', env_id)",
        "from sb3_ordergrad import OrderA2C; OrderA2C('MlpPolicy', env_id).save('model'); OrderA2C.load('model')",
        "import sb3_ordergrad; sb3_ordergrad.envs.register_envs(); import gymnasium; gymnasium.make(env_id)",
    ],
)
def test_environments_are_registered(code: str, tmp_path: Path) -> None:
    warnings = "import warnings; warnings.simplefilter('error', UserWarning); "
    assert run(f"{warnings}env_id = 'BettingGame-v0'; {code}; print('done')", tmp_path) == "done\n"


def test_top_level_names(tmp_path: Path) -> None:
    code = (
        "import pickle, sb3_ordergrad as package; "
        "names = {*package.__all__, 'envs', 'lstatistics', 'evaluation'}; assert names <= set(dir(package)); "
        "assert package.lstatistics.LStatistic and package.evaluation; assert not hasattr(package, 'nothing'); "
        "assert pickle.loads(pickle.dumps(package.OrderPPO)) is package.OrderPPO; "
        "from sb3_ordergrad import *; assert OrderPPO is package.OrderPPO and ReMAC and RePPO and OrderA2C; print(__version__)"
    )
    assert run(code, tmp_path).strip() == (ROOT / "sb3_ordergrad" / "version.txt").read_text().strip()
