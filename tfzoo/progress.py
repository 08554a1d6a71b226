"""Progress at the command line: bars on a terminal, a line an epoch in a log file."""

import contextlib
from collections.abc import Callable, Iterator

import keras
import rich.console
import rich.progress

__all__ = ["EpochBar", "bars", "console"]

console = rich.console.Console(highlight=False, soft_wrap=True)


def _progress() -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description:>16}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(elapsed_when_finished=True),
        rich.progress.TextColumn("{task.fields[note]}"),
        console=console,
    )


@contextlib.contextmanager
def bars() -> Iterator[Callable[[str, int], Callable[[], None]]]:
    """Gives a function that starts a bar (name, number of steps) and returns what advances it by one."""
    with _progress() as progress:

        def start(name: str, steps: int) -> Callable[[], None]:
            task = progress.add_task(name, total=steps, note="")
            return lambda: progress.advance(task)

        yield start


class EpochBar(keras.callbacks.Callback):
    """A bar over epochs and one over the batches of an epoch, with the last losses beside; a line an epoch in a log."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: rich.progress.Progress | None = None
        self._tasks: dict[str, rich.progress.TaskID] = {}

    def on_train_begin(self, logs: dict | None = None) -> None:
        if console.is_terminal:
            self._bar = _progress()
            self._tasks = {
                "epochs": self._bar.add_task("epochs", total=self.params["epochs"], note=""),
                "batches": self._bar.add_task("batches", total=self.params["steps"], note=""),
            }
            self._bar.start()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if self._bar:
            self._bar.update(self._tasks["epochs"], completed=epoch)  # a resumed run starts in the middle
            self._bar.reset(self._tasks["batches"], total=self.params["steps"])

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self._bar:
            self._bar.update(self._tasks["batches"], completed=batch + 1)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        losses = "  ".join(f"{name} {float(value):.2f}" for name, value in (logs or {}).items() if "loss" in name)
        if self._bar:
            self._bar.update(self._tasks["epochs"], completed=epoch + 1, note=losses)
        else:
            console.print(f"epoch {epoch + 1} of {self.params['epochs']}  {losses}")

    def on_train_end(self, logs: dict | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Takes the bar off the terminal; also after an error, for which Keras calls no callback."""
        if self._bar:
            self._bar.stop()
            self._bar = None
