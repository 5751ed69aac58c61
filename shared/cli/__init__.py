"""`switchyard`: the command line. A command's module is imported when it runs, so that help and checks start at once."""

import argparse
import getpass
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from shared import VERSION
from shared.cli.given import LOCAL, FailedError


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 well, 1 not, 2 (by argparse) misused."""
    arguments = _parser().parse_args(argv)
    try:
        return int(import_module(f"shared.cli.{arguments.module}").run(arguments))
    except FailedError as error:
        print(f"switchyard: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `switchyard events list | head`
        sys.stderr.close()
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="switchyard", description="Event-driven MLOps automation for Azure Machine Learning."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _serve(commands.add_parser("serve", help="run the whole service on this machine"))
    _check(commands.add_parser("check", help="validate a configuration folder"))
    _explain(commands.add_parser("explain", help="say which rules an event matches, and why the others do not"))
    _test(commands.add_parser("test", help="play the rule tests of a configuration folder"))
    _impact(commands.add_parser("impact", help="say what an edit of the rules would have changed over recorded events"))
    _assess(
        commands.add_parser("assess", help="write the responsible AI assessment of a model, for a person to answer")
    )
    _filters(commands.add_parser("filters", help="print the Event Grid subscriptions that the rules need, and no more"))
    _send(commands.add_parser("send", help="publish events"))
    _events(commands.add_parser("events", help="look at the events of a running service, and replay them"))
    _rollouts(commands.add_parser("rollouts", help="look at the rollouts of a running service, and decide about them"))
    _silences(commands.add_parser("silences", help="hold messages back for a time"))
    _freezes(commands.add_parser("freezes", help="hold rollouts back for a time"))
    _quality(
        commands.add_parser("quality", help="hold predictions of a running service's models against what came true")
    )
    return parser


def _serve(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="serve")
    _config(parser)
    parser.add_argument(
        "--port", type=_port, default=7071, help="of the Event Grid path, the API and the console (7071)"
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=Path(".state/switchyard.db"),
        metavar="FILE",
        help="the SQLite file that keeps queue, journal and records (.state/switchyard.db)",
    )
    parser.add_argument("--simulate", action="store_true", help="add the simulated Azure, so that no account is needed")
    parser.add_argument("--story", action="store_true", help="play the demonstration, then keep serving")


def _check(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="check")
    parser.add_argument("config", nargs="?", type=Path, default=Path("config"), metavar="DIR", help="(config)")
    parser.add_argument("--strict", action="store_true", help="warnings count as problems (exit status 1)")
    parser.add_argument("--verbose", action="store_true", help="also what is only worth a look")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument(
        "--rewrite",
        action="store_true",
        help="print only what to change for today's spellings, as a diff for `git apply`; nothing is written",
    )
    _json(shape)


def _explain(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="explain")
    parser.add_argument("event", metavar="EVENT.json", help="an event, or an array of them; - reads standard input")
    _config(parser)
    parser.add_argument("--at", metavar="TIME", help="as if the event had happened at this RFC 3339 time")
    parser.add_argument(
        "--facts",
        type=Path,
        metavar="FACTS.json",
        help='what lookups would find: {"metrics": {"auc": 0.93}, "job": {"error": "…"}}; without it, rules that need one wait',
    )
    _json(parser)


def _test(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="rules_test")
    parser.add_argument("config", nargs="?", type=Path, default=Path("config"), metavar="DIR", help="(config)")
    parser.add_argument("--coverage", action="store_true", help="name rules that no test fires; there should be none")
    _json(parser)


def _impact(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="impact")
    for name, said in (("from", "the configuration in force"), ("to", "the configuration to be")):
        parser.add_argument(f"--{name}", dest=f"{name}_", type=Path, required=True, metavar="DIR", help=said)
    parser.add_argument(
        "--events",
        required=True,
        metavar="FILE.jsonl",
        help="recorded events, one a line, also .gz; a folder of such files; - reads standard input",
    )
    parser.add_argument("--markdown", action="store_true", help="print Markdown, for a comment on a pull request")
    parser.add_argument("--progress", action="store_true", help="show how far it is, also where that is no terminal")
    _json(parser)


def _assess(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="assess")
    parser.add_argument("model", metavar="MODEL", help="the name of the model, without its version")
    _config(parser)
    parser.add_argument("--language", choices=("en", "ja"), default="en", help="of the guiding text (en)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 while a question is open")
    _json(parser)


def _filters(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="filters")
    _config(parser)
    parser.add_argument("--topic", metavar="NAME", help="only of this workspace, by name or ARM id, or publisher")
    parser.add_argument(
        "--deliver",
        choices=("function", "queue"),
        default="function",
        help="to on_event by its key, or to the queue switchyard-events by the topic's identity, with dead letters (function)",
    )
    parser.add_argument(
        "--one", action="store_true", help="one subscription a topic: fewer to keep, and more events that no rule wants"
    )
    parser.add_argument("--cloudevents", action="store_true", help="for delivery in the CloudEvents 1.0 schema")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--format", choices=("bicep", "json"), default="bicep", help="(bicep)")
    _json(form)


def _send(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="send")
    parser.add_argument(
        "files", nargs="+", metavar="EVENT.json", help="an event, or an array of them; - reads standard input"
    )
    parser.add_argument(
        "--to",
        default=LOCAL,
        metavar="URL",
        help=f"a Switchyard host ({LOCAL}), its Event Grid path, or the endpoint of an Event Grid topic",
    )
    parser.add_argument("--cloudevents", action="store_true", help="send in the CloudEvents 1.0 schema")
    parser.add_argument(
        "--fresh", action="store_true", help="give new ids and the present time, so that a sample counts again"
    )
    parser.add_argument(
        "--key",
        metavar="NAME",
        default="EVENTGRID_KEY",
        help="the environment variable with the topic's access key (EVENTGRID_KEY); where it is not set, azure-identity signs in",
    )


def _events(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = verbs.add_parser("list", help="newest first")
    listing.add_argument("--type", metavar="TYPE", help="only this type, such as RunCompleted")
    listing.add_argument("--status", metavar="STATUS", help="only waiting, deciding, decided, refused or failed")
    listing.add_argument("--since", metavar="TIME", help="only those received since this RFC 3339 time")
    listing.add_argument("--limit", type=int, default=20, metavar="N", help="at most so many (20)")
    show = verbs.add_parser("show", help="one event, and what was done about it")
    replay = verbs.add_parser("replay", help="decide again by the rules in force, and do what is not done yet")
    acknowledge = verbs.add_parser("acknowledge", help="say that you see to it: nobody else is called because of it")
    acknowledge.add_argument("--mute", action="store_true", help="and hold back the like of it until it is resolved")
    acknowledge.add_argument("--by", default=_user(), metavar="NAME", help="who says it (the user of this machine)")
    acknowledge.add_argument("--reason", default="", metavar="TEXT", help="a comment, for the record")
    for verb in (show, replay, acknowledge):
        verb.add_argument("id", metavar="ID", help="of the record, or of the event")
    export = verbs.add_parser("export", help="the archive of events as JSON lines, for `switchyard impact`")
    export.add_argument(
        "--since", default="7d", metavar="WHEN", help="an RFC 3339 time, or how long ago, such as 12h or 30d (7d)"
    )
    export.add_argument("--until", metavar="WHEN", help="likewise (now)")
    named = {"list": listing, "show": show, "replay": replay, "acknowledge": acknowledge, "export": export}
    for name, verb in named.items():
        _remote(verb, "events", name, json=name != "export")


def _rollouts(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = verbs.add_parser("list", help="newest first")
    listing.add_argument("--limit", type=int, default=20, metavar="N", help="at most so many (20)")
    show = verbs.add_parser("show", help="one rollout, step by step, and what led to it")
    said = {
        "approve": verbs.add_parser("approve", help="say yes to what it asks"),
        "reject": verbs.add_parser(
            "reject", help="say no to what it asks; after a promotion: bring the old version back"
        ),
        "abort": verbs.add_parser("abort", help="stop it, and send the traffic back"),
        "override": verbs.add_parser("override", help="break the glass of a freeze; it takes two different people"),
    }
    for verb in (show, *said.values()):
        verb.add_argument("id", metavar="ID", help="of the rollout")
    for verb in said.values():
        verb.add_argument("--by", default=_user(), metavar="NAME", help="who says it (the user of this machine)")
        verb.add_argument("--reason", required=True, metavar="TEXT", help="why, for the record")
    for name, verb in {"list": listing, "show": show, **said}.items():
        _remote(verb, "rollouts", name)


def _silences(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = verbs.add_parser("list", help="those in force")
    listing.add_argument("--all", action="store_true", help="those that are over too")
    add = verbs.add_parser("add", help="from now on, nobody is told of what fits all of the matches")
    add.add_argument(
        "--match",
        action="append",
        required=True,
        metavar="FIELD=VALUE",
        help="a field of the event, or rule or receiver; several times: all of them, of one field: one of the values",
    )
    add.add_argument("--reason", metavar="TEXT", help="why, for the record")
    add.add_argument("--owner", default=_user(), metavar="NAME", help="who answers for it (the user of this machine)")
    end = add.add_mutually_exclusive_group(required=True)
    end.add_argument("--until", metavar="TIME", help="an RFC 3339 time")
    end.add_argument("--for", dest="length", metavar="LENGTH", help="such as 30m, 4h or 2d; a year at most")
    end.add_argument("--preview", action="store_true", help="only say what it would have held back of the last day")
    comment = verbs.add_parser("comment", help="put a word to one")
    comment.add_argument("--text", required=True, metavar="TEXT", help="what to say")
    expire = verbs.add_parser("expire", help="end one before its time; it stays on record")
    for verb in (comment, expire):
        verb.add_argument("id", metavar="ID", help="of the silence")
        verb.add_argument("--by", default=_user(), metavar="NAME", help="who says it (the user of this machine)")
    for name, verb in {"list": listing, "add": add, "comment": comment, "expire": expire}.items():
        _remote(verb, "silences", name)


def _freezes(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = verbs.add_parser("list", help="those in force")
    listing.add_argument("--all", action="store_true", help="those that are over too")
    add = verbs.add_parser("add", help="from now on, no rollout moves forward; going back stays possible")
    add.add_argument("--endpoint", default="*", metavar="NAME", help="of one endpoint (all of them)")
    add.add_argument("--reason", required=True, metavar="TEXT", help="why, for the record")
    add.add_argument("--owner", default=_user(), metavar="NAME", help="who answers for it (the user of this machine)")
    end = add.add_mutually_exclusive_group(required=True)
    end.add_argument("--until", metavar="TIME", help="an RFC 3339 time")
    end.add_argument("--for", dest="length", metavar="LENGTH", help="such as 30m, 4h or 2d")
    lift = verbs.add_parser("lift", help="end one before its time")
    lift.add_argument("id", metavar="ID", help="of the freeze")
    lift.add_argument("--by", default=_user(), metavar="NAME", help="who lifts it (the user of this machine)")
    for name, verb in {"list": listing, "add": add, "lift": lift}.items():
        _remote(verb, "freezes", name)


def _quality(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = verbs.add_parser("list", help="how the watched models stand")
    run = verbs.add_parser("run", help="look at the windows that are due, now, and tell of what got worse")
    run.add_argument("name", nargs="?", metavar="NAME", help="of a file below quality/, without .yaml (all of them)")
    run.add_argument(
        "--at", metavar="TIME", help="at the newest window that was due at this RFC 3339 time; tells nobody"
    )
    backfill = verbs.add_parser("backfill", help="look at windows of the past, and tell nobody")
    backfill.add_argument("name", metavar="NAME", help="of a file below quality/, without .yaml")
    backfill.add_argument(
        "--since", required=True, metavar="WHEN", help="an RFC 3339 time, or how long ago, such as 30d"
    )
    backfill.add_argument("--until", metavar="WHEN", help="likewise (now)")
    backfill.add_argument("--tell", action="store_true", help="raise the events of what got worse, too")
    for name, verb in {"list": listing, "run": run, "backfill": backfill}.items():
        _remote(verb, "quality", name)


def _remote(parser: argparse.ArgumentParser, module: str, verb: str, *, json: bool = True) -> None:
    parser.set_defaults(module=module, verb=verb)
    parser.add_argument("--url", default=LOCAL, help=f"of the service ({LOCAL})")
    if json:
        _json(parser)


def _user() -> str:
    """Nobody where the system does not tell: then the service asks for a name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def _config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        default=Path(os.environ.get("SWITCHYARD_CONFIG") or "config"),
        metavar="DIR",
        help="the configuration folder (SWITCHYARD_CONFIG, or config)",
    )


def _json(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON on standard output and nothing else")


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:  # noqa: PLR2004 (TCP)
        raise ValueError
    return port


_port.__name__ = "port"  # argparse names the type in its message
