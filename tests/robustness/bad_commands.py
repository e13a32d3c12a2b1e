"""A hundred bad command lines: exit status 2, a message that names what is wrong, no traceback, nothing trained."""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from repository import EXAMPLES, load_script
from robustness.compare_runs import environment
from robustness.parts import Part, limits

from sb3_ordergrad.compare import command as compare
from sb3_ordergrad.zoo import cli as zoo


class BadCommand(NamedTuple):
    """
    :param program: ``"compare"``, ``"zoo"`` or the name of an example
    :param options: its options; they come after those that make a small comparison
    :param message: what the message has to hold
    :param files: content of files in the current folder, by their names
    """

    program: str
    options: Sequence[str]
    message: str
    files: dict[str, str] = {}  # noqa: RUF012


def _compare(options: str, message: str, files: dict[str, str] | None = None) -> BadCommand:
    """Options are separated by blanks."""
    return BadCommand("compare", options.split(), message, files or {})


def _package(content: str) -> BadCommand:
    """A package of environments that does not import."""
    return _compare("--env some_package:Env-v0", "some_package", {"some_package.py": content})


def _yaml(text: str, message: str) -> BadCommand:
    """A bad entry of ``orderppo.yml``."""
    return BadCommand("compare", ["--conf-dir", "."], message, {"orderppo.yml": text, "ppo.yml": "default: {}\n"})


def _entry(entry: str, message: str) -> BadCommand:
    """A bad hyperparameter in ``orderppo.yml``."""
    return _yaml(f"default:\n  n_envs: 2\n  {entry}\n", message)


# An environment that needs a package which is not installed
LACKING = """
import gymnasium as gym

def make(**kwargs):
    raise gym.error.DependencyNotInstalled("pip install simulator")

gym.register("Lacks-v0", make)
"""

