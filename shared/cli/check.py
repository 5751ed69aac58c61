"""`switchyard check`: every problem of a configuration folder as `file:line:column: message`, then one line that sums up."""

from argparse import Namespace
from dataclasses import replace

from shared.cli.given import FailedError


def run(arguments: Namespace) -> int:
    if not arguments.config.is_dir():
        raise FailedError(f"there is no configuration folder {arguments.config}: name the folder to check")
    from shared.rules.load import load_texts
    from shared.settings import read_folder

    loaded = load_texts(read_folder(arguments.config))
    for problem in sorted(loaded.problems):
        print(replace(problem, file=str(arguments.config / problem.file)))
    rules = f"{len(loaded.rules)} {'rule' if len(loaded.rules) == 1 else 'rules'}"
    if not loaded.problems:
        print(f"{arguments.config}: {rules}, no problems (version {loaded.version})")
        return 0
    files = len({problem.file for problem in loaded.problems})
    wrong = len(loaded.problems)
    print(
        f"{arguments.config}: {wrong} {'problem' if wrong == 1 else 'problems'} in {files} {'file' if files == 1 else 'files'};"
        f" {rules} would be in force"
    )
    return 1
