"""Makes the spans of the stages, by OpenTelemetry's messaging conventions.

Each record that goes out and is part of a sampled trace has one for its processing and one for its
sending.
"""

import time
from collections.abc import Sequence
from types import TracebackType

from eventlog.records import Output
from runtime.tracing import Attributes, Span, Tracing, messaging
from schemas.primitives import Headers
from schemas.trace_context import TRACEPARENT, TraceContext

SAMPLED = 1


class StageTraces:
    """Makes the spans of one stage. ``output_template``: the name of the outputs' topics where
    there is one for each partner."""

    def __init__(
        self, tracing: Tracing, group: str, input_topic: str, output_template: str | None = None
    ) -> None:
        self._tracing = tracing
        self._group = group
        self._input_topic = input_topic
        self._template = output_template

    def transaction(
        self, partition: int, outputs: Sequence[Output], started_at_ns: int
    ) -> "TracedTransaction":
        """Begins the spans of these outputs. ``started_at_ns``: when the processing of their inputs
        began, since 1970."""
        if not self._tracing.on:
            return TracedTransaction(outputs, [])
        carried: list[Output] = []
        spans: list[_OutputSpans] = []
        sent_ns = time.time_ns()
        for index, output in enumerate(outputs):
            parent = _sampled_parent(output.headers)
            if parent is None:
                carried.append(output)
                continue
            processed = self._tracing.start(
                f"process {self._input_topic}",
                "consumer",
                parent,
                self._processing(partition, output),
                started_ns=started_at_ns,
            )
            sent = self._tracing.start(
                f"send {self._template or output.topic}",
                "producer",
                processed.traceparent,
                self._sending(partition, output.topic),
                started_ns=sent_ns,
            )
            carried.append(_carrying(output, sent.traceparent))
            spans.append(_OutputSpans(index, processed, sent))
        return TracedTransaction(carried, spans)

    def _processing(self, partition: int, output: Output) -> Attributes:
        attributes = messaging("process", self._input_topic, partition)
        attributes["messaging.consumer.group.name"] = self._group
        if output.source_offset is not None:
            attributes["messaging.kafka.offset"] = output.source_offset
        return attributes

    def _sending(self, partition: int, topic: str) -> Attributes:
        attributes = messaging("send", topic, partition)
        if self._template is not None:
            attributes["messaging.destination.template"] = self._template
        return attributes


class _OutputSpans:
    def __init__(self, index: int, processed: Span, sent: Span) -> None:
        self.index = index
        self.processed = processed
        self.sent = sent


class TracedTransaction:
    """Holds the spans of one transaction. ``outputs``: what is to be written. The spans end with
    the block: with the offsets that were ``committed``, or as failed."""

    def __init__(self, outputs: Sequence[Output], spans: Sequence[_OutputSpans]) -> None:
        self.outputs = outputs
        self._spans = spans
        self._offsets: Sequence[int] = ()

    def committed(self, offsets: Sequence[int]) -> None:
        self._offsets = offsets

    def __enter__(self) -> "TracedTransaction":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        failed = kind.__name__ if kind is not None else None
        for spans in self._spans:
            offset = {"messaging.kafka.offset": self._offsets[spans.index]} if not failed else {}
            spans.sent.end(offset, error=failed)
            spans.processed.end({}, error=failed)


def _sampled_parent(headers: Headers) -> bytes | None:
    parent = TraceContext.of(headers).traceparent
    return parent if parent is not None and int(parent[53:55], 16) & SAMPLED else None


def _carrying(output: Output, traceparent: bytes | None) -> Output:
    """Returns the output with this trace's parent; a parked fact keeps the headers that it came
    with."""
    if output.headers[-1][0] != TRACEPARENT or traceparent is None:
        return output
    headers = (*output.headers[:-1], (TRACEPARENT, traceparent))
    return Output(output.topic, output.key, output.value, headers, output.source_offset)
