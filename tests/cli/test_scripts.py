"""Scripts of `serve`: files and modules that say what the model answers."""

from pathlib import Path

import pytest

from digitorn_testing._cli._failing import CommandFailed
from digitorn_testing._cli._scripts import load
from digitorn_testing.fakes import FakeDaemon

DOCUMENT = """
app: files
system_prompt: Be brief.
greeting: Hello.
rules:
- when: {contains: weather}
  answers:
  - will_respond_with_text: Sunny.
answers:
- will_call_tools: {calls: [{name: Bash, params: {command: ls}, result: a.txt}], text: Let me look.}
- will_respond_with_text: {text: One file., usage: {input_tokens: 3, output_tokens: 4}, times: 2}
- will_never_answer:
"""


def test_a_document(tmp_path: Path) -> None:
    file = tmp_path / "script.yaml"
    file.write_text(DOCUMENT, encoding="utf-8")
    scripted = load(str(file), None)
    with FakeDaemon(listen=False) as daemon:
        app = daemon.deploy(scripted.app, model=scripted.model)
        assert app.app_id == "files"
        with daemon.client() as client:
            assert client.get_app("files").greeting == "Hello."
            assert client.chat("files", "How is the weather?").content == "Sunny."
            result = client.chat("files", "list the files")
            assert (result.content, result.commentary) == ("One file.", ("Let me look.",))
            assert result.usage is not None
            assert result.usage.output_tokens >= 4
    assert scripted.model.last_request is not None
    assert "Be brief." in scripted.model.last_request.system_prompt


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("- a list", "must be a mapping"),
        ("a: [\nb", "line 2: expected ',' or ']', but got '<stream end>'"),
        ("a: \x07", "unacceptable character"),
        ("apps: x", "unknown member 'apps'"),
        ("answers: {}", "answers must be a list"),
        ("answers: [will_wait]", "answer 1 must be a mapping"),
        ("answers: [{will_sing: x}]", "answer 1 must have one member, which is one of: will_answer"),
        (
            "answers: [{will_wait: 1}, {will_wait: {minutes: 1}}]",
            "answer 2: unknown argument 'minutes'; known: seconds",
        ),
        (
            "answers: [{will_respond_with_text: {text: x, usage: {input: 1}}}]",
            "answer 1: unknown argument 'input'; known: input_tokens, output_tokens",
        ),
        ("answers: [{will_call_tool: }]", "answer 1: missing a required argument: 'name'"),
        ("answers: [{will_fail: {code: bored}}]", "unknown error code 'bored'"),
        ("rules: [{when: {contains: x}}]", "rule 1 must have the members 'when' and 'answers'"),
        ("rules: [{when: {}, answers: []}]", "rule 1: "),
    ],
)
def test_what_no_script_can_say(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "script.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(CommandFailed) as refused:
        load(str(file), None)
    assert said in str(refused.value)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.status == 2


def test_a_python_file(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(
        "from digitorn_testing.builders import AppBuilder\n"
        "from digitorn_testing.fakes import FakeModel\n"
        "model = FakeModel().will_respond_with_text('Hello.')\n"
        "def make(): return FakeModel().will_respond_with_text('Made.')\n"
        "app = AppBuilder('theirs')\n"
        "other = 5\n",
        encoding="utf-8",
    )
    assert load(str(file), None).app.app_id == "theirs"
    made = load(f"{file}:make", "theirs")
    with FakeDaemon(listen=False) as daemon:
        daemon.deploy(made.app, model=made.model)
        with daemon.client() as client:
            assert client.chat("theirs", "hi").content == "Made."
    with pytest.raises(CommandFailed, match="other must be a FakeModel, or a function that returns one"):
        load(f"{file}:other", None)
    with pytest.raises(CommandFailed, match="defines the app 'theirs'"):
        load(str(file), "mine")
    with pytest.raises(CommandFailed, match="ModuleNotFoundError"):
        load("nowhere.at_all", None)


def test_without_a_script_the_model_repeats_what_it_is_told() -> None:
    scripted = load(None, None)
    with FakeDaemon(listen=False) as daemon:
        daemon.deploy(scripted.app, model=scripted.model)
        with daemon.client() as client:
            assert client.chat("my-app", "one").content == "You said: one"
            assert client.chat("my-app", "two").content == "You said: two"
