"""What every action does when things go wrong on the way: the table of docs/actions.md, and what must hold in each cell."""

import asyncio
import logging
import re
from base64 import b64encode

import pytest

from shared.actions import discover
from simulator import jenkins
from simulator.app import Box
from tests.far import ASKED, FAR, RATE, SECRETS, SMTP, Ground, Outcome, Trial, by_smtp, table, written


class Played:
    """All trials, once for all tests; where secrets could have come to lie."""

    def __init__(self, seen, told, kept, logged, secrets):
        self.seen, self.told, self.kept, self.logged, self.secrets = seen, told, kept, logged, secrets

    def __call__(self, far, trial: Trial) -> Outcome:
        seen: Outcome = self.seen[far.name, trial]
        return seen


class Kept(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(f"{self.format(record)} {vars(record)}")


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    folder, kept = tmp_path_factory.mktemp("far"), Kept()
    root = logging.getLogger()
    root.addHandler(kept)
    level = root.level
    root.setLevel(logging.INFO)  # as on Azure: the SDKs tell of each request
    with Box(rate=RATE) as box, pytest.MonkeyPatch.context() as patch:
        for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            patch.setenv(name, box.environment[name])
        ground = Ground(box, folder, FAR)
        seen = asyncio.run(ground.play())
        mail = by_smtp(box, folder / "smtp")
        seen = {**seen, **asyncio.run(mail.play())}
        secrets = [value for name, value in box.environment.items() if name.endswith(("_TOKEN", "_SECRET", "_KEY"))]
        teams = (value for name, value in box.environment.items() if name.startswith("TEAMS_"))
        secrets += [part for url in teams for part in re.findall(r"sig=([^&]{8,})", url)]
    root.setLevel(level)
    root.removeHandler(kept)
    files = [path.read_bytes() for path in folder.rglob("state/*") if path.is_file()]
    return Played(seen, [*ground.told, *mail.told], b"".join(files), kept.lines, secrets)


ALL = [*FAR, SMTP]
each = pytest.mark.parametrize("far", ALL, ids=lambda far: far.name)


def test_every_action_has_been_tried():
    assert {one.action for one in FAR} == {name for name, action in discover().items() if not action.internal}
    assert len({one.name for one in FAR}) == len(FAR)


@each
def test_what_works_is_done_once_at_the_first_try(played, far):
    outcome = played(far, "success")
    assert [one.outcome for one in outcome.record.attempts] == ["done"], outcome.record.attempts
    assert (outcome.effects, outcome.record.status) == (1, "done")
    assert not outcome.record.maybe_twice


@each
def test_what_is_refused_is_not_done_and_not_tried_again(played, far):
    outcome = played(far, "refusal")
    assert (outcome.effects, outcome.record.status, len(outcome.record.attempts)) == (0, "refused", 1)
    assert len(outcome.record.attempts[0].note) > 10


@each
def test_who_is_busy_is_left_alone_for_as_long_as_it_asks(played, far):
    if "rate limit" not in far.trials:
        return
    outcome = played(far, "rate limit")
    assert (outcome.effects, outcome.record.status) == (1, "done")
    assert [one.outcome for one in outcome.record.attempts] == ["later", "done"]
    # A mail server can't say how long.
    assert outcome.waited > (1 if far.where == "smtp" else ASKED)
    assert not outcome.record.maybe_twice


@each
@pytest.mark.parametrize("trial", ["lost answer", "restart"])
def test_nothing_is_lost_and_nothing_is_doubled_in_silence(played, far, trial):
    if trial not in far.trials:
        return
    outcome = played(far, trial)
    assert outcome.record.status == ("refused" if far.stops else "done")
    assert outcome.effects == 1 or (outcome.effects == 2 and outcome.record.maybe_twice)
    if discover()[far.action].idempotent and far is not SMTP:
        assert (outcome.effects, outcome.record.maybe_twice) == (1, False)


@each
def test_what_goes_on_is_followed_to_its_end_by_whichever_host_is_there(played, far):
    for trial in far.trials:
        outcome = played(far, trial)
        follows = outcome.record.status == "done" and outcome.record.result.follow is not None
        assert (outcome.end == "succeeded") == follows, (trial, outcome.end)


def test_no_secret_is_on_record_in_the_state_in_the_log_on_a_page_or_in_a_message(played):
    everything = "\n".join([*played.told, *played.logged]) + played.kept.decode(errors="replace")
    assert FAR[0].name in everything  # it would be found
    basic = b64encode(f"{jenkins.USER}:{jenkins.TOKEN}".encode()).decode()
    for secret in (*SECRETS.values(), "marker-", *played.secrets, basic):
        assert secret not in everything


def test_the_document_shows_what_was_observed(played):
    assert written() == table(played.seen), "python -m tests.far writes it anew"
