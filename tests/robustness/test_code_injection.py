"""No text in a YAML file, on a command line, in a CSV or a JSON file can run code."""

import csv
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch as th
import yaml
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

from sb3_ordergrad import OrderPPO
from sb3_ordergrad.compare import command, settings
from sb3_ordergrad.compare.literals import parse_literal
from sb3_ordergrad.evaluation import ReturnDistribution
from sb3_ordergrad.lstatistics import parse_objective
from sb3_ordergrad.zoo import cli

CODE = "__import__('os').mkdir('attacked')"
# If it is evaluated, each leaves the folder `attacked`, exhausts memory or time, or reaches objects that lead to code
ATTACKS = [
    CODE,
    "eval(\"__import__('os').mkdir('attacked')\")",
    "exec('import os; os.mkdir(\"attacked\")')",
    "open('attacked', 'w')",
    "print(1)",
    "th.os.mkdir('attacked')",
    "th.os.system('mkdir attacked')",
    "torch.hub.load('a/b', 'c')",
    "th.load('model.zip')",
    "nn.Module.__init__.__globals__",
    "nn.Module.__init__.__globals__['__builtins__']['eval']('1')",
    "nn.Module.__subclasses__()",
    "nn.Module.__subclasses__",
    "nn.Module()",
    "nn.Linear(10**9, 10**9)",
    "nn.Parameter",
    "nn.functional.relu",
    "nn.functional",
    "nn.modules.module.warnings",
    "nn.init.math",
    "nn.__builtins__",
    "nn.__dict__",
    "nn.__loader__",
    "th.nn.utils",
    "th.os",
    "th.optim.Optimizer.__init__",
    "th.optim.lr_scheduler.math",
    "th.utils.data.DataLoader",
    "HerReplayBuffer.__init__.__globals__",
    "().__class__.__base__.__subclasses__()",
    "[].__class__",
    "''.join",
    "'{0.__class__}'.format(1)",
    "'a' % ()",
    f"[{CODE} for _ in (1,)]",
    f"{{{CODE} for _ in (1,)}}",
    f"{{1: {CODE} for _ in (1,)}}",
    f"({CODE} for _ in (1,))",
    f"[*[{CODE}]]",
    f"{{**{{'a': {CODE}}}}}",
    f"dict(**{{'a': {CODE}}})",
    f"dict(*[[('a', {CODE})]])",
    f"dict([('a', {CODE})])",
    f"dict(a={CODE})",
    "dict(a=dict)",
    "dict.fromkeys('ab')",
    "dict.__subclasses__()",
    "dict",
    "(dict)(a=1)(b=2)",
    f"(lambda: {CODE})()",
    f"lambda: {CODE}",
    f"(x := {CODE})",
    f"1 if {CODE} else 2",
    f"1 or {CODE}",
    f"1 < {CODE}",
    f"not {CODE}",
    f"f'{{{CODE}}}'",
    f'f"{{dict(a={CODE})}}"',
    f"[1, 2][{CODE}]",
    "[1, 2][0]",
    "(1, 2)[0:1]",
    "9**9**9",
    "10**10",
    "1 << 10**10",
    "'a' * 10**10",
    "[0] * 10**10",
    "1 + 1",
    "-(-1)",
    "~1",
    "--1",
    "1j",
    "b'bytes'",
    "...",
    "{1, 2}",
    "{[1]: 2}",
    "await x",
    "yield",
    "import os",
    "a = 1",
    "1; 2",
    f"1\n{CODE}",
    "",
    " ",
    "\0",
    "[" * 3000 + "]" * 3000,
    "(" * 9000,
    "-" * 9000 + "1",
    "nn" + ".nn" * 3000,
    "dict(a=" * 1000 + "1" + ")" * 1000,
    "1" * 9000,
    "'" + "a" * 10_001 + "'",
    "nn .ReLU.forward",
    "print",
    "__builtins__",
    "__import__",
    "None.__class__",
    "%(a)s",
    "!!python/object/apply:os.mkdir [attacked]",
    "${USER}",
    "$(mkdir attacked)",
]


