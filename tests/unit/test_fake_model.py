"""The scripted model, without a daemon."""

import asyncio
import itertools
import math
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from digitorn_testing import NOT_GIVEN, DigitornError
from digitorn_testing._events.failures import FAILURES
from digitorn_testing.fakes import (
    FailureCode,
    FakeModel,
    ModelMessage,
    ModelRequest,
    ModelRequestTimeout,
    ModelRule,
    ModelToolCall,
    ScriptedToolCall,
    ScriptMismatch,
    ToolDefinition,
    Usage,
)
from digitorn_testing.fakes._model.failures import TurnFailed
from digitorn_testing.fakes._model.script import Failure, Reply, Script, Scripted, Silence


def request(text: str = "hi") -> ModelRequest:
    return ModelRequest("prompt", (ModelMessage("user", text),), (), "app", "s-1")


def take(model: FakeModel, asked: ModelRequest) -> Scripted:
    return asyncio.run(model.take(asked))


def after_tools(*results: tuple[str, str]) -> ModelRequest:
    """A request that ends with the results of tools, each a name and a text."""
    calls = tuple(ModelToolCall(f"c-{at}", name, {}) for at, (name, _) in enumerate(results))
    answered = (
        ModelMessage("tool", text, tool_call_id=call.id)
        for call, (_, text) in zip(calls, results, strict=True)
    )
    asked = ModelMessage("user", "weather in Rome?")
    messages = (asked, ModelMessage("assistant", "", calls), *answered)
    return ModelRequest("prompt", messages, (), "app", "s-1")


def texts(model: FakeModel, count: int) -> list[str]:
    """The next answers, which must be texts."""
    found: list[str] = []
    for _ in range(count):
        answer = take(model, request()).answer
        assert isinstance(answer, Reply)
        found.append(answer.text)
    return found


def test_answers_come_in_the_order_of_the_script() -> None:
    model = FakeModel().will_respond_with_text("a").will_stream_text(["b", "c"]).will_respond_with_text("d")
    assert texts(model, 3) == ["a", "bc", "d"]


def test_an_answer_may_be_given_several_times() -> None:
    model = FakeModel().will_respond_with_text("a", times=2).will_respond_with_text("b")
    assert texts(model, 3) == ["a", "a", "b"]


def test_an_answer_may_be_given_for_ever_and_nothing_after_it() -> None:
    model = FakeModel().will_respond_with_text("a", times=None)
    assert texts(model, 5) == ["a"] * 5
    with pytest.raises(ValueError, match="every further request"):
        model.will_respond_with_text("never")
    model.reset()
    model.will_respond_with_text("b")
    assert texts(model, 1) == ["b"]


def test_a_used_up_script_says_what_was_asked() -> None:
    with pytest.raises(
        TurnFailed, match=r"no scripted answer matches user 'what now.*: nothing is queued.*'s-1'.*'app'"
    ) as caught:
        take(FakeModel(), request("what now" + "?" * 100))
    assert caught.value.code == "internal_error"
    assert len(caught.value.message) < 300


def test_requests_are_kept_even_those_without_an_answer() -> None:
    model = FakeModel().will_respond_with_text("a")
    assert (model.last_request, model.request_count) == (None, 0)
    take(model, request("one"))
    with pytest.raises(TurnFailed):
        take(model, request("two"))
    assert [one.last_text for one in model.requests] == ["one", "two"]
    assert (model.last_request, model.request_count) == (request("two"), 2)
    model.reset()
    assert model.requests == []


def test_waiting_belongs_to_the_next_answer_and_adds_up() -> None:
    model = FakeModel().will_wait(1).will_wait(0.5).will_respond_with_text("a").will_respond_with_text("b")
    assert [take(model, request()).wait for _ in range(2)] == [1.5, 0.0]


def calls_of(model: FakeModel) -> tuple[ScriptedToolCall, ...]:
    """The calls of the next answer."""
    answer = take(model, request()).answer
    assert isinstance(answer, Reply)
    return answer.calls


