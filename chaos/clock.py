"""Steps wall clocks: each replica reads its own offset from a file. Inside the process and not by
libfaketime: that makes every hand-over between threads a thousand times slower. Monotonic time
stays true, as it does when a machine's clock is set."""

import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import uuid_utils

from runtime.logs import PACKAGES

LOOK_EVERY_S = 0.05
STEPPED_PACKAGES = (*PACKAGES, "jwt")


def set_offset(file: Path, seconds: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(f"{seconds}")
    new.rename(file)


class SteppedClock:
    """Tells seconds since 1970, as a clock would that is ``file``'s seconds ahead."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._true_time = time.time
        self._looked_at = float("-inf")
        self._offset_s = 0

    def offset_s(self) -> int:
        now = time.monotonic()
        if now - self._looked_at > LOOK_EVERY_S:
            self._looked_at = now
            self._offset_s = int(self._file.read_text()) if self._file.exists() else 0
        return self._offset_s

    def time(self) -> float:
        return self._true_time() + self.offset_s()

    def install(self) -> None:
        """Lets this process's services live by this clock from now on."""
        # Modules are found by what they have imported; the module of `time` is everybody's.
        setattr(time, "time", self.time)  # noqa: B010 - mypy knows it as a function of the module
        stepped = _stepped_datetime(self.offset_s)
        for name, module in list(sys.modules.items()):
            ours = name.partition(".")[0] in STEPPED_PACKAGES
            if ours and getattr(module, "datetime", None) is datetime:
                setattr(module, "datetime", stepped)  # noqa: B010
        true_uuid7 = uuid_utils.uuid7

        def uuid7() -> uuid_utils.UUID:
            return true_uuid7(nanoseconds=int(self.time() * 1e9))

        setattr(uuid_utils, "uuid7", uuid7)  # noqa: B010


def _stepped_datetime(offset_s: Callable[[], int]) -> type[datetime]:
    class SteppedDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=offset_s())

    return SteppedDatetime