@pytest.fixture(autouse=True)
def _untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs in an empty folder, and no attack makes anything in it."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not os.path.lexists("attacked")


def refused(main: Callable[[list[str]], Any], options: list[str], capsys: pytest.CaptureFixture[str]) -> bool:
    """Whether the command ends with status 2 and an error message."""
    with pytest.raises(SystemExit) as exit_info:
        main(options)
    return exit_info.value.code == 2 and "error: " in capsys.readouterr().err


def test_literals() -> None:
    text = " dict(net_arch=dict(pi=[256], vf=[]), ortho_init=False,\n  log_std_init=-2.7, activation_fn=nn.ReLU) "
    network = {"net_arch": {"pi": [256], "vf": []}, "ortho_init": False, "log_std_init": -2.7, "activation_fn": th.nn.ReLU}
    assert parse_literal(text) == network
    assert parse_literal("{'a': (1, 'x'), 'b': None, 3: -1e-5}") == {"a": (1, "x"), "b": None, 3: -1e-5}
    assert parse_literal("[nn.Tanh, th.nn.Tanh, torch.nn.Tanh]") == [th.nn.Tanh] * 3
    assert parse_literal("(th.optim.AdamW, RMSpropTFLike, HerReplayBuffer)") == (
        th.optim.AdamW,
        RMSpropTFLike,
        HerReplayBuffer,
    )
    assert parse_literal("dict()") == {} and parse_literal("True") is True


@pytest.mark.parametrize("text", ATTACKS)
def test_attack_on_text(text: str) -> None:
    with pytest.raises(ValueError, match="Cannot read"):
        parse_literal(text)
    with pytest.raises(ValueError):
        settings.constructor_kwargs({"learning_rate": text})
    with open("returns.csv", "w", newline="") as file:
        csv.writer(file).writerows([("episode", "return", "length"), (0, text, 1)])
    with pytest.raises(ValueError):
        ReturnDistribution.from_csv("returns.csv")


@pytest.mark.parametrize("text", [text for text in ATTACKS if len(text) < 1000])
def test_attack_on_objective(text: str) -> None:
    with pytest.raises(ValueError):
        parse_objective(text)