def test_a_tool_call_carries_what_the_tool_does() -> None:
    model = FakeModel().will_call_tool("Bash", {"a": 1}, result={"b": 2}, text="Hm.", delay=0.5)
    call = ScriptedToolCall("Bash", {"a": 1}, {"b": 2}, delay=0.5)
    assert take(model, request()) == Scripted(Reply(("Hm.", call)), 0.0)


def test_several_calls_are_one_answer() -> None:
    calls = [ScriptedToolCall("Read", {"path": "a"}), ScriptedToolCall("Read", {"path": "b"})]
    model = FakeModel().will_call_tools(calls, text="Both.", thinking="Hm.", usage=Usage(1, 2))
    assert take(model, request()).answer == Reply(("Both.", *calls), thinking="Hm.", usage=Usage(1, 2))


def test_no_result_is_not_the_result_none() -> None:
    model = FakeModel().will_call_tool("Bash").will_call_tool("Bash", result=None)
    assert [calls_of(model)[0].result for _ in range(2)] == [NOT_GIVEN, None]


def test_a_text_result_becomes_an_object() -> None:
    (call,) = calls_of(FakeModel().will_call_tool("Bash", result="text"))
    assert call.result == {"output": "text"}


def test_the_script_does_not_change_with_what_it_was_made_of() -> None:
    params, result = {"list": [1]}, {"list": [1]}
    call = ScriptedToolCall("Bash", params, result)
    params["list"].append(2)
    result["list"].append(2)
    assert (call.params, call.result) == ({"list": [1]}, {"list": [1]})


def test_a_question_is_an_approval_of_its_own_tool() -> None:
    (call,) = calls_of(FakeModel().will_ask_user("Which?", choices=("a", "b")))
    assert (call.name, call.requires_approval) == ("ask_user", True)
    assert call.params == {"question": "Which?", "choices": ["a", "b"]}


@pytest.mark.parametrize("code", sorted(FAILURES))
def test_every_code_of_the_contract_can_be_scripted(code: FailureCode) -> None:
    assert take(FakeModel().will_fail(code), request()).answer == Failure(code)


ADD: dict[str, Callable[[Script], Script]] = {
    "text": lambda script: script.will_respond_with_text("a", usage=Usage(1, 2), times=2),
    "stream": lambda script: script.will_stream_text(["a"], usage=Usage(1, 2), times=2),
    "tool": lambda script: script.will_call_tool("Bash", usage=Usage(1, 2), times=2),
    "tools": lambda script: script.will_call_tools([ScriptedToolCall("Bash")], usage=Usage(1, 2), times=2),
    "question": lambda script: script.will_ask_user("Which?", times=2),
    "failure": lambda script: script.will_fail(times=2),
    "endless": lambda script: script.will_stream_forever(times=2),
    "silence": lambda script: script.will_never_answer(times=2),
}


@pytest.mark.parametrize("kind", ADD)
def test_every_answer_may_be_repeated_and_chained(kind: str) -> None:
    model = FakeModel()
    assert ADD[kind](model) is model
    answers = [take(model, request()).answer for _ in range(2)]
    assert answers[0] == answers[1]
    with pytest.raises(TurnFailed):
        take(model, request())


@pytest.mark.parametrize("kind", ["text", "stream", "tool", "tools"])
def test_usage_is_kept(kind: str) -> None:
    model = FakeModel()
    ADD[kind](model)
    answer = take(model, request()).answer
    assert isinstance(answer, Reply)
    assert answer.usage == Usage(1, 2)


def test_an_endless_answer_says_the_same_again_and_again() -> None:
    answer = take(FakeModel().will_stream_forever(["a", "b"], delay=0.5), request()).answer
    assert isinstance(answer, Reply)
    assert list(itertools.islice(answer.pieces, 5)) == ["a", "b", "a", "b", "a"]
    assert answer.delay == 0.5
    assert take(FakeModel().will_never_answer(), request()).answer == Silence()


# --- rules


def test_a_rule_goes_before_the_queue_and_answers_all_that_fits() -> None:
    model = FakeModel().will_respond_with_text("queue", times=2)
    model.when(contains="weather").will_respond_with_text("rule")
    asked = ["weather?", "hi", "the weather!", "Weather"]
    assert [text_for(model, request(one)) for one in asked] == ["rule", "queue", "rule", "queue"]