COMMANDS: list[BadCommand] = [
    # options that do not exist or lack a value
    _compare("--no-such-option", "--no-such-option"),
    _compare("--seeds", "--seeds"),
    _compare("--seeds many", "many"),
    _compare("--seeds 1.5", "1.5"),
    _compare("--steps many", "many"),
    _compare("--n-jobs two", "two"),
    _compare("--eval-episodes x", "'x'"),
    _compare("--backend cloud", "cloud"),
    _compare("--return-to-date maybe", "maybe"),
    _compare("surplus", "surplus"),
    _compare("--seeds 2 --seed-list 1 2", "--seed-list"),
    # numbers out of range
    _compare("--seeds 0", "--seeds 0 must be a number in 1 ... 4294967295"),
    _compare("--seeds -3", "--seeds -3"),
    _compare("--seed-list -1", "--seed-list -1 must be a number in 0 ... 4294967295"),
    _compare("--seed-list 1 4294967296", "--seed-list 4294967296 must be a number in 0 ... 4294967295"),
    _compare("--seed-list 1 99999999999999999999", "99999999999999999999"),
    _compare("--steps 0", "--steps 0.0 must be a number >= 1"),
    _compare("--steps -1000", "--steps -1000"),
    _compare("--steps nan", "--steps nan must be a number >= 1"),
    _compare("--steps inf", "--steps inf"),
    _compare("--steps 10.5", "--steps 10.5 must be a whole number >= 1"),
    _compare("--n-jobs 0", "--n-jobs 0 must be a number >= 1"),
    _compare("--n-jobs -1", "--n-jobs -1"),
    _compare("--eval-episodes 7", "--eval-episodes 7 must be a number >= 8"),
    _compare("--eval-episodes -8", "--eval-episodes -8"),
    # clusters
    _compare("--backend dask", "--backend dask needs --scheduler ADDRESS"),
    _compare("--scheduler tcp://127.0.0.1:1", "--scheduler tcp://127.0.0.1:1 needs --backend dask"),
    _compare("--backend dask --scheduler nonsense", "nonsense"),
    # algorithms and objectives
    _compare("--algos", "--algos"),
    _compare("--algos orderpp", "--algos orderpp is unknown: did you mean 'orderppo'"),
    _compare("--algos OrderPPO", "OrderPPO"),
    _compare("--algos orderppo dqn", "dqn"),
    BadCommand("compare", ["--algos", ""], "--algos"),
    _compare("--objectives", "--objectives"),
    _compare("--objectives cvar", "cvar"),
    _compare("--objectives cvar:0", "cvar:0"),
    _compare("--objectives cvar:2", "cvar:2"),
    _compare("--objectives mean cvra:0.1", "cvra"),
    _compare("--objectives rank:1000000000", "rank:1000000000"),
    _compare("--objectives -cvar", "-cvar"),
    _compare("--objectives -gini -h0", "-h0"),
    _compare("--objectives remac.max", "remac"),
    _compare("--objectives orderppo.", "objective"),
    _compare("--algos ppo --objectives cvar:0.1", "ppo"),
    _compare("--algos ppo orderppo --objectives ppo.cvar:0.1", "ppo"),
    _compare("--objectives -gini --params batch_size:1", "orderppo with -gini on CartPole-v1 cannot be built"),
    _compare("--algos sac", "sac.yml"),
    BadCommand("compare", ["--algos", "remac"], "CartPole-v1", {"settings/remac.yml": "default: {}\n"}),
    BadCommand("compare", ["--objectives", ""], "objective"),
    BadCommand("compare", ["--objectives", "(" * 3000 + "mean" + ")" * 3000], "(((("),
    # environments
    _compare("--env CartPol-v1", "--env CartPol-v1 is unknown: did you mean 'CartPole-v1'"),
    _compare("--env CartPole-v99", "CartPole-v99"),
    _compare("--env no_such_package:Env-v0", "cannot import 'no_such_package' (ModuleNotFoundError"),
    _compare("--env sb3_ordergrad:NoSuch-v0", "NoSuch-v0"),
    _compare("--env sb3_ordergrad:CartPol-v1", "--env sb3_ordergrad:CartPol-v1 is unknown: did you mean 'CartPole-v1'"),
    _compare(
        "--env some_package:Lacks-v0",
        "cannot be built: DependencyNotInstalled: pip install simulator",
        {"some_package.py": LACKING},
    ),
    _package("import no_such_dependency\n"),
    _package("raise RuntimeError('no')\n"),
    _package("def\n"),
    _package(""),
    _compare("--env :", "--env :"),
    _compare("--env ../CartPole-v1", "../CartPole-v1"),
    _compare("--env FrozenLake-v1:", "FrozenLake-v1:"),
    BadCommand("compare", ["--env", ""], "--env"),
    # hyperparameters
    _compare("--params", "--params"),
    _compare("--params gamma", "gamma"),
    _compare("--params gamma:", "gamma"),
    _compare("--params :1", ":1"),
    _compare("--params gama:1", "did you mean 'gamma'"),
    _compare("--params remac.k:4", "remac"),
    _compare("--params seed:1", "seed"),
    _compare("--params env:CartPole-v1", "env"),
    _compare("--params objective:max", "objective"),
    _compare("--params n_timesteps:5", "n_timesteps"),
    _compare("--params k:8", "group_size"),
    _compare("--params k:0", "0"),
    _compare("--params k:nan", "nan"),
    _compare("--params k:1000000000", "1000000000"),
    _compare("--params credit:foo", "foo"),
    _compare("--params group_size:1", "1"),
    _compare("--params value_scale:-1", "-1"),
    _compare("--params gamma:high", "high"),
    _compare("--params learning_rate:fast", "fast"),
    _compare("--params learning_rate:lin_fast", "lin_fast"),
    _compare("--params n_envs:0", "0"),
    _compare("--params n_envs:two", "two"),
    _compare("--params n_envs:1.5", "1.5"),
    _compare("--params n_steps:0", "n_steps"),
    _compare("--params n_steps:-16", "-16"),
    _compare("--params n_steps:many", "n_steps = 'many' of OrderPPO must be of type int"),
    _compare("--params orderppo.anneal:abc", "anneal = 'abc' of OrderPPO must be of type float"),
    _compare("--params learning_rate:[1]", "learning_rate = [1] of OrderPPO must be of type float or schedule"),
    _compare("--params batch_size:0", "batch_size"),
    _compare("--params batch_size:1", "cannot be built"),
    _compare("--params normalize:7", "7"),
    _compare("--params normalize:[1]", "[1]"),
    _compare("--params normalize:dict(no_such=1)", "no_such"),
    _compare("--params policy:NoSuchPolicy", "NoSuchPolicy"),
    _compare("--params policy_kwargs:dict(no_such=1)", "no_such"),
    _compare("--params policy_kwargs:dict(", "dict("),
    _compare("--params policy_kwargs:7", "policy_kwargs = 7"),
    _compare("--params env_wrapper:no.Such", "Cannot import 'no.Such'"),
    _compare("--params env_wrapper:7", "7"),
    _compare("--params env_kwargs:dict(no_such=1)", "cannot be built: TypeError"),
    _compare("--params env_kwargs:[1]", "env_kwargs = [1]"),
    _compare("--params frame_stack:4", "frame_stack"),
    # YAML files
    _compare("--conf-dir no-such-folder", "no-such-folder"),
    _yaml("", "orderppo"),
    _yaml("Pendulum-v1: {}\n", "CartPole-v1"),
    _yaml("default: [\n", "orderppo.yml"),
    _yaml("default:\n\tn_envs: 1\n", "orderppo.yml"),
    _yaml("- default\n", "orderppo.yml"),
    _yaml("just words\n", "orderppo.yml"),
    _yaml("default: 7\n", "orderppo.yml"),
    _yaml("default: !!python/object/apply:os.getcwd []\n", "orderppo.yml"),
    _yaml("default: \x00\n", "orderppo.yml"),
    _entry("n_steps: 2024-01-01", "n_steps: Object of type date"),
    _entry("7: 8", "7: the name"),
    _entry("no_such: 8", "no_such"),
    _entry("n_envs: .nan", "nan"),
    _entry("n_envs: true", "True"),
    _entry("learning_rate: [1]", "[1]"),
    _entry("normalize: 'dict('", "dict("),
    _entry("env_wrapper: {}", "env_wrapper"),
    # folders
    _compare("--out settings/orderppo.yml", "--out settings/orderppo.yml cannot be written"),
    _compare("--out mine", "--out mine cannot be written", {"mine/runs": "a file"}),
    _compare("--out mine", "--out mine cannot be written", {"mine/.compare.lock/file": "in a folder"}),
    _compare("--out /proc", "/proc"),
    _compare("--out mine", "contains returns.csv, which this command did not write", {"mine/returns.csv": "mine"}),
    *(
        _compare("--out mine", "contains table.md, compare.json, which", {"mine/table.md": "mine", "mine/compare.json": text})
        for text in ("{}", '{"runs": []}', '{"command": "make", "runs": []}', "[]", "compare")
    ),
    BadCommand("compare", ["--out", ""], "argument --out: the name of the folder is empty"),
    # the zoo
    BadCommand("zoo", [], "script"),
    BadCommand("zoo", ["no-such-script"], "no-such-script"),
    BadCommand("zoo", ["train", "--no-such-option"], "--no-such-option"),
    BadCommand("zoo", ["train", "--algo", "no-such"], "no-such"),
    BadCommand("zoo", ["train", "--n-timesteps", "many"], "many"),
    BadCommand("zoo", ["train", "--tune-objective"], "--tune-objective"),
    BadCommand("zoo", ["enjoy", "--algo", "no-such"], "no-such"),
    # the examples
    BadCommand("custom_lstatistic", ["--seeds", "0"], "--seeds 0 must be at least 1"),
    BadCommand("custom_lstatistic", ["--steps", "x"], "x"),
    BadCommand("custom_lstatistic", ["--no-such"], "--no-such"),
    BadCommand("best_of_k_discovery", ["--steps", "-5"], "--steps -5 must be at least 1"),
    BadCommand("robust_to_outliers", ["--n-jobs", "0"], "--n-jobs 0 must be at least 1"),
    BadCommand("risk_averse_mujoco", ["--out", "picture.pdf"], "must be a .png file"),
    BadCommand("advantages_for_llm_groups", ["--out", "mine.png"], "exists and is not replaced", {"mine.png": "mine"}),
    BadCommand("advantages_for_llm_groups", ["--out", ""], "--out"),
    BadCommand("advantages_for_llm_groups", ["--steps", "5"], "--steps"),
]
SETTINGS = "default:\n  n_envs: 2\n  n_steps: 16\n  batch_size: 16\n  k: 4\n  group_size: 8\n"
MAX_SECONDS, MAX_MEGABYTES = 30.0, 1000
_KINDS = [command.program if command.program in ("compare", "zoo") else "example" for command in COMMANDS]
# Numbers of the commands that start a process: the first of each kind
IN_A_PROCESS = {_KINDS.index(kind) for kind in _KINDS}


