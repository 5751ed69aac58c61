"""`switchyard check`: every problem of a configuration folder as `file:line:column: message`, then what is no mistake and hardly
meant, as `file:line:column: warning: message`, then one line that sums up; without problems, what to expect of each rollout
policy and watched model. Where SWITCHYARD_ALLOWED_HOSTS and SWITCHYARD_GITHUB_REPOS are set, rules are held against them too.
`--rewrite` prints nothing but what to change for today's spellings.
"""

import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from shared.cli.given import FailedError, bounds

if TYPE_CHECKING:
    from shared.errors import Problem
    from shared.quality.watch import Watch
    from shared.rollout.policy import Policy
    from shared.rules.audit import Finding
    from shared.rules.load import Loaded


def run(arguments: Namespace) -> int:
    if not arguments.config.is_dir():
        raise FailedError(f"there is no configuration folder {arguments.config}: name the folder to check")
    from shared.rules.audit import audit
    from shared.rules.called import uncalled
    from shared.rules.load import load_texts
    from shared.settings import Settings, read_folder

    loaded, settings = load_texts(read_folder(arguments.config), bounds=bounds()), Settings.of(os.environ)
    findings = sorted([*audit(loaded), *uncalled(loaded, settings.allowed_hosts, settings.github_repos)])
    warnings = [one for one in findings if not one.note]
    if arguments.rewrite:
        _rewrite(arguments.config, loaded)
    elif arguments.json:
        print(_json(arguments.config, loaded, findings))
    else:
        _print(arguments, loaded, findings)
    return 1 if loaded.problems or (warnings and arguments.strict) else 0


def _print(arguments: Namespace, loaded: "Loaded", findings: "Sequence[Finding]") -> None:
    folder = arguments.config
    for problem in sorted(loaded.problems):
        print(replace(problem, file=str(folder / problem.file)))
    warnings = [one for one in findings if not one.note]
    for one in findings if arguments.verbose else warnings:
        kind = "note" if one.note else "warning"
        print(f"{folder / one.file}:{one.line}:{one.column}: {kind}: {one.message}")
    counted = _count(len(loaded.rules), "rule", "rules")
    more = [_count(len(loaded.policies), "rollout policy", "rollout policies")] if loaded.policies else []
    more += [_count(len(loaded.quality), "watched model", "watched models")] if loaded.quality else []
    if more:
        counted = f"{', '.join([counted, *more[:-1]])} and {more[-1]}"
    warned = f", {_count(len(warnings), 'warning', 'warnings')}" if warnings else ""
    if not loaded.problems:
        for policy in loaded.policies.values():
            print("\n".join(_told(policy, loaded)))
        for watch in loaded.quality.values():
            print("\n".join(_watched(watch, loaded)))
        print(f"{folder}: {counted}, no problems{warned} (version {loaded.version})")
        return
    files = _count(len({problem.file for problem in loaded.problems}), "file", "files")
    wrong = _count(len(loaded.problems), "problem", "problems")
    print(f"{folder}: {wrong} in {files}{warned}; {counted} would be in force")


def _rewrite(folder: Path, loaded: "Loaded") -> None:
    """On standard output a diff alone; what a person has to write stands on standard error."""
    from shared.rules.former import rewritten
    from shared.settings import read_folder

    texts = read_folder(folder)
    for file in sorted({one.file for one in loaded.former}):
        old, new = texts[file], rewritten(file, texts[file], bounds=loaded.bounds)
        if new is None:
            said = "\n".join(f"{folder / str(one)}" for one in loaded.former if one.file == file)
            print(
                f"{said}\nswitchyard: {folder / file} can't be rewritten by itself: write it by hand", file=sys.stderr
            )
            continue
        name = (folder / file).as_posix()
        for line in unified_diff(
            old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{name}", f"b/{name}"
        ):
            print(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n", end="")


def _json(folder: Path, loaded: "Loaded", findings: "Sequence[Finding]") -> str:
    def placed(one: "Problem | Finding") -> dict[str, object]:
        return {"file": str(folder / one.file), "line": one.line, "column": one.column, "message": one.message}

    def found(one: "Finding") -> dict[str, object]:
        return {**placed(one), "code": one.code, "also": [str(folder / place) for place in one.also]}

    said = {
        "version": loaded.version,
        "rules": len(loaded.rules),
        "policies": len(loaded.policies),
        "quality": len(loaded.quality),
        "problems": [placed(one) for one in sorted(loaded.problems)],
        "warnings": [found(one) for one in findings if not one.note],
        "notes": [found(one) for one in findings if one.note],
    }
    return msgspec.json.format(msgspec.json.encode(said), indent=2).decode()


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


def _told(policy: "Policy", loaded: "Loaded") -> Iterator[str]:
    from shared.rollout.hours import written
    from shared.rollout.times import times

    took = times(policy)
    promotion, rollback = (" to ".join(map(written, both)) for both in (took.promotion, took.rollback))
    yield f"{policy.name}: a promotion takes {promotion}, a rollback {rollback}"
    if took.besides:
        yield f"  on top of the longest, without a bound: {'; '.join(took.besides)}"
    budget = _budget(policy)
    if budget:
        yield f"  {budget}"
    steps = (step for rule in loaded.rules.rules for step in rule.steps if step.action == "promote")
    if not any(step.params["policy"] == policy.name for step in steps):
        yield f"  no rule promotes with {policy.name}: write '- promote: {policy.name}' under 'do' of a rule"


def _watched(watch: "Watch", loaded: "Loaded") -> Iterator[str]:
    from shared.rollout.hours import written

    late = f"; late labels change it for {written(watch.reopen)}" if watch.reopen else ""
    yield f"{watch.name}: a model that gets clearly worse is told of within {written(watch.noticed_within)}{late}"
    each = f"each comparison of the whole is made at {100 * watch.level():.2g} %"
    yield f"  one that keeps its limits is told of with at most {100 * watch.alpha:.3g} % probability in 30 days: {each}"
    if not any("ModelQualityDegraded" in rule.events for rule in loaded.rules.rules):
        yield "  no rule hears of it: write one with 'event: ModelQualityDegraded'"


def _budget(policy: "Policy") -> str:
    """How often a healthy canary is rolled back, by its statistical gates; ceilings are no statistics."""
    from shared.rollout.policy import CeilingGate

    alphas = [gate.alpha for gate in policy.gates if not isinstance(gate, CeilingGate)]
    if not alphas:
        return ""
    shares = [alpha / len(alphas) for alpha in alphas]
    each = f"{100 * shares[0]:.3g} %{' each' if len(shares) > 1 else ''}"
    judged = each if len(set(shares)) == 1 else ", ".join(f"{100 * one:.3g} %" for one in shares)
    gates = _count(len(alphas), "gate", "gates")
    return f"a healthy canary is rolled back with at most {100 * sum(shares):.3g} % probability: {gates}, judged at {judged}"