def text_for(model: FakeModel, asked: ModelRequest) -> str:
    answer = take(model, asked).answer
    assert isinstance(answer, Reply)
    return answer.text


def test_the_first_rule_that_fits_answers() -> None:
    model = FakeModel()
    model.when(contains="a").will_respond_with_text("first")
    model.when(contains="b").will_respond_with_text("second")
    assert [text_for(model, request(one)) for one in ("ab", "b")] == ["first", "second"]


def test_the_answers_of_a_rule_come_in_order_and_the_last_one_stays() -> None:
    model = FakeModel()
    model.when(contains="a").will_respond_with_text("1", times=2).will_respond_with_text("2")
    assert [text_for(model, request("a")) for _ in range(5)] == ["1", "1", "2", "2", "2"]


def test_a_rule_may_be_bounded() -> None:
    model = FakeModel()
    model.when(contains="a", times=2).will_respond_with_text("rule")
    model.when(contains="a", times=1).will_respond_with_text("next rule")
    model.will_respond_with_text("queue")
    assert [text_for(model, request("a")) for _ in range(4)] == ["rule", "rule", "next rule", "queue"]


def test_an_answer_of_a_rule_that_says_how_often_is_not_given_again() -> None:
    model = FakeModel().will_respond_with_text("queue", times=None)
    model.when(contains="a").will_respond_with_text("once", times=1)
    model.when(contains="b").will_respond_with_text("first").will_respond_with_text("twice", times=2)
    with pytest.raises(ScriptMismatch) as caught:
        model.assert_exhausted()
    assert len(caught.value.leftover) == 2
    assert [text_for(model, request("a")) for _ in range(3)] == ["once", "queue", "queue"]
    assert [text_for(model, request("b")) for _ in range(4)] == ["first", "twice", "twice", "queue"]
    model.assert_exhausted()
    model.when(contains="c").will_respond_with_text("for ever", times=None)
    assert [text_for(model, request("c")) for _ in range(2)] == ["for ever"] * 2


def test_a_rule_has_the_same_words_as_the_queue() -> None:
    model = FakeModel()
    rule = model.when(contains="hi")
    for add in ADD.values():
        assert add(rule) is rule
    assert isinstance(rule, ModelRule)
    assert rule.will_wait(1.5).will_fail() is rule
    found = [take(model, request()) for _ in range(2 * len(ADD) + 1)]
    assert [one.wait for one in found[-2:]] == [0.0, 1.5]


def asks_for(app_id: str) -> Callable[[ModelRequest], bool]:
    return lambda one: one.app_id == app_id


FITTING: list[tuple[dict[str, Any], ModelRequest, bool]] = [
    ({"contains": "weather"}, request("the weather"), True),
    ({"contains": "weather"}, request("hi"), False),
    ({"contains": "weather"}, after_tools(("look", "weather")), False),
    ({"matches": r"^\d+$"}, request("42"), True),
    ({"matches": r"^\d+$"}, request("42!"), False),
    ({"matches": re.compile("rome", re.IGNORECASE)}, request("in Rome"), True),
    ({"contains": "4", "matches": "2"}, request("42"), True),
    ({"contains": "4", "matches": "3"}, request("42"), False),
    ({"tool_result_of": "look"}, after_tools(("look", "rain")), True),
    ({"tool_result_of": "look"}, after_tools(("other", "rain")), False),
    ({"tool_result_of": "look"}, request("look"), False),
    ({"tool_result_of": "look"}, after_tools(("other", ""), ("look", "")), True),
    ({"tool_result_of": "look", "contains": "rain"}, after_tools(("look", "rain")), True),
    ({"tool_result_of": "look", "contains": "sun"}, after_tools(("look", "rain")), False),
    ({"tool_result_of": "look", "contains": "sun"}, after_tools(("other", "sun"), ("look", "")), False),
    ({"matching": asks_for("app")}, request(), True),
    ({"matching": asks_for("other")}, request(), False),
    ({"matching": asks_for("other"), "contains": "hi"}, request("hi"), False),
]


