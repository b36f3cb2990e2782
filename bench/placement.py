"""Decides what runs on which core: on two cores everything meets, and not by chance."""

import os
from typing import Literal

import msgspec

Arrangement = Literal["split", "free"]


class Placement(msgspec.Struct, frozen=True):
    """The CPUs of each process; none: wherever the kernel puts it."""

    described: str
    load: tuple[int, ...] = ()
    broker: tuple[int, ...] = ()
    measured: tuple[int, ...] = ()
    beside: tuple[int, ...] = ()


def place(arrangement: Arrangement) -> Placement:
    """Chooses the cores. ``split``: load generator, broker and database on the first half. The HTTP
    process that is measured gets the second half; projector and fan-out run anywhere."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if arrangement == "free" or len(cpus) < 2:
        return Placement("nothing is pinned: the kernel places all processes")
    half = len(cpus) // 2
    first, second = tuple(cpus[:half]), tuple(cpus[half:])
    return Placement(
        f"load generator, broker and database on CPU {_named(first)}; the HTTP process that is "
        f"measured on CPU {_named(second)}; Lockstream's projector and fan-out wherever there is "
        "room",
        load=first,
        broker=first,
        measured=second,
    )


def _named(cpus: tuple[int, ...]) -> str:
    return str(cpus[0]) if len(cpus) == 1 else f"{cpus[0]} to {cpus[-1]}"