@pytest.mark.parametrize("key", ["policy_kwargs", "normalize", "env_kwargs", "rollout_buffer_kwargs", "replay_buffer_kwargs"])
def test_attack_on_compare(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In a YAML file and after ``--params``, before anything is built."""
    algo = "remac" if key == "replay_buffer_kwargs" else "orderppo"
    options = ["--algos", algo, "--objectives", "max", "--env", "Pendulum-v1", "--conf-dir", ".", "--out", "out"]
    for text in ATTACKS:
        Path(f"{algo}.yml").write_text(yaml.safe_dump({"default": {"n_timesteps": 1, key: text}}))
        assert refused(command.main, options, capsys), text
        Path(f"{algo}.yml").write_text("default: {n_timesteps: 1}")
        assert refused(command.main, [*options, "--params", f"{key}:{text}"], capsys), text


YAML_ATTACKS = [
    "default: !!python/object/apply:os.mkdir [attacked]",
    "!!python/object/new:os.mkdir [attacked]",
    "default: {n_timesteps: !!python/name:os.mkdir }",
]
# Callables that exist, and a class that runs what its arguments say
NAMES = ["os.mkdir", "builtins.eval", "subprocess.Popen", "sb3_ordergrad.zoo.cli.main", "torch.nn.Linear", "os:path.sep"]


@pytest.mark.parametrize("text", YAML_ATTACKS)
def test_yaml_tags_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("orderppo.yml").write_text(text)
    assert refused(command.main, ["--env", "Pendulum-v1", "--conf-dir", ".", "--objectives", "max"], capsys)


@pytest.mark.parametrize("name", NAMES)
def test_wrapper_is_a_wrapper(name: str) -> None:
    for entry in (name, {name: {"args": ["mkdir", "attacked"]}}, [{name: None}]):
        with pytest.raises(ValueError, match="must be a class derived from gymnasium"):
            settings.check_settings({"env_wrapper": entry}, OrderPPO)


class TestZoo:
    """The same through RL Zoo, which evaluates such text itself."""

    @pytest.fixture(autouse=True)
    def _rl_zoo(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("rl_zoo3")
        monkeypatch.setattr(sys, "argv", ["test"])

    @pytest.mark.parametrize("text", ATTACKS)
    def test_options(self, text: str) -> None:
        for option in ("-params", "--hyperparams", "--env-kwargs", "--eval-env-kwargs"):
            for options in (
                [option, "n_steps:5", f"gamma:{text}"],
                [f"{option}=gamma:{text}"],
                ["--hy", f"gamma:{text}"],
                ["-p", f"gamma:{text}"],
            ):
                with pytest.raises(ValueError):
                    cli.check_dictionaries(["--algo", "ppo", *options, "-n", "1"])

    @pytest.mark.parametrize("option", ["--hyper", "--env-kw", "--env-", "--eval-env", "--", "--hyp=gamma:1"])
    def test_abbreviated_options(self, option: str) -> None:
        with pytest.raises(ValueError, match="in full"):
            cli.check_dictionaries([option, "gamma:1"])

    def test_other_options_are_not_checked(self) -> None:
        options = "--env A:B-v0 -P -n -1 --eval-freq -1 -params gamma:0.9 k:4 --storage sqlite:///a.db -f a:b --env=A".split()
        cli.check_dictionaries([*options, "-params", "objective:'cvar:0.1'", "--env-kwargs", "g:5.0"])

    @pytest.mark.parametrize("key", ["policy_kwargs", "normalize", "monitor_kwargs", "replay_buffer_kwargs", "env_kwargs"])
    def test_settings(self, key: str) -> None:
        from sb3_ordergrad.zoo.manager import parse_hyperparams

        for text in ATTACKS:
            with pytest.raises(ValueError, match="Cannot read"):
                parse_hyperparams({"n_timesteps": 1, key: text})

    @pytest.mark.parametrize("key", ["callback", "env_wrapper", "vec_env_wrapper", "policy"])
    @pytest.mark.parametrize("name", NAMES)
    def test_names(self, key: str, name: str) -> None:
        from sb3_ordergrad.zoo.manager import parse_hyperparams

        for entry in [name] if key == "policy" else [name, {name: {"args": ["mkdir", "attacked"]}}, ["a.B", {name: None}]]:
            with pytest.raises(ValueError, match=r"must be a class derived from|Cannot import"):
                parse_hyperparams({key: entry})

    def test_every_entry_of_rl_zoo_is_read(self) -> None:
        """What RL Zoo's own YAML files hold must still be understood."""
        import rl_zoo3.exp_manager

        from sb3_ordergrad.zoo.manager import TEXT_SETTINGS

        namespace = vars(rl_zoo3.exp_manager)
        texts = {
            value
            for path in (Path(rl_zoo3.__file__).parent / "hyperparams").glob("*.yml")
            for entry in yaml.safe_load(path.read_text()).values()
            for key, value in entry.items()
            if key in TEXT_SETTINGS and isinstance(value, str)
        }
        assert len(texts) > 30
        for text in texts:
            assert parse_literal(text) == eval(text, dict(namespace))

    @pytest.mark.parametrize(
        ("entry", "params"),
        [
            ({"policy_kwargs": f"dict(a={CODE})"}, []),
            ({"normalize": CODE}, []),
            ({"callback": {"subprocess.Popen": {"args": ["mkdir", "attacked"]}}}, []),
            ({}, ["-params", f"gamma:{CODE}"]),
            ({}, ["--env-kwargs", f"g:{CODE}"]),
            ({}, ["-params", "callback:{'os.mkdir': {'path': 'attacked'}}"]),
        ],
    )
    def test_command(self, entry: dict[str, Any], params: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        Path("mine.yml").write_text(yaml.safe_dump({"Pendulum-v1": {"policy": "MlpPolicy", "n_timesteps": 1, **entry}}))
        options = "train --algo a2c --env Pendulum-v1 --device cpu --conf-file mine.yml -f logs".split()
        assert refused(cli.main, [*options, *params], capsys)