@pytest.mark.parametrize(("conditions", "asked", "fits"), FITTING)
def test_what_a_rule_fits(conditions: dict[str, Any], asked: ModelRequest, fits: bool) -> None:
    model = FakeModel().will_respond_with_text("queue")
    model.when(**conditions).will_respond_with_text("rule")
    assert text_for(model, asked) == ("rule" if fits else "queue")


def test_a_tool_that_was_used_earlier_does_not_count() -> None:
    done = after_tools(("look", "rain"))
    later = ModelRequest("", (*done.messages, ModelMessage("user", "thanks")), (), "app", "s-1")
    assert done.tool_results_of("look") == ("rain",)
    assert later.tool_results_of("look") == ()


def test_a_predicate_may_look_at_the_model() -> None:
    model = FakeModel()
    model.when(lambda _: model.request_count == 2).will_respond_with_text("second")
    model.will_respond_with_text("first")
    assert texts(model, 2) == ["first", "second"]


def test_a_predicate_that_fails_fails_the_request() -> None:
    model = FakeModel().will_respond_with_text("queue")

    def broken(asked: ModelRequest) -> bool:
        raise LookupError("a bug")

    model.when(broken).will_respond_with_text("rule")
    with pytest.raises(TurnFailed, match=r"broken\) failed: LookupError: a bug") as caught:
        take(model, request())
    assert isinstance(caught.value.__cause__, LookupError)
    assert model.unscripted_requests == [request()]


# --- what the script does not answer


def test_leaving_the_context_tells_of_unscripted_requests() -> None:
    asked = ModelRequest(
        "prompt", after_tools(("look", "rain")).messages, (ToolDefinition("look"),), "my-app", "s-1"
    )

    def ask() -> None:
        with FakeModel() as model:
            model.will_respond_with_text("Hello.")
            model.when(contains="sun").will_call_tool("Bash", {"command": "ls"})
            texts(model, 1)
            with pytest.raises(TurnFailed):
                take(model, asked)

    with pytest.raises(ScriptMismatch) as caught:
        ask()
    error = caught.value
    assert isinstance(error, AssertionError)
    assert isinstance(error, DigitornError)
    assert (error.unscripted, error.leftover) == ((asked,), ())
    assert str(error).splitlines() == [
        "the model's script is used up: no answer to tool: 'rain'",
        "  request 2, by session 's-1' of app 'my-app'",
        "    user: 'weather in Rome?'",
        "    assistant: call of look({})",
        "    tool: 'rain'",
        "    tools: look",
        "    tried when(contains='sun'): it does not end with a message of the user",
        "    tried the queue: used up (given 1)",
        "scripted:",
        '  when(contains=\'sun\'): call of Bash({"command": "ls"}) (given 0)',
        "  text 'Hello.' (given 1 of 1)",
    ]


def test_a_long_conversation_is_shown_in_part() -> None:
    messages = tuple(ModelMessage("user", f"message {at} " + "x" * 500) for at in range(50))
    model = FakeModel()
    with pytest.raises(TurnFailed):
        take(model, ModelRequest("", messages, (), "app", "s-1"))
    with pytest.raises(ScriptMismatch) as caught:
        model.assert_exhausted()
    said = str(caught.value)
    assert "message 49" in said
    assert "44 earlier messages" in said
    assert len(said) < 2000


def test_an_error_on_its_way_out_gets_a_note() -> None:
    def ask() -> None:
        with FakeModel() as model:
            with pytest.raises(TurnFailed):
                take(model, request("what now"))
            raise KeyError("content")

    with pytest.raises(KeyError) as caught:
        ask()
    assert "what now" in caught.value.__notes__[0]


def test_leaving_the_context_says_nothing_of_what_is_left_over() -> None:
    with FakeModel() as model:
        model.will_respond_with_text("a").will_respond_with_text("b")
        assert texts(model, 1) == ["a"]
    with pytest.raises(ScriptMismatch, match=r"never asked for:\n  text 'b' \(given 0 of 1\)\nscripted:"):
        model.assert_exhausted()


