"""Execute all runs of a comparison side by side, with a progress bar."""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from joblib import Parallel, delayed  # type: ignore[import-untyped]
from tqdm import tqdm  # type: ignore[import-untyped]

from sb3_ordergrad.compare.backends import workers
from sb3_ordergrad.compare.child import MAX_ATTEMPTS, run_in_child, try_run
from sb3_ordergrad.compare.run_folder import RunFolder
from sb3_ordergrad.compare.spec import RunSpec

REFRESH_SECONDS = 0.5


class _ProgressBar:
    """A bar over the steps of all runs, which each run leaves in a small file."""

    def __init__(self, n_finished: int, pending: Sequence[RunFolder]):
        self.n_finished, self.pending = n_finished, pending
        is_terminal = sys.stderr.isatty()
        # In a log file every refresh is a line
        interval = REFRESH_SECONDS if is_terminal else 20.0
        self.bar = tqdm(
            total=n_finished + sum(folder.spec.steps for folder in pending),
            initial=n_finished,
            unit="step",
            unit_scale=True,
            mininterval=interval,
            maxinterval=2 * interval,
            dynamic_ncols=is_terminal,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def refresh(self) -> None:
        steps = self.n_finished + sum(folder.steps_done() for folder in self.pending)
        self.bar.update(max(0, steps - self.bar.n))

    def _watch(self) -> None:
        while not self._stop.wait(REFRESH_SECONDS):
            self.refresh()

    def __enter__(self) -> "_ProgressBar":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.refresh()
        self.bar.close()


def run_all(specs: Sequence[RunSpec], n_jobs: int, backend: str = "local", scheduler: str | None = None) -> list[str]:
    """
    Execute all runs that are not finished, with a progress bar.

    :param n_jobs: runs at a time, each in a separate process; with 1 they are executed in this process
    :return: for each run that failed its folder's name and the reason
    """
    # Absolute paths, since a worker elsewhere has another current folder; by folder, so that no run is executed twice
    absolute = [replace(spec, out=os.path.abspath(spec.out)) for spec in specs]
    folders = {folder.path: folder for folder in map(RunFolder, absolute)}
    # What a killed command left in finished runs, and the step counts of damaged ones, which would show as progress
    _clear(folders.values())
    todo = {path: folder for path, folder in folders.items() if not folder.is_done()}
    if not todo:
        return []
    task = try_run if n_jobs == 1 and backend == "local" else run_in_child
    outcome: dict[Path, str | None] = {}
    n_finished = sum(spec.steps for spec in absolute if spec.folder not in todo)
    with workers(backend, scheduler) as lost_worker, _ProgressBar(n_finished, list(todo.values())) as progress:
        for _ in range(MAX_ATTEMPTS):
            pending = [folder for path, folder in todo.items() if path not in outcome]
            parallel = Parallel(n_jobs=min(n_jobs, len(pending)), batch_size=1, return_as="generator_unordered")
            try:
                for path, failure in parallel(delayed(_with_folder)(task, folder.spec) for folder in pending):
                    outcome[path] = failure
                    n_open = sum(outcome.get(spec.folder, "") is not None for spec in absolute if spec.folder in todo)
                    progress.bar.set_postfix_str(f"{len(specs) - n_open}/{len(specs)} runs", refresh=False)
                break
            except lost_worker:
                continue
            finally:
                # Attempts that still run on a cluster must end
                _clear(folder for path, folder in todo.items() if path not in outcome)
    failures = {folder.path.name: _failure(folder, outcome) for folder in todo.values()}
    return [f"{name}\n{failure}" for name, failure in failures.items() if failure is not None]


def _clear(folders: Iterable[RunFolder]) -> None:
    for folder in folders:
        folder.clear_attempt()


def _with_folder(task: Callable[[RunSpec], str | None], spec: RunSpec) -> tuple[Path, str | None]:
    return spec.folder, task(spec)


def _failure(folder: RunFolder, outcome: dict[Path, str | None]) -> str | None:
    """Why a run is not done, or ``None`` if it is."""
    if folder.path not in outcome:
        return "The cluster lost its workers repeatedly; see their logs."
    if outcome[folder.path] is None and not folder.is_done():
        return "A worker has finished it, but its files are not here: --out must be a folder that all machines share."
    return outcome[folder.path]
