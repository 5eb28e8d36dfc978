"""Retraining that starts by itself: whenever enough answers have come in since the last version, in its own process."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

_CODE = "import sys; sys.path[:] = filter(None, sys.path); from {package}.plugin.cli import main; main()"


class RetrainTrigger:
    """Starts ``spam-plugin retrain`` while the synchronisation goes on; never two at once, whoever started the first.

    Args:
        dataset: name of the dataset.
        out: field of the tracks.
        after: so many new answers start it.
        tell: told a line when it starts and when it has ended.
        command: what runs it; None for this very package's command line.
    """

    def __init__(
        self, dataset: str, out: str, after: int, tell: Callable[[str], None], command: Sequence[str] | None = None
    ) -> None:
        package = __name__.split(".")[0]
        self._command = list(command or (sys.executable, "-c", _CODE.format(package=package)))
        self._dataset, self._out, self._after, self._tell = dataset, out, after, tell
        self._process: subprocess.Popen[bytes] | None = None
        self._waiter: threading.Thread | None = None
        self._asked_for = 0  # new answers at the last start: one that failed is not tried again for the same

    @property
    def is_running(self) -> bool:
        """Whether a retraining that was started here has not ended."""
        return self._process is not None and self._process.poll() is None

    def look(self) -> bool:
        """Starts a retraining if there is enough to learn from and none goes on. Returns whether it did."""
        from ..integrations.fiftyone_.dataset import open_dataset
        from ..integrations.fiftyone_.retrainings import Learning, last_labelling

        if self.is_running:
            return False
        opened = open_dataset(self._dataset)
        learning = Learning(opened, self._out)
        new = learning.new_answers()
        if new < self._asked_for:  # a version was made since
            self._asked_for = 0
        if new - self._asked_for < self._after or learning.busy is not None:
            return False
        candidates, embeddings = last_labelling(opened, self._out)
        self._asked_for = new
        self._tell(f"{new} new answers: retraining in the background")
        words = ["-q", "retrain", self._dataset, "--out", self._out, "--candidates", candidates]
        words += ["--embeddings", embeddings] if embeddings else []
        # What it prints must not come between reports in JSON.
        self._process = subprocess.Popen([*self._command, *words], stdin=subprocess.DEVNULL, stdout=sys.__stderr__)
        self._waiter = threading.Thread(target=self._wait, args=(self._process,), name="retraining", daemon=True)
        self._waiter.start()
        return True

    def join(self, seconds: float | None = None) -> None:
        """Waits until the retraining that was started here has ended."""
        if self._waiter is not None:
            self._waiter.join(seconds)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        self._tell(f"retraining: exit code {process.wait()}")
