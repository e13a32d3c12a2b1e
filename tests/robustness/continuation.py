"""Models that are saved in mid-episode, loaded and trained on equal those of an uninterrupted training, bit for bit."""

import random

import numpy as np
import torch as th
from robustness.configurations import IMAGES, Configuration, draw_configuration
from robustness.parts import Part, generator
from robustness.valid import save_and_load
from toy_envs import assert_same_parameters


def draw(seed: int, number: int) -> Configuration:
    rng = generator(seed, "continuation", number)
    configuration = draw_configuration(rng)
    # SB3's algorithms do not continue exactly either: torch's convolutions round by where an array lies in memory, and SAC
    # with hindsight replay differs after loading
    while configuration.env["observation"] in IMAGES or configuration.goals:
        configuration = draw_configuration(rng)
    return configuration


def check(seed: int, number: int) -> dict[str, int]:
    configuration = draw(seed, number)
    first, second = configuration.timesteps
    uninterrupted = configuration.trained()
    env = configuration.make_env()
    model = configuration.make_model(env)
    model.learn(first)
    # The file holds no state of the generators, and loading builds a model, which draws
    states = random.getstate(), np.random.get_state(), th.get_rng_state()
    loaded = save_and_load(model, env, force_reset=False)
    random.setstate(states[0])
    np.random.set_state(states[1])
    th.set_rng_state(states[2])
    loaded.learn(second, reset_num_timesteps=False)
    assert loaded.num_timesteps == uninterrupted.num_timesteps
    assert_same_parameters(uninterrupted, loaded)
    return {"passed": 1}


PART = Part("continuation", lambda seed, number: str(draw(seed, number)), check, sample=12)
