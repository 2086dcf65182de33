"""Findings in the terminal, grouped by severity."""

from rich.console import Console
from rich.table import Table

from catalyst_cityscapes.lab.lint.finding import SEVERITIES
from catalyst_cityscapes.lab.lint.report import Report
from catalyst_cityscapes.lab.lint.table import THEMES
from catalyst_cityscapes.report.table import plain

STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def print_report(report: Report, console: Console) -> None:
    """Prints the measured numbers, then each finding with its evidence and its fix, and the count."""
    numbers = Table(
        title=f"{plain(report.name)}, measured for {report.processes} processes", show_header=False, box=None
    )
    numbers.add_column(style="dim", no_wrap=True)
    numbers.add_column(overflow="fold")
    for heading, text in report.facts:
        numbers.add_row(heading, plain(text))
    console.print(numbers)
    for severity in SEVERITIES:
        findings = [finding for finding in report.findings if finding.severity == severity]
        if not findings:
            continue
        console.print(f"\n[{STYLES[severity]}]{_counted(len(findings), severity)}[/]")
        for finding in findings:
            console.print(
                f"[{STYLES[severity]}]{finding.rule}[/] [dim](against: {finding.baseline})[/]", highlight=False
            )
            table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 1, 0, 0))
            table.add_column(style="dim", no_wrap=True)
            table.add_column(overflow="fold")
            table.add_row("  found", plain(finding.evidence))
            table.add_row("  fix", plain(finding.fix))
            console.print(table)
    for why in report.skipped:
        console.print(f"\nnot asked: {plain(why)}", highlight=False)
    if report.allowed:
        names = ", ".join(dict.fromkeys(finding.rule for finding in report.allowed))
        console.print(f"\nallowed: {names}", highlight=False)
    counts = ", ".join(_counted(report.count(severity), severity) for severity in SEVERITIES)
    console.print(f"\n{counts}" if report.findings else "\nno findings", highlight=False)


def _counted(count: int, severity: str) -> str:
    return f"{count} {severity}{'' if count == 1 else 's'}"


def print_rules(console: Console) -> None:
    """Prints the table of rules."""
    table = Table(title=f"{sum(map(len, THEMES.values()))} rules")
    for heading in ("rule", "severity", "against", "measured"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "rule")
    for theme, rules in THEMES.items():
        table.add_section()
        table.add_row(f"[bold]{theme}[/]", "", "", "")
        for rule in rules:
            table.add_row(rule.id, ", ".join(rule.severities), rule.baseline, rule.measured)
    console.print(table)