def test_what_may_go_unused_and_what_may_not() -> None:
    model = FakeModel().will_respond_with_text("queue", times=None)
    model.when(contains="a").will_fail("rate_limited", after=["So "])
    model.assert_exhausted()
    bounded = model.when(contains="b", times=2).will_never_answer()
    model.when(contains="c")
    take(model, request("b"))
    with pytest.raises(ScriptMismatch) as caught:
        model.assert_exhausted()
    assert caught.value.leftover == (
        "when(contains='b'): silence (given 1 of 2)",
        "when(contains='c'): no answer",
    )
    assert "failure rate_limited after 'So '" in str(caught.value)
    assert repr(bounded) == "when(contains='b')"


def test_reset_forgets_everything() -> None:
    model = FakeModel().will_respond_with_text("a")
    model.when(contains="hi").will_respond_with_text("rule")
    take(model, request())
    with pytest.raises(TurnFailed):
        [take(model, request("other")) for _ in range(2)]
    model.reset()
    model.assert_exhausted()
    assert (model.requests, model.unscripted_requests) == ([], [])
    with pytest.raises(TurnFailed):
        take(model, request())


def test_a_request_over_http_has_no_session() -> None:
    with pytest.raises(
        TurnFailed, match=r"matches nobody '': nothing is queued \(request 1, over HTTP for model None\)"
    ):
        take(FakeModel(), ModelRequest("", (), (), "", ""))


def test_what_cannot_be_meant_is_refused_where_it_is_written() -> None:
    model = FakeModel()
    with pytest.raises(ValueError, match=r"unknown error code 'oops'.*provider_error"):
        model.will_fail(cast("FailureCode", "oops"))
    with pytest.raises(ValueError, match="times must be positive"):
        model.will_respond_with_text("a", times=0)
    with pytest.raises(ValueError, match="seconds must not be negative"):
        model.will_wait(-1)
    with pytest.raises(ValueError, match="delay must not be negative"):
        model.will_stream_text(["a"], delay=-1)
    with pytest.raises(ValueError, match="chunks is one text"):
        model.will_stream_text("text")
    with pytest.raises(ValueError, match="choices is one text"):
        model.will_ask_user("?", choices="ab")
    with pytest.raises(ValueError, match="delay must not be negative, not nan"):
        ScriptedToolCall("Bash", delay=float("nan"))
    with pytest.raises(ValueError, match="after is one text"):
        model.will_fail(after="text")
    with pytest.raises(ValueError, match="status must be from 400 to 599, not 200"):
        model.will_fail(status=200)
    with pytest.raises(ValueError, match="retry_after must not be negative"):
        model.will_fail(retry_after=-1)
    with pytest.raises(ValueError, match="calls is empty"):
        model.will_call_tools([])
    with pytest.raises(ValueError, match="delay must be positive"):
        model.will_stream_forever(delay=0)
    with pytest.raises(ValueError, match="no text"):
        model.will_stream_forever(["", ""])
    with pytest.raises(ValueError, match="needs a condition"):
        model.when()
    with pytest.raises(ValueError, match="no regular expression"):
        model.when(matches="(")
    with pytest.raises(ValueError, match="times must be positive"):
        model.when(contains="a", times=0)
    with pytest.raises(TypeError):
        model.will_call_tool("Bash", {"when": object()})
    with pytest.raises(ValueError, match="contains is empty"):
        model.when(contains="")
    with pytest.raises(TypeError, match="a text goes to contains="):
        model.when(cast("Any", "weather"))
    with pytest.raises(TypeError, match="contains: expected str, got 5"):
        model.when(contains=cast("Any", 5))
    with pytest.raises(ValueError, match="input_tokens must not be negative, not -1"):
        Usage(-1, 2)
    with pytest.raises(ValueError, match="the name of the tool is empty"):
        model.will_call_tool("")
    for value in (float("nan"), float("inf")):
        with pytest.raises(TypeError, match="not JSON"):
            model.will_call_tool("Bash", {"value": value})
        with pytest.raises(TypeError, match="not JSON"):
            model.will_call_tool("Bash", result={"values": [value]})
    with pytest.raises(TurnFailed):
        take(model, request())