def _write(folder: Path, command: BadCommand) -> None:
    names = {"settings/orderppo.yml": SETTINGS, "settings/ppo.yml": "default: {}\n", **command.files}
    for name, text in names.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _arguments(command: BadCommand) -> list[str]:
    if command.program != "compare":
        return list(command.options)
    small = ["--env", "CartPole-v1", "--seeds", "1", "--steps", "64", "--n-jobs", "1", "--eval-episodes", "8"]
    # An option that is given twice counts once, but these two exclude each other
    kept = small[:2] + small[4:] if "--seed-list" in command.options and "--seeds" not in command.options else small
    return [*kept, "--conf-dir", "settings", "--out", "out", *command.options]


def _main(program: str) -> Callable[[list[str]], Any]:
    if program == "compare":
        return compare.main
    return zoo.main if program == "zoo" else load_script(EXAMPLES / f"{program}.py").main


@contextlib.contextmanager
def _inside(folder: Path) -> Any:
    """With the folder as the current one and in the path of imports, and the process as it was afterwards."""
    before, path, argv, modules = Path.cwd(), list(sys.path), list(sys.argv), set(sys.modules)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:], sys.argv[:] = path, argv
        for name in set(sys.modules) - modules:
            if name == "some_package":
                del sys.modules[name]


