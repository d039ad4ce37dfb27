"""The scripted model, without a daemon."""

import threading

import pytest

from digitorn.testing import NOT_GIVEN
from digitorn.testing.fakes import FakeModel, ModelMessage, ModelRequest, Usage
from digitorn.testing.fakes._failures import FAILURES, TurnFailed
from digitorn.testing.fakes._model import FailureAnswer, Scripted, TextAnswer, ToolCallAnswer


def request(text: str = "hi") -> ModelRequest:
    return ModelRequest("prompt", (ModelMessage("user", text),), (), "app", "s-1")


def texts(model: FakeModel, count: int) -> list[str]:
    """The next answers, which must be texts."""
    found: list[str] = []
    for _ in range(count):
        answer = model.take(request()).answer
        assert isinstance(answer, TextAnswer)
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
    with pytest.raises(TurnFailed, match=r"used up.*'s-1'.*'app'.*'what now") as caught:
        FakeModel().take(request("what now" + "?" * 100))
    assert caught.value.failure.code == "internal_error"
    assert len(caught.value.message) < 300


def test_requests_are_kept_even_those_without_an_answer() -> None:
    model = FakeModel().will_respond_with_text("a")
    assert (model.last_request, model.request_count) == (None, 0)
    model.take(request("one"))
    with pytest.raises(TurnFailed):
        model.take(request("two"))
    assert [one.last_text for one in model.requests] == ["one", "two"]
    assert (model.last_request, model.request_count) == (request("two"), 2)
    model.reset()
    assert model.requests == []


def test_waiting_belongs_to_the_next_answer_and_adds_up() -> None:
    model = FakeModel().will_wait(1).will_wait(0.5).will_respond_with_text("a").will_respond_with_text("b")
    assert [model.take(request()).wait for _ in range(2)] == [1.5, 0.0]


def test_a_tool_call_carries_what_the_tool_does() -> None:
    model = FakeModel().will_call_tool("Bash", {"a": 1}, result={"b": 2}, text="Hm.", delay=0.5)
    assert model.take(request()) == Scripted(
        ToolCallAnswer("Bash", {"a": 1}, {"b": 2}, "", False, None, "", "Hm.", 0.5), 0.0
    )


def test_no_result_is_not_the_result_none() -> None:
    model = FakeModel().will_call_tool("Bash").will_call_tool("Bash", result=None)
    answers = [model.take(request()).answer for _ in range(2)]
    assert [one.result for one in answers if isinstance(one, ToolCallAnswer)] == [NOT_GIVEN, None]


def test_a_text_result_becomes_an_object() -> None:
    answer = FakeModel().will_call_tool("Bash", result="text").take(request()).answer
    assert isinstance(answer, ToolCallAnswer)
    assert answer.result == {"output": "text"}


def test_the_script_does_not_change_with_what_it_was_made_of() -> None:
    params = {"list": [1]}
    model = FakeModel().will_call_tool("Bash", params)
    params["list"].append(2)
    answer = model.take(request()).answer
    assert isinstance(answer, ToolCallAnswer)
    assert answer.params == {"list": [1]}


def test_a_question_is_an_approval_of_its_own_tool() -> None:
    answer = FakeModel().will_ask_user("Which?", choices=("a", "b")).take(request()).answer
    assert isinstance(answer, ToolCallAnswer)
    assert (answer.name, answer.requires_approval) == ("ask_user", True)
    assert answer.params == {"question": "Which?", "choices": ["a", "b"]}


@pytest.mark.parametrize("code", sorted(FAILURES))
def test_every_code_of_the_contract_can_be_scripted(code: str) -> None:
    assert FakeModel().will_fail(code).take(request()).answer == FailureAnswer(code, None)


def test_usage_is_kept() -> None:
    answer = FakeModel().will_respond_with_text("a", usage=Usage(1, 2)).take(request()).answer
    assert isinstance(answer, TextAnswer)
    assert answer.usage == Usage(1, 2)


def test_what_cannot_be_meant_is_refused_where_it_is_written() -> None:
    model = FakeModel()
    with pytest.raises(ValueError, match=r"unknown error code 'oops'.*provider_error"):
        model.will_fail("oops")
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
    with pytest.raises(TypeError):
        model.will_call_tool("Bash", {"when": object()})
    with pytest.raises(TurnFailed):
        model.take(request())


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
        model.take(request())
