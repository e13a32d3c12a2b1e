"""Random configurations of the mean are those of SB3's own algorithms, bit for bit."""

import inspect
from typing import Any

from robustness.configurations import ALGORITHMS, Configuration, draw_off_policy, draw_on_policy, one_of
from robustness.parts import Part, generator
from robustness.random_objectives import draw_preset
from toy_envs import assert_same_parameters

PARENTS = {"OrderPPO": "PPO", "OrderA2C": "A2C", "OrderSAC": "SAC", "ReMAC": "SAC"}
MEANS = ("mean", "mean", "Mean", "cvar:1", "upper_cvar:1.0", "0.5*mean + 0.5*mean", "trimmed:0")


def draw(seed: int, number: int) -> Configuration:
    """A configuration whose objective is the mean."""
    rng = generator(seed, "equality", number)
    if rng.random() < 0.35:
        configuration = draw_off_policy(rng)
        if configuration.algorithm == "OrderSAC":
            return configuration.changed("OrderSAC", objective=one_of(rng, *MEANS))
        objective = draw_preset(rng, 1, ("mean", "max", "cvar", "rank", "quantile", "top"))
        changes = {"objective": objective, "k": 1, "n_action_samples": 1, "ent_coef": 0.0, "actor_adam_eps": None}
        # docs/algorithms/remac.md: with gSDE each action of a state gets noise of its own, unlike in SAC
        return configuration.changed("ReMAC", **changes, use_sde=False)
    configuration = draw_on_policy(rng)
    given = configuration.settings
    discounts: dict[str, Any] = {"gamma": given["gamma"] or 0.99, "gae_lambda": given["gae_lambda"] or 0.95}
    mean = {"objective": one_of(rng, *MEANS), "anneal_from": "mean", "credit": one_of(rng, "projected", "dense")}
    return configuration.changed(configuration.algorithm, **discounts, **mean, k=int(given["k"]))


def check(seed: int, number: int) -> dict[str, int]:
    configuration = draw(seed, number)
    name = PARENTS[configuration.algorithm]
    known = inspect.signature(ALGORITHMS[name].__init__).parameters
    own = tuple(setting for setting in configuration.settings if setting not in known)
    parent = configuration.changed(name, drop=own)
    if configuration.algorithm == "ReMAC":
        parent = parent.changed(name, ent_coef=0.0)
    models = [parent.trained(), configuration.trained()]
    assert models[0].num_timesteps == models[1].num_timesteps
    assert_same_parameters(*models)
    return {"passed": 1}


PART = Part("equality", lambda seed, number: str(draw(seed, number)), check, sample=12)
