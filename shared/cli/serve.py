"""`switchyard serve`."""

from argparse import Namespace

from shared.cli.given import FailedError


def run(arguments: Namespace) -> int:
    if not arguments.config.is_dir():
        raise FailedError(f"there is no configuration folder {arguments.config}: name one with --config")
    try:
        from local.serve import serve
    except ModuleNotFoundError as error:
        raise FailedError(
            f"the embedded host needs {error.name}, which is not installed: install `switchyard[local]`"
        ) from error
    return serve(arguments.config, arguments.port, arguments.state, simulate=arguments.simulate, story=arguments.story)