NO_TEXTS: list[Callable[[Any], object]] = [
    lambda model: model.will_respond_with_text(None),
    lambda model: model.will_respond_with_text("a", thinking=1),
    lambda model: model.will_respond_with_text("a", usage=(1, 2)),
    lambda model: model.will_stream_text([1]),
    lambda model: model.will_stream_forever(["a", 1]),
    lambda model: model.will_call_tool(None),
    lambda model: model.will_call_tool("Bash", text=1),
    lambda model: model.will_call_tool("Bash", error=None),
    lambda model: model.will_call_tools(["Bash"]),
    lambda model: model.will_ask_user(None),
    lambda model: model.will_fail(message=1),
    lambda model: model.will_fail(after=[b"a"]),
    lambda model: Usage(cast("Any", "1"), 2),
]


@pytest.mark.parametrize("add", NO_TEXTS)
def test_what_is_no_text_is_refused_where_it_is_written(add: Callable[[Any], object]) -> None:
    model = FakeModel()
    with pytest.raises(TypeError):
        add(model)
    model.assert_exhausted()


def test_threads_may_script_and_ask_at_once() -> None:
    model = FakeModel()
    count = 500

    def script() -> None:
        for _ in range(count):
            model.will_respond_with_text("a")

    writers = [threading.Thread(target=script) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    answered: list[int] = []

    def ask() -> None:
        answered.append(len(texts(model, count)))

    readers = [threading.Thread(target=ask) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert answered == [count] * 4
    with pytest.raises(TurnFailed):
        take(model, request())


# --- answers by function


async def answer_to(model: FakeModel, text: str = "hi") -> Reply | Failure | Silence:
    return (await model.take(request(text))).answer


CALL = ScriptedToolCall("Read", {"path": "a"})

ANSWERS: list[tuple[Any, Reply | Failure | Silence]] = [
    ("a", Reply(("a",))),
    (CALL, Reply((CALL,))),
    (["Let me look.", CALL, "One moment."], Reply(("Let me look.", CALL, "One moment."))),
    (Failure("rate_limited"), Failure("rate_limited")),
    (Silence(), Silence()),
]


@pytest.mark.parametrize(("given", "wanted"), ANSWERS)
async def test_a_function_answers(given: Any, wanted: Reply | Failure | Silence) -> None:
    async def slowly(asked: ModelRequest) -> Any:
        await asyncio.sleep(0)
        return given

    model = FakeModel().will_answer(given).will_answer(lambda asked: given).will_answer(slowly)
    model.when(contains="rule").will_answer(lambda asked: given)
    assert [await answer_to(model) for _ in range(3)] == [wanted] * 3
    assert await answer_to(model, "rule") == wanted
    model.assert_exhausted()


async def test_a_function_sees_the_request_and_may_wait() -> None:
    goes_on = threading.Event()

    def answer(asked: ModelRequest) -> str:
        assert goes_on.wait(10)
        return f"{asked.last_text}, by {threading.current_thread().name}"

    model = FakeModel().will_answer(answer, times=2)
    asking = asyncio.create_task(answer_to(model, "one"))
    await model.wait_for_requests_async(1, timeout=10)
    goes_on.set()
    assert await asking == Reply(("one, by answer of the scripted model",))
    assert await answer_to(model, "two") == Reply(("two, by answer of the scripted model",))


FAILING: list[tuple[Callable[[ModelRequest], Any], str]] = [
    (lambda asked: 1 / 0, "the answer of .*<lambda> failed: ZeroDivisionError"),
    (lambda asked: None, "failed: TypeError: an answer is a text, .*, not None"),
    (lambda asked: ["a", 1], "failed: TypeError: text: expected str, got 1"),
    (lambda asked: pytest.fail("no"), "failed: Failed: no"),
]


@pytest.mark.parametrize(("function", "message"), FAILING)
async def test_a_function_that_fails_leaves_the_request_without_an_answer(
    function: Callable[[ModelRequest], Any], message: str
) -> None:
    model = FakeModel().will_answer(function)
    with pytest.raises(TurnFailed, match=message):
        await answer_to(model)
    assert model.unscripted_requests == [request()]
    with pytest.raises(ScriptMismatch, match=message):
        model.assert_exhausted()


def test_what_is_no_answer_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="an answer is a text"):
        FakeModel().will_answer(cast("str", 1))
    model = FakeModel().will_answer(["So ", CALL, "and so on."])
    with pytest.raises(
        ScriptMismatch, match=r"text 'So ' and call of Read\(.*\) and text 'and so on.' \(given 0"
    ):
        model.assert_exhausted()


# --- what was asked


async def test_waiting_without_blocking_the_loop() -> None:
    model = FakeModel().will_respond_with_text("a", times=None)
    asking = asyncio.create_task(answer_to(model, "from the loop"))
    # It is told of a request, and does not look when its time is over.
    async with asyncio.timeout(30):
        assert await model.wait_for_requests_async(1, timeout=60) == [request("from the loop")]
        await asking
        thread = threading.Thread(target=take, args=(model, request("from a thread")))
        thread.start()
        assert (await model.wait_for_requests_async(2, timeout=60))[1].last_text == "from a thread"
    thread.join()
    with pytest.raises(
        ModelRequestTimeout, match=r"2 of 3 requests arrived within 0\.01 s\n  user: 'from the loop'"
    ):
        await model.wait_for_requests_async(3, timeout=0.01)
    with pytest.raises(ValueError, match="count must be positive"):
        await model.wait_for_requests_async(0, timeout=1)


async def test_a_wait_that_is_cancelled_is_forgotten() -> None:
    model = FakeModel().will_respond_with_text("a")
    waiting = asyncio.create_task(model.wait_for_requests_async(1, timeout=math.inf))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await answer_to(model) == Reply(("a",))
    assert model.wait_for_requests(1, timeout=math.inf) == [request()]


def test_the_single_request() -> None:
    model = FakeModel().will_respond_with_text("a", times=None)
    with pytest.raises(ScriptMismatch, match="asked 0 times instead of once"):
        model.single_request()
    take(model, request("one"))
    assert model.single_request() == request("one")
    take(model, request("two"))
    with pytest.raises(
        ScriptMismatch, match="2 times instead of once\n  user: 'one', session 's-1'\n  user: 'two'"
    ):
        model.single_request()


def test_a_mismatch_says_why_each_rule_did_not_fit() -> None:
    model = FakeModel()
    model.when(contains="rain").will_respond_with_text("1")
    model.when(matches="^snow", times=1).will_respond_with_text("2")
    model.when(tool_result_of="Read").will_respond_with_text("3")
    model.when(agent="helper").will_respond_with_text("4")
    model.when(system_prompt="You help").will_respond_with_text("5")
    model.when(matching=lambda asked: False, contains="sun").will_respond_with_text("6")
    model.when(contains="sun", times=1).will_respond_with_text("7")
    model.when(contains="sun")
    take(model, request("sun"))
    with pytest.raises(TurnFailed) as caught:
        take(model, replace(request("sun"), agent="main"))
    tried = [
        "when(contains='rain'): the text is 'sun'",
        "when(matches='^snow'): the text is 'sun'",
        "when(tool_result_of='Read'): it does not end with a result of Read",
        "when(agent='helper'): agent 'main' asks",
        "when(system_prompt='You help'): the system prompt is 'prompt'",
        f"when({test_a_mismatch_says_why_each_rule_did_not_fit.__name__}.<locals>.<lambda>, contains='sun'): "
        "the function says no",
        "when(contains='sun'): it is used up (given 1)",
        "when(contains='sun'): it has no answer",
        "the queue: nothing was queued",
    ]
    assert str(caught.value).splitlines()[1:] == [f"  {one}" for one in tried]
    with pytest.raises(ScriptMismatch) as mismatch:
        model.assert_exhausted()
    assert [line[10:] for line in str(mismatch.value).splitlines() if line.startswith("    tried ")] == tried


def test_an_answer_may_be_passed_over() -> None:
    model = FakeModel().will_respond_with_text("a").will_respond_with_text("b")
    model.when(contains="rule", times=1).will_respond_with_text("r")
    model.pass_over(request("rule"))
    model.pass_over(request())
    assert texts(model, 1) == ["b"]
    model.pass_over(request())
    assert model.request_count == 1
    model.assert_exhausted()
