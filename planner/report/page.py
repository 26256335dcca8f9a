"""Write report.md and a self-contained report.html with its figures from a plan and its fit.

Both files render the same blocks (content.py) through the templates beside this module. The HTML
asks nothing of the network: style and figures are inside it, and all text is escaped.
"""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from planner._log import replace_file
from planner.plan.plan import Verdict
from planner.report import text
from planner.report.content import Page, Picture
from planner.report.evidence import cost, evidence, findings, glossary, provenance
from planner.report.figures import draw_all
from planner.report.first_page import first_page
from planner.report.fits import loss_law, prediction
from planner.report.hyper import hyperparameters
from planner.report.schedule import schedule
from planner.report.study import ReportInput
from planner.words import retold, unit_of

TONES = {Verdict.GO: "go", Verdict.WARNINGS: "warnings", Verdict.NO_GO: "no-go"}


def write_report(folder: Path, study: ReportInput) -> tuple[Path, Path]:
    """Write report.md, report.html and figures/*.svg into ``folder``; return the two paths.

    Files appear by rename, so a reader never sees half a report.
    """
    pictures, drawn = draw_all(study)
    page = retold(compose(study, pictures), unit_of(study.recipe))
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, content in drawn.items():
        replace_file(folder / "figures" / f"{name}.svg", content)
    markdown, html = folder / "report.md", folder / "report.html"
    replace_file(markdown, render_markdown(page).encode())
    replace_file(html, render_html(page, drawn).encode())
    return markdown, html


def compose(study: ReportInput, pictures: dict[str, Picture]) -> Page:
    """Put the report together, page one first."""
    sections = (
        *first_page(study),
        evidence(study),
        loss_law(study, pictures),
        hyperparameters(study, pictures),
        schedule(study),
        prediction(study, pictures),
        findings(study),
        cost(study),
        provenance(study),
        glossary(),
    )
    plan = study.plan
    title = f"Training plan: {study.title}"
    headline = text.sentence(plan.headline.removeprefix(f"{plan.verdict.value}: "))
    return Page(title, plan.verdict.value, TONES[plan.verdict], headline, sections)


def render_markdown(page: Page) -> str:
    """Render a page as Markdown; what would read as HTML, a link or a cell border is escaped."""
    environment = _environment(autoescape=False)
    environment.finalize = _markdown_text
    return environment.get_template("report.md.j2").render(page=page)


def render_html(page: Page, drawn: dict[str, bytes]) -> str:
    """Render a page as one HTML file with its figures inside."""
    images = {
        name: "data:image/svg+xml;base64," + base64.b64encode(content).decode()
        for name, content in drawn.items()
    }
    template = _environment(autoescape=True).get_template("report.html.j2")
    return template.render(page=page, pictures=images)


def _environment(*, autoescape: bool) -> Environment:
    return Environment(
        loader=PackageLoader("planner.report"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _markdown_text(value: object) -> str:
    line = " ".join(str(value).split())
    plain = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return plain.replace("|", "\\|").replace("](", "]\\(").replace("`", "\\`")
