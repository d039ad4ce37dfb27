"""Operations as OpenTelemetry spans, as the SDK's in-memory exporter gets them."""

from collections.abc import Callable, Iterable
from datetime import datetime

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer

from digitorn_testing import EventLog, Operation, Operations
from digitorn_testing.builders import SessionBuilder, TurnBuilder, event, payloads
from digitorn_testing.telemetry import export_spans

TURN = TurnBuilder().user("hi").tool("execute_tool", {"name": "Bash"}, call_id="c-1").approval()

Export = Callable[[Iterable[Operation]], dict[str, ReadableSpan]]


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Tracer:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("tests")


@pytest.fixture
def export(tracer: Tracer, exporter: InMemorySpanExporter) -> Export:
    def exported(operations: Iterable[Operation]) -> dict[str, ReadableSpan]:
        export_spans(operations, tracer)
        return {span.name: span for span in exporter.get_finished_spans()}

    return exported


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def span_id(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def nanoseconds(moment: datetime | None) -> int:
    assert moment is not None
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000


def test_spans_have_the_tree_the_times_and_the_attributes_of_the_operations(export: Export) -> None:
    operations = Operations.of(TURN.text("done").usage(70, 30).build())
    spans = export(operations)
    assert set(spans) == {"invoke_agent", "execute_tool Bash", "approval execute_tool"}
    turn, tool, approval = (
        spans["invoke_agent"],
        spans["execute_tool Bash"],
        spans["approval execute_tool"],
    )
    assert turn.parent is None
    assert tool.parent is not None
    assert approval.parent is not None
    assert tool.parent.span_id == span_id(turn)
    assert approval.parent.span_id == span_id(tool)
    for span, one in ((turn, operations[0]), (tool, operations[1]), (approval, operations[2])):
        assert (span.start_time, span.end_time) == (nanoseconds(one.started), nanoseconds(one.ended))
        assert span.status.status_code is StatusCode.OK
        assert [found.name for found in span.events] == [event.type for event in one.events]
        assert span.events[0].timestamp == span.start_time
        assert attributes(span)["gen_ai.conversation.id"] == "s-1"
        assert attributes(span)["digitorn.operation.id"] == one.id
    assert (
        attributes(turn).items()
        >= {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.id": "app",
            "gen_ai.usage.input_tokens": 70,
            "gen_ai.usage.output_tokens": 30,
            "digitorn.turn.id": "fp-000000000001",
        }.items()
    )
    assert (
        attributes(tool).items()
        >= {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "Bash",
            "gen_ai.tool.call.id": "c-1",
        }.items()
    )
    assert "digitorn.operation.open" not in attributes(tool)
    assert dict(tool.events[0].attributes or {})["digitorn.event.seq"] == operations[1].events[0].seq


def test_what_failed_has_the_status_error_and_says_why(export: Export) -> None:
    failed = TurnBuilder().tool("Bash", error="no such file").error("rate_limited", "slow down")
    spans = export(Operations.of(failed.build()))
    turn, tool = spans["invoke_agent"], spans["execute_tool Bash"]
    assert (tool.status.status_code, tool.status.description) == (StatusCode.ERROR, "no such file")
    assert (turn.status.status_code, turn.status.description) == (StatusCode.ERROR, "slow down")
    assert attributes(turn)["error.type"] == "rate_limited"
    assert attributes(tool)["error.type"] == "failed"


def test_what_is_open_or_was_cancelled_has_no_status(export: Export) -> None:
    operations = Operations.of(TurnBuilder().user("hi").tool("Bash").aborted().build())
    spans = export(operations)
    turn, tool = spans["invoke_agent"], spans["execute_tool Bash"]
    assert {turn.status.status_code, tool.status.status_code} == {StatusCode.UNSET}
    assert attributes(tool)["digitorn.operation.open"] is True
    assert tool.end_time == nanoseconds(operations[1].events[-1].emitted_at)


def test_a_sub_agent_has_the_attributes_of_an_agent(export: Export) -> None:
    spawned = payloads.agent_event(action="spawn_agent", agent_id="a-1", specialist="coder")
    (span,) = export(Operations.of([event(spawned)])).values()
    assert span.name == "invoke_agent coder"
    assert attributes(span)["gen_ai.agent.name"] == "coder"


def test_a_selection_is_exported_alone_and_below_the_span_of_the_caller(
    tracer: Tracer, export: Export
) -> None:
    session = SessionBuilder().turn(TURN.text("a")).turn(TurnBuilder().tool("Read").text("b"))
    with tracer.start_as_current_span("the test") as outer:
        spans = export(session.log().operations().find(name="Read"))
    assert set(spans) == {"execute_tool Read"}
    parent = spans["execute_tool Read"].parent
    assert parent is not None
    assert parent.span_id == outer.get_span_context().span_id


def test_an_operation_without_a_time_is_refused(export: Export) -> None:
    frame = {**dict(event(payloads.tool_start(id="c-1", name="Bash"))), "ts": None}
    log = EventLog()
    log.feed(frame)
    with pytest.raises(ValueError, match=r"operation 'c-1' \(tool Bash\) has no time"):
        export(log.operations())
