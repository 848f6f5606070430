"""How much longer the runs of a comparison take, from the epochs that they have written down."""

import time


class Outlook:
    """Follows runs that train side by side.

    Args:
        runs: dict. Folder -> Recipe, resolved: those that are not finished.
        clock: callable. Seconds, from anywhere on. Defaults to `time.monotonic`.
    """

    def __init__(self, runs, clock=time.monotonic):
        self._clock = clock
        self._epochs = {folder: recipe.epochs for folder, recipe in runs.items()}
        self._at_first = {folder: epochs_done(folder) for folder in runs}
        self._begun = {}
        self._first_begun = clock()

    def begin(self, folder):
        """Notes that a run starts now, or goes on."""
        self._begun[folder] = self._clock()

    def seconds(self, folder):
        """How long a run that has begun has taken."""
        return self._clock() - self._begun[folder]

    def left_of(self, folder):
        """Seconds that a run still takes at its own pace, or None before its first epoch ends."""
        done = epochs_done(folder)
        learned = done - self._at_first[folder]
        if learned < 1:
            return None
        return self.seconds(folder) / learned * (self._epochs[folder] - done)

    def left(self, running=()):
        """Seconds that all still take, at the pace of all so far, or None before the first epoch.

        Args:
            running: folders of the runs at work: none of these ends before its own time.
        """
        done = {folder: epochs_done(folder) for folder in self._epochs}
        learned = sum(done.values()) - sum(self._at_first.values())
        if learned < 1:
            return None
        pace = (self._clock() - self._first_begun) / learned
        own = [self.left_of(folder) or 0.0 for folder in running]
        return max(pace * (sum(self._epochs.values()) - sum(done.values())), *own, 0.0)


def epochs_done(folder) -> int:
    """The number of epochs in a run's `history.csv`; 0 if there is none yet."""
    try:
        rows = (folder / "history.csv").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0
    return max(rows - 1, 0)