def run(command: BadCommand, folder: Path) -> tuple[Any, str]:
    """Exit status, and what it said on standard error."""
    _write(folder, command)
    errors = io.StringIO()
    with _inside(folder), contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            with limits(MAX_SECONDS, MAX_MEGABYTES):
                status = _main(command.program)(_arguments(command))
        except SystemExit as error:
            status = error.code
    return status, errors.getvalue()


def run_in_a_process(command: BadCommand, folder: Path) -> tuple[int, str]:
    """Exit status, and what it said on standard error."""
    _write(folder, command)
    is_example = command.program not in ("compare", "zoo")
    program = [str(EXAMPLES / f"{command.program}.py")] if is_example else ["-m", f"sb3_ordergrad.{command.program}"]
    whole = [sys.executable, *program, *_arguments(command)]
    # A process inherits the limit on memory, which leaves room for what both import
    with limits(MAX_SECONDS, MAX_MEGABYTES):
        result = subprocess.run(whole, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120)
    return result.returncode, result.stderr


def check(seed: int, number: int) -> dict[str, int]:
    number %= len(COMMANDS)
    command = COMMANDS[number]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        status, errors = (run_in_a_process if number in IN_A_PROCESS else run)(command, folder)
        assert status == 2, f"exit status {status}: {errors[-500:]}"
        message = errors.rpartition("error:")[2]
        assert command.message in message, f"{command.message!r} is not in the message: {message}"
        assert "Traceback" not in errors, errors
        assert not list(folder.rglob("runs/*")), "something was trained"
        for path, text in command.files.items():
            assert (folder / path).read_text() == text, f"{path} was changed"
    return {"refused": 1}


def describe(seed: int, number: int) -> str:
    return str(COMMANDS[number % len(COMMANDS)])[:400]


PART = Part("bad commands", describe, check, sample=len(COMMANDS))
