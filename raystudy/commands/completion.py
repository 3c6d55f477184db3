"""`raystudy completion`: what the shell needs to complete commands, flags and their values; written from the parser."""

import argparse
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from raystudy.commands import EXIT_OK
from raystudy.commands.frame import Subparsers, add_command

_EXAMPLES = """
eval "$(raystudy completion bash)"
eval "$(raystudy completion zsh)"
raystudy completion fish | source
raystudy completion bash > ~/.local/share/bash-completion/completions/raystudy
"""

_OF_ALL = ("--help", "--version", "--debug")
"""What stands before a command."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Flag:
    """A flag as a shell has to know it."""

    names: tuple[str, ...]
    takes_value: bool
    choices: tuple[str, ...]
    """Values that can be completed; of others, files are."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """A command as a shell has to know it."""

    text: str
    flags: tuple[Flag, ...]
    choices: tuple[str, ...]
    """Of what it takes without a flag; files where there are none."""


def add(added: "Subparsers[Any]") -> None:
    """The command that helps the shell."""
    made = add_command(
        added,
        "completion",
        "print what makes a shell complete commands and flags",
        lambda options: _print(added, options.shell),
        _EXAMPLES,
        "The first three are for this shell; for later ones, put yours into ~/.bashrc, ~/.zshrc or fish's config.fish.",
    )
    made.add_argument("shell", choices=tuple(_SHELLS), help="yours")


def completed_commands(added: "Subparsers[Any]") -> dict[str, Completed]:
    """What can be completed of every command, by its name."""
    texts = {action.dest: action.help or "" for action in added._choices_actions}
    return {
        name: Completed(
            text=texts.get(name, ""),
            flags=tuple(_flags(parser)),
            choices=tuple(str(c) for a in parser._actions if not a.option_strings for c in a.choices or ()),
        )
        for name, parser in added.choices.items()
    }


def _flags(parser: argparse.ArgumentParser) -> Iterator[Flag]:
    for action in parser._actions:
        if action.option_strings:
            yield Flag(
                names=tuple(action.option_strings),
                takes_value=action.nargs != 0,
                choices=tuple(map(str, action.choices or ())),
                text=_plain(action.help or ""),
            )


def _plain(text: str) -> str:
    """Without what argparse fills in, and what shells would read."""
    readable = text.replace("'", "").replace("[", "(").replace("]", ")")
    return " ".join(word for word in readable.split() if "%" not in word)


def _print(added: "Subparsers[Any]", shell: str) -> int:
    print(_SHELLS[shell](completed_commands(added)))
    return EXIT_OK


def bash(commands: Mapping[str, Completed]) -> str:
    """A bash script that defines the completion of `raystudy`."""
    values, words = [], []
    for name, command in commands.items():
        for flag in command.flags:
            if flag.takes_value:
                pattern = "|".join(f"{name}:{option}" for option in flag.names)
                values.append(f"    {pattern}) {_compgen(flag.choices)}; return ;;")
        options = " ".join(option for flag in command.flags for option in flag.names)
        other = _compgen(command.choices)
        words.append(f"    {name}) if [[ $cur == -* ]]; then {_compgen([options])}; else {other}; fi ;;")
    return f"""# bash completion for raystudy
_raystudy() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} command= word IFS=$' \\t\\n'
  COMPREPLY=()
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    if [[ $word != -* ]]; then command=$word; break; fi
  done
  case $command:$prev in
{chr(10).join(values)}
  esac
  case $command in
    "") {_compgen([*commands, *_OF_ALL])} ;;
{chr(10).join(words)}
  esac
}}
complete -o filenames -o bashdefault -F _raystudy raystudy"""


def _compgen(choices: "tuple[str, ...] | list[str]") -> str:
    """Bash that completes ``choices``, or files where there are none."""
    given = f"-W {shlex.quote(' '.join(choices))}" if choices else "-f"
    return f'COMPREPLY=($(compgen {given} -- "$cur"))'


def zsh(commands: Mapping[str, Completed]) -> str:
    """A zsh script that defines the completion of `raystudy`."""
    described = "\n".join(f"    {shlex.quote(f'{name}:{_plain(c.text)}')}" for name, c in commands.items())
    cases = []
    for name, command in commands.items():
        specs = [f"'{option}[{flag.text}]{_zsh_value(flag)}'" for flag in command.flags for option in flag.names]
        specs.append(f"'*:argument:({' '.join(command.choices)})'" if command.choices else "'*:file:_files'")
        cases.append(f"    {name}) _arguments {' '.join(specs)} ;;")
    return f"""#compdef raystudy
_raystudy() {{
  local -a commands
  commands=(
{described}
  )
  while (( CURRENT > 2 )) && [[ $words[2] == -* ]]; do shift words; (( CURRENT-- )); done
  if (( CURRENT == 2 )); then
    if [[ $words[2] == -* ]]; then compadd -- {" ".join(_OF_ALL)}; else _describe command commands; fi
    return
  fi
  shift words
  (( CURRENT-- ))
  case $words[1] in
{chr(10).join(cases)}
  esac
}}
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit; }}
compdef _raystudy raystudy"""


def _zsh_value(flag: Flag) -> str:
    if not flag.takes_value:
        return ""
    return f":value:({' '.join(flag.choices)})" if flag.choices else ":value:_files"


def fish(commands: Mapping[str, Completed]) -> str:
    """A fish script that defines the completion of `raystudy`."""
    flags = " ".join(f"-l {flag.removeprefix('--')}" for flag in _OF_ALL)
    lines = ["# fish completion for raystudy", f"complete -c raystudy -n __fish_use_subcommand {flags}"]
    for name, command in commands.items():
        lines.append(f"complete -c raystudy -n __fish_use_subcommand -f -a {name} -d '{_plain(command.text)}'")
        here = f"complete -c raystudy -n '__fish_seen_subcommand_from {name}'"
        if command.choices:
            lines.append(f"{here} -f -a '{' '.join(command.choices)}'")
        for flag in command.flags:
            names = " ".join(f"-l {o[2:]}" if o.startswith("--") else f"-s {o[1:]}" for o in flag.names)
            value = (f" -x -a '{' '.join(flag.choices)}'" if flag.choices else " -r") if flag.takes_value else ""
            lines.append(f"{here} {names}{value} -d '{flag.text}'")
    return "\n".join(lines)


_SHELLS: dict[str, Callable[[Mapping[str, Completed]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
