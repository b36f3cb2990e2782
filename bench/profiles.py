"""Reads py-spy's collapsed stacks (``a (file:1);b (file:2) 17``). Pure."""

import re
from collections import Counter
from collections.abc import Iterable

from runtime.logs import PACKAGES

_FRAME = re.compile(r"^.*\((?P<file>[^()]*?)(?::\d+)?\)$")

_STANDARD = ("asyncio", "json", "logging", "email", "http", "concurrent")


def shares(stacks: Iterable[str], shown: int = 12) -> dict[str, float]:
    """Returns per cent of the samples by the package on top: where the CPU was, not on whose
    behalf. What is beyond the first ``shown`` is left out."""
    counts: Counter[str] = Counter()
    for line in stacks:
        frames, _, count = line.rpartition(" ")
        if frames and count.isdigit():
            counts[_owner(frames.rsplit(";", 1)[-1])] += int(count)
    total = sum(counts.values())
    return {owner: n * 100 / total for owner, n in counts.most_common(shown)}


def _owner(frame: str) -> str:
    """Turns ``send (aiokafka/producer/producer.py:12)`` into ``aiokafka/producer``."""
    found = _FRAME.match(frame)
    if found is None:
        return frame
    folders = found["file"].split("/")
    if "site-packages" in folders:
        folders = folders[folders.index("site-packages") + 1 :]
    elif ours := [at for at, folder in enumerate(folders) if folder in PACKAGES]:
        return folders[ours[0]]
    elif any(folder.startswith("python3.") for folder in folders):
        return f"standard library: {folders[-2] if folders[-2] in _STANDARD else folders[-1]}"
    return "/".join(folders[:2]).removesuffix(".py")
