"""Where runs are executed: in threads of the command, or by the workers of a Dask cluster."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from joblib import parallel_config  # type: ignore[import-untyped]

from sb3_ordergrad.common.extras import install_hint

BACKENDS = ("local", "dask")
CONNECT_SECONDS = 10
# An adaptive cluster starts its first worker when there is something to do
WORKER_SECONDS = 120


def check_backend(backend: str, scheduler: str | None) -> None:
    """Raise a ValueError if Dask or its scheduler comes without the other, or Dask is not installed."""
    if backend == "dask" and scheduler is None:
        raise ValueError("--backend dask needs --scheduler ADDRESS, that of a running Dask scheduler.")
    if backend != "dask" and scheduler is not None:
        raise ValueError(f"--scheduler {scheduler} needs --backend dask: add it, or leave the address out.")
    if backend == "dask" and importlib.util.find_spec("distributed") is None:
        raise ValueError(f"--backend dask needs the packages of an extra: {install_hint('dask')}.")


def check_cluster(scheduler: str, out: Path) -> None:
    """Raise a ValueError unless the scheduler answers and its workers share the folder of the results, which exists."""
    from distributed import Client, TimeoutError

    try:
        with Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False) as client:
            client.submit(_exists, str(out.resolve()), pure=False).result(timeout=WORKER_SECONDS)
            exists = client.run(_exists, str(out.resolve()))
    except ImportError as error:
        raise ValueError(
            f"The workers of --scheduler {scheduler} cannot import this package ({error}): install it."
        ) from error
    except (OSError, TimeoutError) as error:
        raise ValueError(f"--scheduler {scheduler} does not answer ({error}): start scheduler and workers.") from error
    missing = [worker for worker, found in exists.items() if not found]
    if missing:
        raise ValueError(f"--out {out} does not exist for the worker {missing[0]}: choose a folder that all machines share.")


def _exists(folder: str) -> bool:
    return Path(folder).is_dir()


@contextmanager
def workers(backend: str, scheduler: str | None) -> Iterator[tuple[type[Exception], ...]]:
    """Select the workers of ``joblib.Parallel``; yields the error that is raised if those of a task died repeatedly."""
    if backend != "dask":
        with parallel_config(backend="threading"):
            yield ()
        return
    from distributed import Client, KilledWorker

    with Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False) as client:
        with parallel_config(backend="dask", client=client, wait_for_workers_timeout=WORKER_SECONDS):
            yield (KilledWorker,)
