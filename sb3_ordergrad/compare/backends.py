"""Who waits for the processes of the runs: threads of the command itself, or the workers of a Dask cluster."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from joblib import parallel_config  # type: ignore[import-untyped]

BACKENDS = ("local", "dask")
CONNECT_SECONDS = 10
# An adaptive cluster starts its first worker when there is something to do
WORKER_SECONDS = 120


def check_backend(backend: str, scheduler: str | None) -> None:
    """
    :param backend: one of :data:`BACKENDS`
    :param scheduler: address of the Dask scheduler
    :raises ValueError: if one comes without the other, or Dask is not installed
    """
    if backend == "dask" and scheduler is None:
        raise ValueError("--backend dask needs --scheduler ADDRESS: name that of a running Dask scheduler.")
    if backend != "dask" and scheduler is not None:
        raise ValueError(f"--scheduler {scheduler} needs --backend dask: add it, or leave the address out.")
    if backend == "dask" and importlib.util.find_spec("distributed") is None:
        raise ValueError("--backend dask needs an extra of this package: pip install 'sb3_ordergrad[dask]'.")


def check_cluster(scheduler: str, out: Path) -> None:
    """
    Reach the cluster before anything is trained.

    :param scheduler: address of the Dask scheduler
    :param out: folder of the results, which exists
    :raises ValueError: if the scheduler is not reached, has no workers, or one of them does not see the folder
    """
    from distributed import Client, TimeoutError

    try:
        with Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False) as client:
            client.submit(_sees, str(out.resolve()), pure=False).result(timeout=WORKER_SECONDS)
            sees = client.run(_sees, str(out.resolve()))
    except ImportError as error:
        raise ValueError(
            f"The workers of --scheduler {scheduler} cannot import this package ({error}): install it."
        ) from error
    except (OSError, TimeoutError) as error:
        raise ValueError(f"--scheduler {scheduler} does not answer ({error}): start scheduler and workers.") from error
    blind = [worker for worker, found in sees.items() if not found]
    if blind:
        raise ValueError(f"--out {out} is not seen by the worker {blind[0]}: name a folder that all machines share.")


def _sees(folder: str) -> bool:
    return Path(folder).is_dir()


@contextmanager
def workers(backend: str, scheduler: str | None) -> Iterator[tuple[type[Exception], ...]]:
    """
    Let ``joblib.Parallel`` use these workers.

    :param backend: one of :data:`BACKENDS`
    :param scheduler: address of the Dask scheduler
    :return: what is raised when the workers of a task died again and again
    """
    if backend != "dask":
        with parallel_config(backend="threading"):
            yield ()
        return
    from distributed import Client, KilledWorker

    with Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False) as client:
        with parallel_config(backend="dask", client=client, wait_for_workers_timeout=WORKER_SECONDS):
            yield (KilledWorker,)
