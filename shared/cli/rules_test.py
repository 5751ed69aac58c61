"""`switchyard test`: plays the rule tests of a configuration folder, and says what went otherwise than expected."""

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import msgspec

from shared.cli.given import FailedError, bounds
from shared.errors import printable
from shared.rehearsal.story import FOLDER, read_stories
from shared.rehearsal.trial import as_text, covered_text, try_all
from shared.rules.load import load_texts
from shared.settings import read_folder


def run(arguments: Namespace) -> int:
    folder: Path = arguments.config
    if not folder.is_dir():
        raise FailedError(f"there is no configuration folder {folder}: name the folder to test")
    loaded = load_texts(read_folder(folder), bounds=bounds())
    stories, wrong = read_stories(read_tests(folder), loaded)
    broken = [name for name in loaded.rejected_files if name.startswith("rules/")]
    if broken:
        wrong = [one for one in wrong if not one.message.startswith("unknown rule ")]
    # Tests of rules that are not in force would fail, or pass, for no good reason.
    problems = [replace(one, file=str(folder / one.file)) for one in sorted((*loaded.problems, *wrong))]
    trials, covered = try_all(stories, loaded)
    good = not problems and all(trial.passed for trial in trials) and not (arguments.coverage and covered.missing)
    if arguments.json:
        told = {"problems": [str(one) for one in problems], "tests": msgspec.to_builtins(trials)}
        if arguments.coverage:
            names = ("rule", "file", "line", "said")
            missing = [dict(zip(names, one, strict=True)) for one in covered.missing]
            told["coverage"] = {"rules": covered.rules, "missing": missing}
        print(json.dumps(told, ensure_ascii=False, indent=2))
        return 0 if good else 1
    for one in problems:
        print(one)
    if broken:
        print(f"{folder}: tests that name rules of {', '.join(broken)} are left out until that is mended")
    if not trials and not problems:
        print(f"{folder}: there are no tests: write {folder / FOLDER}NAME.yaml")
    else:
        _show(as_text(trials, f"{folder}/"))
    if arguments.coverage:
        _show(covered_text(covered, f"{folder}/"))
    return 0 if good else 1


def _show(text: str) -> None:
    print("\n".join(printable(line) for line in text.splitlines()))


def read_tests(folder: Path) -> dict[str, str]:
    """The texts of tests/, and every JSON file that a test may send."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        wanted = path.suffix == ".json" or (name.startswith(FOLDER) and path.suffix in {".yaml", ".yml"})
        if wanted and path.is_file():
            files[name] = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    return files
