"""The report a person signs: Markdown, HTML, figures. Entry: ``planner.report.page.write_report``.

``study.py`` says what goes in, ``first_page.py``, ``evidence.py`` and ``fits.py`` write the
sections, ``figures/`` draws, ``templates/`` lays out.
"""
