"""The report a person signs: Markdown, HTML, figures."""
