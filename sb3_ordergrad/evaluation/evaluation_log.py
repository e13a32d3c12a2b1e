"""Read ``evaluations.npz``, the file of SB3's ``EvalCallback``."""

import os
import zipfile
import zlib

import numpy as np


def read_evaluations(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """
    All evaluations of a training run: ``timesteps``, shape ``(n,)``, ``results`` and ``ep_lengths``, shape
    ``(n, n_eval_episodes)``, and ``successes`` of the same shape where the environment reports them.

    :raises ValueError: if the file is damaged
    """
    try:
        # NumPy leaves a file open that it cannot read
        with open(path, "rb") as file, np.load(file) as arrays:
            log = {name: arrays[name] for name in arrays.files}
        shapes = [log["timesteps"].shape, log["results"].shape[:1], log["ep_lengths"].shape[:1]]
        is_complete = len(set(shapes)) == 1 and log["results"].shape == log["ep_lengths"].shape and log["results"].ndim == 2
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error):
        is_complete = False
    if not is_complete:
        raise ValueError(
            f"{os.fspath(path)} is damaged, probably because writing it was interrupted: restore it from a copy, or delete it "
            "to go on without the earlier evaluations."
        )
    return log
