"""Bad parameters of the three algorithms: given to the constructor, to ``load``, or set before the training."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from robustness.configurations import Configuration, draw_off_policy, draw_on_policy, one_of
from robustness.random_objectives import Rng, draw_objective

NAN, INF = float("nan"), float("inf")
NOT_NUMBERS: tuple[Any, ...] = ("1", None, [1], {}, b"1", 1j, NAN, INF, -INF)
NOT_STRINGS: tuple[Any, ...] = (3, 0.5, True, b"task", ["task"], {}, NAN)
# Texts that are no objective for any sample size, most of them one slip away from one
NO_OBJECTIVES = (
    "",
    " ",
    "cvar",
    "cvar:",
    "cvar:0",
    "cvar:-0.1",
    "cvar:1.5",
    "cvar:nan",
    "cvar:inf",
    "cvar:0,1",
    "cvar:0.1:0.2",
    "cvar:0.1:hazen",
    "cvar 0.1",
    "cvra:0.1",
    "cvar:0.1.2",
    "quantile:0.5:foo",
    "quantile:2",
    "rank:0",
    "rank:1.5",
    "rank:-1",
    "rank:x",
    "rank:1000000000",
    "top:1000000000",
    "trimmed:1000000000",
    "lmoment:1000000000",
    "lmoment:0",
    "top:1e400",
    "trimmed_mean:0.6:0.6",
    "trimmed_mean:0.1",
    "range_lower_tail_mean:0.5:0.2",
    "range_lower_tail_mean:0.5:0.5",
    "weights:",
    "weights:1,nan",
    "weights:a",
    "mean:0.5",
    "maximum",
    "mean mean",
    "mean + ",
    "+",
    "mean * max",
    "mean / 0",
    "mean / max",
    "mean - 0.5",
    "2",
    "1e400*mean",
    "nan*mean",
    "inf*mean",
    "(mean",
    "mean)",
    "mean;max",
    "__import__('os').system('true')",
    "mean\x00",
    "средний",
    "(" * 3000 + "mean" + ")" * 3000,
    "-" * 3000 + "mean",
    "mean" * 3000,
)
OTHER_OBJECTIVES: tuple[Any, ...] = (None, 3, 0.25, True, [], {}, [NAN], [INF], [[0.5, 0.5]], ["a"], b"mean", object, [None])


def bad_objective(rng: Rng, k: float) -> Any:
    """What is no objective, or none for this sample size."""
    n = int(k)
    for_this_k: list[Any] = [f"rank:{n + 1}", f"top:{n + 1}", f"trimmed:{n}", f"lmoment:{n + 1}", [1.0] * (n + 1)]
    for_this_k += ["weights:" + ",".join(["0.5"] * (n + 2)), f"mean - 0.5*bottom:{n + 1}", np.full(n + 1, 0.5)]
    if n == 1:
        for_this_k += ["gini", "mean - 0.5*gini"]
    return one_of(rng, one_of(rng, *NO_OBJECTIVES), one_of(rng, *NO_OBJECTIVES), one_of(rng, *OTHER_OBJECTIVES, *for_this_k))


def bad_size(rng: Rng, least: int, most: float) -> Any:
    """A size outside the range, or none at all."""
    small = (least - 1, least - 0.5, 0, -1, -(10**9))
    large = (most + 1, most + 0.5, 10**9, 1e300) if most < INF else ()
    return one_of(rng, *small, *large, *NOT_NUMBERS)


def _not_none(draw: Callable[..., Any], *args: Any) -> Any:
    """A value that is not ``None``, which stands for a default."""
    while (value := draw(*args)) is None:
        pass
    return value


# parameter -> a value that is invalid beside the other settings
Draw = Callable[[Rng, dict[str, Any]], Any]
ON_POLICY: dict[str, Draw] = {
    "objective": lambda rng, settings: bad_objective(rng, settings["k"]),
    "anneal_from": lambda rng, settings: bad_objective(rng, settings["k"]),
    "k": lambda rng, settings: _not_none(bad_size, rng, 1, settings["group_size"] - 1),
    "group_size": lambda rng, settings: _not_none(bad_size, rng, int(settings["k"]) + 1, INF),
    "credit": lambda rng, settings: one_of(rng, "", "foo", "Terminal ", "dense,projected", *NOT_STRINGS, None),
    "anneal": lambda rng, settings: _not_none(one_of, rng, -0.1, 1.0001, 2, 10**9, *NOT_NUMBERS),
    "group_by": lambda rng, settings: one_of(rng, *NOT_STRINGS),
    "value_scale": lambda rng, settings: one_of(rng, 0, 0.0, -1, -(10**9), *NOT_NUMBERS),
}
OFF_POLICY: dict[str, Draw] = {
    "objective": lambda rng, settings: bad_objective(rng, settings["k"]),
    "k": lambda rng, settings: bad_size(rng, 1, settings["n_action_samples"]),
    "n_action_samples": lambda rng, settings: one_of(rng, bad_size(rng, int(settings["k"]), INF), 10**9, True, 2.5),
    "actor_adam_eps": lambda rng, settings: one_of(rng, 0, 0.0, -1e-8, *(value for value in NOT_NUMBERS if value is not None)),
}
ORDER_SAC: dict[str, Draw] = {
    "objective": ON_POLICY["objective"],
    "k": lambda rng, settings: _not_none(bad_size, rng, 1, INF),
}
WAYS = ("constructor", "constructor", "attribute", "load")


class InvalidModel:
    """A random configuration with one bad parameter."""

    def __init__(self, rng: Rng) -> None:
        is_on_policy = rng.random() < 0.7
        drawn = draw_on_policy(rng) if is_on_policy else draw_off_policy(rng)
        # The rest is small and plain: it is to be refused, not to be trained
        env = {**drawn.env, "observation": "box", "max_length": 3}
        settings = {**drawn.settings, "policy": "MlpPolicy"}
        self.configuration = Configuration(drawn.algorithm, env, 1, "none", [], settings, (8, 0))
        if is_on_policy:
            settings |= {"n_steps": 4, "n_epochs": 1, "batch_size": 4} if drawn.algorithm == "OrderPPO" else {"n_steps": 4}
        else:
            for name in ("replay_buffer_class", "replay_buffer_kwargs", "optimize_memory_usage", "n_steps"):
                settings.pop(name, None)
            n = int(rng.integers(2, 9))
            settings |= {"k": int(rng.integers(1, n + 1)), "learning_starts": 0, "train_freq": 1}
            if drawn.algorithm == "ReMAC":
                settings["n_action_samples"] = n
            settings["objective"] = draw_objective(rng, settings["k"])
        choices = ON_POLICY if is_on_policy else ORDER_SAC if drawn.algorithm == "OrderSAC" else OFF_POLICY
        self.parameter = str(one_of(rng, *choices))
        self.value = choices[self.parameter](rng, settings)
        self.way = str(one_of(rng, *WAYS))

    def __str__(self) -> str:
        text = f"{self.parameter}={self.value!r:.200} by {self.way} of {self.configuration.algorithm}"
        return f"{text} with {self.configuration.settings}"

    def attempt(self) -> None:
        if self.way == "constructor":
            self.configuration.changed(self.configuration.algorithm, **{self.parameter: self.value}).make_model()
            return
        model = self.configuration.make_model()
        if self.way == "load":
            with tempfile.TemporaryDirectory() as folder:
                model.save(Path(folder, "model"))
                type(model).load(Path(folder, "model"), device="cpu", **{self.parameter: self.value})
            return
        setattr(model, self.parameter, self.value)
        try:
            model.learn(8)
        finally:
            assert model.num_timesteps == 0, f"refused after {model.num_timesteps} steps of training"
