from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from planner.finding import Finding, Severity
from planner.plan.plan import Plan
from planner.report import text
from planner.report.figures import FIGURES
from planner.report.first_page import outcome
from planner.report.page import write_report


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links, self.words, self.place = set(), [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.place = tag
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        if self.place not in ("style", "title"):
            self.words.append(data)


def _read(path):
    page = _Page()
    page.feed(path.read_text())
    return page


@pytest.fixture(scope="module")
def written(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return folder, *write_report(folder, study)


def test_the_report_is_a_markdown_file_an_html_file_and_six_figures(written):
    folder, markdown, html = written
    assert (markdown, html) == (folder / "report.md", folder / "report.html")
    assert {path.name for path in (folder / "figures").iterdir()} == {f"{n}.svg" for n in FIGURES}
    linked = set(re.findall(r"\]\((figures/[^)]+)\)", markdown.read_text()))
    assert linked == {f"figures/{name}.svg" for name in FIGURES}


def test_the_html_asks_nothing_of_the_network(written):
    page = _read(written[2])
    assert len(page.links) == len(FIGURES)
    assert all(link.startswith("data:image/svg+xml;base64,") for link in page.links)
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert "url(" not in written[2].read_text().split("</style>")[0]


def test_every_decision_appears_with_its_interval_and_its_reason(written, study):
    markdown = written[1].read_text()
    for decision in study.plan.decisions:
        row = next(line for line in markdown.splitlines() if decision.reason[1:40] in line)
        assert text.interval(decision.estimate) in row
        assert (decision.label or text.chosen(decision.estimate.value)) in row


def test_both_files_show_the_same_numbers(written):
    number = re.compile(r"\d[\d.,]*(?:e-?\d+)?[kMBT]?")
    markdown = re.sub(r"!\[.*", "", written[1].read_text()).replace("&lt;", "<")
    words = " ".join(_read(written[2]).words)
    assert sorted(number.findall(markdown)) == sorted(number.findall(words))


def test_planted_markup_comes_out_as_text(bare, tmp_path):
    bad = "<script>alert(1)</script> | [x](javascript:1)"
    finding = Finding("planted", Severity.BLOCKING, bad, bad)
    plan = replace(bare.plan, findings=(finding,), headline=bad)
    markdown, html = write_report(tmp_path, replace(bare, title=bad, plan=plan))
    assert "script" not in _read(html).tags
    assert "<script" not in markdown.read_text()
    assert "](javascript" not in markdown.read_text()
    row = next(line for line in markdown.read_text().splitlines() if line.startswith("# "))
    assert "\\|" in row


def test_findings_come_heaviest_first_with_their_remedy(bare, tmp_path):
    severities = (Severity.INFO, Severity.BLOCKING, Severity.WARNING)
    found = tuple(Finding(f"f-{s.value}", s, f"Doubt {s.value}", "measure it") for s in severities)
    markdown, _ = write_report(tmp_path, replace(bare, plan=replace(bare.plan, findings=found)))
    tail = markdown.read_text().partition("## Findings")[2]
    places = [tail.index(f"f-{name}") for name in ("blocking", "warning", "info")]
    assert places == sorted(places)
    assert "What would remove it: measure it." in tail


def test_a_plan_of_a_bare_table_makes_a_report_that_says_what_is_missing(bare, tmp_path):
    markdown, _ = write_report(tmp_path, bare)
    assert not list((tmp_path / "figures").iterdir())
    assert markdown.read_text().count("not drawn.") == len(FIGURES) - 1
    assert "No held-out rung was run" in markdown.read_text()


def test_a_bare_plan_still_tells_how_its_prediction_fared(bare, study, tmp_path):
    markdown, _ = write_report(tmp_path, replace(bare, plan=study.plan))
    (error, *_) = study.judgement.error_percent
    assert f"{error:+.2f} %" in markdown.read_text()


def test_a_failed_prediction_is_said_on_page_one(bare, study, tmp_path):
    missed = dict(study.plan.held_out) | {"inside90": False, "winner_steps_off": 1, "widen": 1.7}
    plan = replace(study.plan, held_out=missed)
    words = write_report(tmp_path, replace(bare, plan=plan))[0].read_text()
    assert "came out outside the 90 % interval" in words
    assert "the winner is 1 size off. Every interval in this report was widened by x1.7" in words


def test_a_table_s_rows_draw_the_law_without_a_study(bare, study, tmp_path):
    write_report(tmp_path, replace(bare, observations=study.fitted))
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"loss-compute", "loss-size", "residuals"}


def test_a_plan_read_back_from_json_gives_the_same_report(written, study, tmp_path):
    again = Plan.from_json(json.loads(json.dumps(study.plan.to_json())))
    markdown, html = write_report(tmp_path, replace(study, plan=again))
    assert markdown.read_text() == written[1].read_text()
    assert html.read_bytes() == written[2].read_bytes()


@pytest.mark.parametrize(
    ("measured", "steps", "says"),
    [
        (0, 0, "and the predicted size won."),
        (1, 0, "the predicted size tied with the best within noise."),
        (2, 2, "the winner is 2 sizes off."),
    ],
)
def test_a_size_within_noise_of_the_best_ties_and_does_not_win(study, measured, steps, says):
    judged = {"winner_predicted": 0, "winner_measured": measured, "winner_steps_off": steps}
    held_out = dict(study.plan.held_out) | judged | {"widen": 1.0}
    assert outcome(replace(study, plan=replace(study.plan, held_out=held_out))).endswith(says)


def test_attempts_that_were_lost_are_told_with_what_took_them(bare, tmp_path):
    losses = {"the node it ran on is gone": 2, "its worker died": 1}
    write_report(tmp_path, replace(bare, losses=losses))
    told = (tmp_path / "report.md").read_text()
    assert (
        "3 attempts at a trial ended without a result (2 x the node it ran on is gone; 1 x" in told
    )
