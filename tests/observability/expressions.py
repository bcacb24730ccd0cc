"""What a PromQL expression names: metrics and selectors, compared with `docs/metrics.md` and the pages of its labels."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"

# Prometheus makes these itself.
OF_PROMETHEUS = {"up", "ALERTS"}
# Suffix by unit in UCUM, as the exporter writes it. A unit in braces is an annotation and leaves nothing.
UNITS = {"s": "_seconds", "By": "_bytes"}

ROW = re.compile(r"^\| `(hessra\.[a-z_.]+)` \| (counter|gauge|histogram) \| `([^`]+)` \|", re.MULTILINE)
WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "offset", "bool", "inf", "nan"}
STRING = re.compile(r'"[^"]*"')
# Labels in parentheses after one of these words are no metrics.
LABELS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)?(\{[^}]*\})|([a-zA-Z_:][a-zA-Z0-9_:]*)(?!\s*\()(?![a-zA-Z0-9_:])")
MATCHER = re.compile(r'([a-z_]+)(=~|!=|!~|=)"([^"]*)"')


def prometheus_names():
    """Every name under which a metric of `docs/metrics.md` can be scraped."""
    names = set()
    for name, kind, unit in ROW.findall((DOCS / "metrics.md").read_text()):
        base = name.replace(".", "_") + UNITS.get(unit, "")
        if unit == "1" and kind == "gauge":
            base += "_ratio"
        if kind == "counter":
            names.add(base + "_total")
        elif kind == "histogram":
            names.update(base + part for part in ("_bucket", "_sum", "_count"))
        else:
            names.add(base)
    return names


def selectors(expression):
    """Selectors of an expression: (metric or None, braces or empty)."""
    # A duration such as [5m] names nothing.
    text = re.sub(r"\[[^\]]*\]", "", LABELS.sub("", expression))
    found = []
    for match in SELECTOR.finditer(text):
        name = match[1] or match[3]
        if name in WORDS or (match[3] and text[: match.start()].endswith(tuple("0123456789."))):
            continue
        if name or match[2]:
            found.append((name, match[2] or ""))
    return found


def unknown(expression, recorded):
    """Metrics of an expression that neither the table, nor Prometheus, nor a recording rule has."""
    known = prometheus_names() | OF_PROMETHEUS | set(recorded)
    return sorted({name for name, _ in selectors(expression) if name and name not in known})


def values(braces, label):
    """Values that a selector asks a label for; of a pattern, its alternatives."""
    return [value for name, _, pattern in MATCHER.findall(braces) if name == label for value in pattern.split("|")]


def undocumented(expression):
    """Codes of conditions and events of the audit that an expression asks for, and that their pages do not have."""
    pages = {"code": (DOCS / "conditions.md").read_text(), "event": (DOCS / "audit.md").read_text()}
    wrong = []
    for name, braces in selectors(expression):
        for label, page in pages.items():
            if label == "event" and name != "hessra_audit_events_total":
                continue
            for value in values(braces, label):
                if f"`{value}`" not in page and not value.endswith(".+"):
                    wrong.append(f"{label}={value}")
    return wrong
