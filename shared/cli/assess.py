"""`switchyard assess`: writes the responsible AI assessment of a model for a person to answer, and says what is still open."""

import re
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from shared.cli.given import FailedError
from shared.errors import PermanentError

if TYPE_CHECKING:
    from shared.rules.assessments import Open

_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
"""As Azure ML names models."""


def run(arguments: Namespace) -> int:
    from shared.rules import assessments

    folder, model = arguments.config, arguments.model
    if not folder.is_dir():
        raise FailedError(f"there is no configuration folder {folder}: name it by --config")
    if not _MODEL.fullmatch(model):
        raise FailedError(f"{model!r} is no name of a model: letters, digits, '-', '_' and '.', without its version")
    path: Path = folder / assessments.file_of(model)
    text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape") if path.is_file() else None
    added: tuple[str, ...] = ()
    try:
        if not arguments.check:
            new, added = assessments.written(model, text, arguments.language)
            if new != text:
                path.parent.mkdir(exist_ok=True)
                path.write_text(new, encoding="utf-8", errors="surrogateescape")
                text = new
        left, problems = assessments.still_open(str(path), text or "")
    except PermanentError as error:
        raise FailedError(f"nothing was written: {error}") from error
    if problems:
        raise FailedError(str(problems[0]))
    if arguments.json:
        print(_json(path, model, added, left))
    else:
        _print(arguments, path, added, left, there=text is not None)
    return 1 if arguments.check and left else 0


def _print(arguments: Namespace, path: Path, added: tuple[str, ...], left: "list[Open]", *, there: bool) -> None:
    from shared.rules.assessments import GUIDE, file_of

    if added:
        print(f"{path}: written, with {len(added)} questions: {', '.join(added)}")
    if not there:
        print(f"{path}:1:1: there is no such file: `switchyard assess {arguments.model}` writes it")
    for one in left:
        said = "is not answered" if one.asked else "is not there"
        question = GUIDE[one.key][arguments.language][0]
        print(f"{path}:{one.at.line}:{one.at.column}: {one.key} {said}{one.hint}: {question}")
    tag = f"tag the model version with responsible_ai: {file_of(arguments.model)}"
    if left:
        print(f"{len(left)} of {len(GUIDE)} questions are open; when they are answered, {tag}")
    else:
        print(f"{path}: all {len(GUIDE)} questions are answered; {tag}")


def _json(path: Path, model: str, added: tuple[str, ...], left: "list[Open]") -> str:
    from shared.rules.assessments import GUIDE, file_of

    said = {
        "file": str(path),
        "tag": {"responsible_ai": file_of(model)},
        "added": added,
        "complete": not left,
        "open": [
            {
                "question": one.key,
                "line": one.at.line,
                "column": one.at.column,
                "asks": {code: text for code, (text, _) in GUIDE[one.key].items()},
            }
            for one in left
        ],
    }
    return msgspec.json.format(msgspec.json.encode(said), indent=2).decode()
