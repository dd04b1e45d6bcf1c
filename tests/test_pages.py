"""What the pages show can be typed and found: commands parse; options, modules, files, headings and statuses exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import calibration.__main__
import harness.__main__
from estimator.options import parser
from harness.plan import read_plan

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "DESIGN.md", "CHANGELOG.md", "docs/accuracy.md", "docs/ci.md",
         "results/README.md", "results/reference/api/README.md", "results/reference/published/README.md")  # fmt: skip
ROOMS = ("calibration", "docs", "estimator", "harness", "results/machines", "results/reference", "tests")
FILES = {path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*")}
# Written by runs, read on a system, or of another project.
ELSEWHERE = ("results/api.json", "results/coefficients.json", "results/machine.json", "backends/openai/http.py", "/")
APPS = {"harness": harness.__main__.app, "calibration": calibration.__main__.app}


def text(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def shown(page: str) -> Iterator[tuple[str, list[str]]]:
    """Package and arguments of each command of ours on a line of its own: indented, or a step of a workflow."""
    for line in text(page).splitlines():
        if found := re.match(r"\s+(?:\.venv/bin/)?python -m (harness|calibration|estimator) (.*)", line):
            # A part in brackets may be left out.
            words = re.sub(r"[\[\]]|\.\.\.", "", found[2].split(" || ")[0])
            yield found[1], shlex.split(words, comments=True)


def parse(package: str, arguments: list[str]) -> None:
    """Parses as the command line of `package` does, and runs nothing; raises what it would say."""
    if package == "estimator":
        parser().parse_args(arguments)
        return
    command: Any = typer.main.get_command(APPS[package])
    context = command.make_context("", list(arguments))
    while hasattr(command, "resolve_command"):
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, arguments, parent=context)


def commands_of(command: ArgumentParser) -> Iterator[ArgumentParser]:
    """A command of argparse and all below it."""
    yield command
    for action in command._actions:
        for deeper in action.choices.values() if isinstance(action.choices, dict) else ():
            yield from commands_of(deeper)


def options_of(command: Any) -> Iterator[Any]:
    """The options and arguments of a command of typer and of all below it."""
    yield from command.params
    for deeper in getattr(command, "commands", {}).values():
        yield from options_of(deeper)


@pytest.mark.parametrize(("page", "least"), [("README.md", 60), ("docs/ci.md", 9), ("docs/accuracy.md", 1)])
def test_every_command_that_a_page_shows_parses(page: str, least: int) -> None:
    commands = list(shown(page))
    assert len(commands) >= least
    for package, arguments in commands:
        parse(package, arguments)


@pytest.mark.parametrize("command", ["harness show RUN", "calibration check RUN", "estimator predict"])
def test_an_option_that_does_not_exist_would_be_noticed(command: str) -> None:
    package, *arguments = command.split()
    parse(package, arguments)
    with pytest.raises(Exception, match="--nothing"):
        parse(package, [*arguments, "--nothing"])


def test_every_option_that_the_readme_and_the_page_on_ci_name_exists() -> None:
    known = {word for command in commands_of(parser()) for action in command._actions for word in action.option_strings}
    for app in APPS.values():
        for option in options_of(typer.main.get_command(app)):
            known |= {*option.opts, *option.secondary_opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text("README.md") + text("docs/ci.md")))
    assert len(named) > 60
    assert named - known == set()


def test_every_option_has_a_help_and_those_of_the_estimator_say_their_default() -> None:
    actions = [action for command in commands_of(parser()) for action in command._actions]
    for action in (action for action in actions if not isinstance(action.choices, dict)):
        assert action.help, action.option_strings
        if action.default not in (None, False, [], SUPPRESS):
            default = "on" if action.default is True else str(action.default).removesuffix(".0")
            assert re.search(rf"\((?:%\(default\)s|{default})\b", action.help), action.option_strings
    for app in APPS.values():
        assert [option.name for option in options_of(typer.main.get_command(app)) if not option.help] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_module_file_and_heading_that_a_page_names_exists(page: str) -> None:
    words = text(page)
    modules = set(re.findall(r"python -m ([\w.]+\w)", words))
    assert {name for name in modules if importlib.util.find_spec(name) is None} == set()
    files = set(re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|md|csv|toml|json|jsonl))`", words))
    ends = {"/".join(name.split("/")[at:]) for name in FILES for at in range(name.count("/") + 1)}
    assert {name for name in files if not name.startswith(ELSEWHERE)} - ends == set()
    for link in re.findall(r"\]\((?!http)([^)]+)\)", words):
        name, _, heading = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        heads = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
        assert heading in ("", *(re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads)), link


def test_the_readme_tells_every_exit_status_that_the_code_has_and_no_other() -> None:
    told = {int(row) for row in re.findall(r"^\| (\d+) \|", text("README.md"), re.MULTILINE)}
    code = "".join((ROOT / name).read_text("utf-8") for name in FILES if re.match(r"(?!tests).*\.py$", name))
    found = {
        int(number)
        for number in re.findall(r"(?:exit_status|INTERRUPTED) = (\d+)|sys\.exit\((\d+)\)", code)
        for number in number
        if number
    }
    assert told == {0, *found}


def test_the_plan_file_of_the_readme_can_be_run(tmp_path: Path) -> None:
    (block,) = re.findall(r"### Plan files\n\n((?:    .*\n)+)", text("README.md"))
    (tmp_path / "plan.toml").write_text(re.sub(r"^    ", "", block, flags=re.MULTILINE), "utf-8")
    plan = read_plan(tmp_path / "plan.toml")
    assert (plan.models, plan.budget_s, plan.shapes[0].depth_tokens) == (("tinyllama", "llama3.2:1b"), 600.0, 512)


def test_the_scenario_file_of_the_readme_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from estimator.__main__ import main

    (block,) = re.findall(r"that the answers must keep:\n\n((?:    .*\n|\n)+?)(?=\S)", text("README.md"))
    (tmp_path / "team.toml").write_text(re.sub(r"^    ", "", block, flags=re.MULTILINE), "utf-8")
    assert main(["scenarios", "check", str(tmp_path / "team.toml")]) in (0, 1)
    assert "chat on the team's laptops" in capsys.readouterr().out
