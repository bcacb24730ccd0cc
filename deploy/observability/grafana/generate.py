#!/usr/bin/env python3
"""Writes the dashboards in `dashboards/` from the tables below.

    ./generate.py            writes them
    ./generate.py --check    fails when a file is not what this program would write

A dashboard is a list of rows, a row a list of panels, a panel a title, a unit, queries and a description. A query is
`"PROMQL"` or `("PROMQL", "LEGEND")`. `$S` stands for the labels that the variables of the dashboard choose, and
`$R` for the window of a rate. A row fills the width: its panels share it evenly.
"""

import argparse
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
SELECTED = 'cluster=~"$cluster", instance=~"$instance"'
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
STAT_HEIGHT, GRAPH_HEIGHT = 4, 8

NODE = "{{instance}}"
# Colours from a value upwards. None: from the beginning.
GOOD_ABOVE_ZERO = [(None, "red"), (1, "green")]
BAD_ABOVE_ZERO = [(None, "green"), (1, "red")]
SLOW = [(None, "green"), (0.25, "yellow"), (1, "red")]
PLAIN = [(None, "green")]


def panel(title, unit, queries, description, kind="timeseries", thresholds=PLAIN, **more):
    return {"title": title, "unit": unit, "queries": queries, "description": description, "kind": kind,
            "thresholds": thresholds, **more}


def stat(title, unit, query, description, thresholds=PLAIN, **more):
    """The newest value, large."""
    return panel(title, unit, [(query, "{{cluster}}")], description, "stat", thresholds, **more)


def percentiles(histogram, by="cluster", legend="{{cluster}}"):
    """Median and 99th percentile of a histogram."""
    query = "histogram_quantile({}, sum by ({}, le) (rate({}_bucket{{$S}}[$R])))"
    return [(query.format(quantile, by, histogram), f"{name} {legend}") for quantile, name in ((0.5, "p50"), (0.99, "p99"))]


def rate(counter, by, legend=None, only=""):
    """Events a second."""
    legend = legend or " ".join("{{%s}}" % label.strip() for label in by.split(","))
    return (f"sum by ({by}) (rate({counter}{{$S{only}}}[$R]))", legend)


ALERTS = panel(
    "Alerts that fire", "none",
    [('count by (alertname, severity) (ALERTS{alertstate="firing", alertname=~"Hessra.+", cluster=~"$cluster"})', "{{alertname}} ({{severity}})")],
    "Each has an entry in docs/runbooks.md. Empty is good.", thresholds=BAD_ABOVE_ZERO, decimals=0)

DASHBOARDS = {
    "overview": ("Hessra: overview", [
        ("Is it well", [
            stat("Nodes that answer", "none", 'sum by (cluster) (up{job="hessra", $S})',
                 "Nodes whose metrics Prometheus can read.", GOOD_ABOVE_ZERO),
            stat("Nodes that can vote", "none", 'cluster:hessra_nodes_able:count{cluster=~"$cluster"}',
                 "Nodes that know a leader and can take an entry to disk. At the number that a quorum needs, one more failure stops writes.", GOOD_ABOVE_ZERO),
            stat("Needed for a quorum", "none", 'cluster:hessra_quorum:count{cluster=~"$cluster"}',
                 "More than half of the nodes that Prometheus scrapes."),
            stat("Leaders", "none", "sum by (cluster) (hessra_raft_is_leader_ratio{$S})",
                 "One is right. None: nothing is written. Two, for a moment: a leader that was cut off has not noticed yet.",
                 [(None, "red"), (1, "green"), (2, "yellow")]),
            stat("Verifiers", "none", 'cluster:hessra_feed_verifiers:sum{cluster=~"$cluster"}',
                 "Verifiers of the policy that are connected, at any node."),
            stat("Revision", "none", "max by (cluster) (hessra_revision{$S})", "Newest revision of the feed that a node has applied."),
        ]),
        ("Requests", [
            panel("Token requests", "reqps", [rate("hessra_decisions_total", "outcome")],
                  "Requests for tokens and questions about tokens, by what was decided.", stack=True),
            panel("Errors", "reqps", [
                rate("hessra_decisions_total", "reason", "not issued: {{reason}}", ', outcome!~"issued|valid"'),
                rate("hessra_requests_refused_total", "reason", "refused unread: {{reason}}"),
                rate("hessra_requests_limited_total", "by", "too often: {{by}}"),
                rate("hessra_requests_shed_total", "pool", "too many at once: {{pool}}")],
                "What was not issued, by reason, and requests that were refused before they were looked at."),
            panel("Time to answer a token request", "s", percentiles("hessra_issue_duration_seconds", "kind", "{{kind}}"),
                  "From the request to its answer, the audit record included.", thresholds=SLOW),
        ]),
        ("Writes", [
            panel("Revocations", "ops", [rate("hessra_revocations_committed_total", "scope")],
                  "Revocations that a quorum made durable, by scope."),
            panel("Time to commit", "s", percentiles("hessra_commit_duration_seconds"),
                  "From taking a write to its commit and application on the node that took it.", thresholds=SLOW),
            panel("Time to the verifiers", "s", percentiles("hessra_propagation_duration_seconds"),
                  "From publishing a revision to a verifier's acknowledgement.", thresholds=SLOW),
        ]),
        ("What is wrong", [
            ALERTS,
            panel("Conditions", "none", [("max by (instance, code) (hessra_condition{$S})", "{{instance}} {{code}}")],
                  "1 while it is so. What each means: docs/conditions.md.", thresholds=BAD_ABOVE_ZERO, decimals=0),
            panel("Leader", "none", [("hessra_raft_is_leader_ratio{$S}", NODE)], "1 on the leader.", decimals=0),
        ]),
        ("Processes", [
            panel("Memory", "bytes", [("hessra_process_memory_bytes{$S}", NODE)], "Resident memory."),
            panel("Open files", "none", [("hessra_process_descriptors{$S}", NODE)], "File descriptors, connections included.", decimals=0),
            panel("Time since the start", "s", [("time() - hessra_process_start_seconds{$S}", NODE)], "A drop to zero is a restart."),
            panel("Connections", "none", [("sum by (port, standing) (hessra_connections{$S})", "{{port}} {{standing}}")],
                  "Open connections: of members (peer) and of everybody else (public), by what the caller has proved.", decimals=0),
        ]),
    ]),
    "revocation-and-feed": ("Hessra: revocation and feed", [
        ("Now", [
            stat("Rules in force", "none", "max by (cluster) (hessra_revocation_rules{$S})", "What a verifier compares tokens with."),
            stat("Revocations remembered", "short", "max by (cluster) (hessra_revocations{$S})",
                 "The cluster takes 4,000,000; half of them is an alert.", [(None, "green"), (1_000_000, "yellow"), (2_000_000, "red")]),
            stat("Verifiers", "none", 'cluster:hessra_feed_verifiers:sum{cluster=~"$cluster"}', "Verifiers of the policy that are connected."),
            stat("Stale", "none", "sum by (cluster) (hessra_feed_stale{$S})",
                 "Verifiers that do not hold the newest revision in time. One that moved to another node is counted by the one that it left for ten minutes.",
                 [(None, "green"), (1, "yellow")]),
            stat("Propagation, p99", "s", 'cluster:hessra_propagation_duration_seconds:p99{cluster=~"$cluster"}',
                 "Of the last five minutes. No value: nothing was revoked.", SLOW),
            stat("Alarms of verifiers", "none", "sum by (cluster) (hessra_feed_fork_alarms_total{$S}) + sum by (cluster) (hessra_feed_loss_alarms_total{$S})",
                 "Verifiers that hold another history, or one that the cluster has lost. No value and zero are the same. Never more without an incident.", BAD_ABOVE_ZERO),
        ]),
        ("Revocation", [
            panel("Revocations", "ops", [rate("hessra_revocations_committed_total", "scope")], "Made durable by a quorum, by scope."),
            panel("Contained", "ops", [
                rate("hessra_audit_events_total", "event", None, ', event=~"revocation.+"')],
                "Records of revocations. `revocation.created` is written by every member; `revocation.completed` by the node where somebody waited until the verifiers enforced it."),
            panel("Revision of each node", "none", [("hessra_revision{$S}", NODE)], "A node that stays below the others does not apply what they have applied.", decimals=0),
        ]),
        ("Propagation", [
            panel("Time to the verifiers", "s", percentiles("hessra_propagation_duration_seconds", "instance", NODE),
                  "From publishing a revision to a verifier's acknowledgement, by the node that serves it.", thresholds=SLOW),
            panel("Distribution of the time to the verifiers", "s",
                  [("sum by (le) (increase(hessra_propagation_duration_seconds_bucket{$S}[$R]))", "{{le}}")],
                  "How many acknowledgements took how long.", "heatmap"),
            panel("Time to confirm the quorum", "s", percentiles("hessra_confirmation_duration_seconds", "instance", NODE),
                  "What a heartbeat to the verifiers waits for, and a linearizable read.", thresholds=SLOW),
        ]),
        ("Feed", [
            panel("Streams", "none", [("hessra_feed_subscribers{$S}", NODE)], "Open streams of each node: verifiers and guests.", decimals=0),
            panel("Heartbeats", "ops", [rate("hessra_feed_heartbeats_total", "instance, outcome")],
                  "`unconfirmed`: no quorum answered in time, and the verifiers' knowledge grows old."),
            panel("Sent", "Bps", [rate("hessra_feed_bytes_bytes_total", "instance")], "Frames handed to streams."),
            panel("Not taken yet", "bytes", [("hessra_feed_unread_bytes{$S}", NODE)], "What streams were given and have not read. The limit is feed.unread_max (256 MiB by default)."),
        ]),
    ]),
    "raft-and-store": ("Hessra: Raft and store", [
        ("Consensus", [
            panel("Leader", "none", [("hessra_raft_is_leader_ratio{$S}", NODE)], "1 on the leader.", decimals=0),
            panel("Knows a leader", "none", [("hessra_raft_has_leader_ratio{$S}", NODE)], "0 on a node that hears of none.", thresholds=GOOD_ABOVE_ZERO, decimals=0),
            panel("Term", "none", [("hessra_raft_term{$S}", NODE)], "Rises with every election, also with one that nobody wins.", decimals=0),
            panel("Leaders seen", "none", [("increase(hessra_raft_leader_changes_total{$S}[1h])", NODE)], "Changes in the last hour.", decimals=0),
        ]),
        ("Log", [
            panel("Entries behind the leader", "none",
                  [("hessra_raft_peer_lag{$S} and on (cluster, instance) hessra_raft_is_leader_ratio == 1", "member {{peer}}")],
                  "As the leader knows it.", thresholds=[(None, "green"), (100, "yellow"), (1000, "red")], decimals=0),
            panel("Not applied yet", "none", [("hessra_raft_last_index{$S} - hessra_raft_applied_index{$S}", NODE)],
                  "Entries in the log of a node that it has not applied.", decimals=0),
            panel("Entries", "ops", [("rate(hessra_raft_last_index{$S}[$R])", NODE)], "Entries written to the log a second."),
            panel("Entries since the snapshot", "none", [("hessra_raft_applied_index{$S} - hessra_raft_snapshot_index{$S}", NODE)],
                  "A snapshot is built after raft.snapshot_entries (20,000 by default).", decimals=0),
        ]),
        ("Writing", [
            panel("Time to commit", "s", percentiles("hessra_commit_duration_seconds", "instance", NODE),
                  "From taking a write to its commit and application.", thresholds=SLOW),
            panel("Time to append at a peer", "s", percentiles("hessra_raft_append_duration_seconds", "instance", NODE),
                  "From sending entries to one member until its answer, its fsync included; from the leader.", thresholds=SLOW),
            panel("Commands in one entry", "none", percentiles("hessra_proposal_size", "instance", NODE),
                  "Commands that came at once share an entry, and its fsync."),
            panel("Queue", "none", [("hessra_proposals_queued{$S}", "{{instance}} {{queue}}")],
                  "Commands that wait to be proposed, as the newest one found it, itself included: it stays when no more come.", decimals=0),
            panel("Refused", "ops", [rate("hessra_proposals_refused_total", "instance, queue")], "Commands refused because the queue was full. No value: never yet."),
        ]),
        ("Disk", [
            panel("Store", "bytes", [("hessra_store_size_bytes{$S}", NODE)], "Bytes of the store, without the audit."),
            panel("Free", "bytes", [("hessra_store_free_bytes{$S}", NODE)], "On the file system of the data directory. Below storage.free_min the node refuses writes.",
                  thresholds=[(None, "red"), (1 << 30, "yellow"), (4 << 30, "green")]),
        ]),
        ("Keys, certificates, policy", [
            panel("Until a certificate ends", "s", [("hessra_certificate_expiry_seconds{$S} - time()", "{{instance}} {{port}}")], "Below 14 days: a ticket. Below two days: a page.",
                  thresholds=[(None, "red"), (2 * 86400, "yellow"), (14 * 86400, "green")]),
            panel("Age of the active key", "s", [("max by (cluster, purpose) (hessra_key_age_seconds{$S})", "{{cluster}} {{purpose}}")],
                  "A key is replaced by schedule (keys.rotate_every) or by hand.", thresholds=[(None, "green"), (90 * 86400, "yellow"), (100 * 86400, "red")]),
            panel("Keys", "none", [("max by (purpose, state) (hessra_keys{$S}) > 0", "{{purpose}} {{state}}")], "Of the replicated state.", decimals=0),
            panel("Policy in force", "none", [("hessra_policy_revision{$S}", NODE)], "Revision of the policy; the same on all nodes.", decimals=0),
            panel("Policy is not the newest commit", "none", [("hessra_policy_drift_ratio{$S}", NODE)],
                  "Where the policy follows a repository. No value: it follows none.", thresholds=BAD_ABOVE_ZERO, decimals=0),
        ]),
    ]),
    "audit-and-decisions": ("Hessra: audit and decisions", [
        ("Now", [
            stat("Issued", "reqps", 'sum by (cluster) (rate(hessra_decisions_total{$S, outcome="issued"}[$R]))', "Token requests that were answered with a token."),
            stat("Denied", "reqps", 'cluster:hessra_denials:rate5m{cluster=~"$cluster"}', "Token requests that were denied; of the last five minutes."),
            stat("Not identified", "reqps", 'cluster:hessra_authentication_failures:rate5m{cluster=~"$cluster"}', "Callers of token requests that were not known; of the last five minutes."),
            stat("Records that were not written", "none", "sum by (cluster) (increase(hessra_audit_write_failures_total{$S}[1h]))",
                 "In the last hour. No record, no decision: what they were for was refused. No value: never yet.", BAD_ABOVE_ZERO),
        ]),
        ("Decisions", [
            panel("Decided", "reqps", [rate("hessra_decisions_total", "outcome")], "By outcome.", stack=True),
            panel("Denied, by reason", "reqps", [rate("hessra_decisions_total", "reason", None, ', outcome="denied"')], "Why no token was given.", stack=True),
            panel("Denied, times the mean of the last day", "none",
                  [('cluster:hessra_denials:rate5m{cluster=~"$cluster"} / avg_over_time(cluster:hessra_denials:rate5m{cluster=~"$cluster"}[1d])', "{{cluster}}")],
                  "Above five, and more than one a second: a ticket.", thresholds=[(None, "green"), (5, "red")]),
            panel("Tokens", "ops", [rate("hessra_tokens_issued_total", "kind")], "Tokens minted, by kind."),
        ]),
        ("Callers", [
            panel("Identified or not", "reqps", [rate("hessra_authentication_attempts_total", "method, outcome")], "By what the caller showed."),
            panel("Not identified, times the mean of the last day", "none",
                  [('cluster:hessra_authentication_failures:rate5m{cluster=~"$cluster"} / avg_over_time(cluster:hessra_authentication_failures:rate5m{cluster=~"$cluster"}[1d])', "{{cluster}}")],
                  "Above five, and more than one a second: a ticket.", thresholds=[(None, "green"), (5, "red")]),
            panel("Connections refused", "ops", [rate("hessra_connections_refused_total", "port, reason")], "Closed before a request."),
            panel("Connections ended", "ops", [rate("hessra_connections_ended_total", "port, reason")], "By the node."),
        ]),
        ("Audit", [
            panel("Records, by event", "ops", [rate("hessra_audit_events_total", "event")], "Made durable. Changes are recorded by every member. The events: docs/audit.md.", stack=True),
            panel("Time to write and sync", "s", percentiles("hessra_audit_write_duration_seconds", "instance", NODE), "One batch of records: every token waits for it.", thresholds=SLOW),
            panel("Records in one batch", "none", percentiles("hessra_audit_batch_size", "instance", NODE), "Requests that came at once share a sync."),
            panel("Waiting for their record", "none", [("hessra_audit_queue{$S}", "{{instance}} {{chain}}")], "Requests, by chain.", decimals=0),
            panel("Not written", "ops", [rate("hessra_audit_write_failures_total", "instance, reason")], "Records that could not be written. No value: never yet.", thresholds=BAD_ABOVE_ZERO),
        ]),
    ]),
    "verifier-fleet": ("Hessra: verifier fleet", [
        ("Now", [
            stat("Verifiers", "none", 'cluster:hessra_feed_verifiers:sum{cluster=~"$cluster"}', "Verifiers of the policy that are connected."),
            stat("Most in the last hour", "none", 'max_over_time(cluster:hessra_feed_verifiers:sum{cluster=~"$cluster"}[1h])', "More than a fifth below it: a page."),
            stat("Guests", "none", "sum by (cluster) (hessra_feed_guests{$S})", "Streams that the policy ties to no verifier: served, and nobody waits for them."),
            stat("Stale", "none", "sum by (cluster) (hessra_feed_stale{$S})", "Verifiers that do not hold the newest revision in time, those included that left less than ten minutes ago.", [(None, "green"), (1, "yellow")]),
        ]),
        ("Fleet", [
            panel("Verifiers of each node", "none", [("hessra_feed_subscribers{$S} - hessra_feed_guests{$S}", NODE)], "A verifier chooses a node, and another when that one is not fresh.", stack=True, decimals=0),
            panel("Guests of each node", "none", [("hessra_feed_guests{$S}", NODE)], "Streams beside the verifiers of the policy.", stack=True, decimals=0),
            panel("Stale, by node", "none", [("hessra_feed_stale{$S}", NODE)], "Which they are: `hessra feed verifiers`.", decimals=0),
        ]),
        ("How they follow", [
            panel("Time to the verifiers", "s", percentiles("hessra_propagation_duration_seconds"), "From publishing a revision to a verifier's acknowledgement.", thresholds=SLOW),
            panel("Snapshots", "ops", [rate("hessra_feed_snapshots_total", "mode")], "Begun for verifiers that are new (full) or were away (buckets)."),
            panel("Told to resume", "ops", [rate("hessra_feed_resets_total", "reason")], "Streams that were told to begin again, by reason. No value: never yet."),
            panel("No seat", "ops", [rate("hessra_feed_turned_away_total", "instance")], "Streams for which there was no seat. No value: never yet.", thresholds=BAD_ABOVE_ZERO),
        ]),
        ("What they cost", [
            panel("Sent", "Bps", [rate("hessra_feed_bytes_bytes_total", "instance")], "Frames handed to streams."),
            panel("Not taken yet", "bytes", [("hessra_feed_unread_bytes{$S}", NODE)], "Rises with verifiers that do not read."),
            panel("Heartbeats", "ops", [rate("hessra_feed_heartbeats_total", "outcome")], "What keeps the knowledge of verifiers fresh."),
            panel("Alarms", "none", [("sum by (instance) (hessra_feed_fork_alarms_total{$S})", "{{instance}} another history"),
                                     ("sum by (instance) (hessra_feed_loss_alarms_total{$S})", "{{instance}} changes lost")],
                  "Never more than zero without an incident. No value: never yet.", thresholds=BAD_ABOVE_ZERO, decimals=0),
        ]),
    ]),
}


def variables():
    def query(name, text, expression):
        return {"name": name, "label": text, "type": "query", "datasource": DATASOURCE, "definition": expression,
                "query": {"query": expression, "refId": name}, "refresh": 2, "sort": 1, "includeAll": True, "multi": True,
                "allValue": ".*", "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}}
    return [source, query("cluster", "Cluster", 'label_values(up{job="hessra"}, cluster)'),
            query("instance", "Node", 'label_values(up{job="hessra", cluster=~"$cluster"}, instance)')]


def targets(queries, kind):
    made = []
    for number, query in enumerate(queries):
        expression, legend = query if isinstance(query, tuple) else (query, "__auto")
        expression = expression.replace("$S", SELECTED).replace("$R", "$__rate_interval")
        made.append({"refId": chr(ord("A") + number), "datasource": DATASOURCE, "expr": expression, "legendFormat": legend,
                     "range": True, **({"format": "heatmap"} if kind == "heatmap" else {})})
    return made


def options(kind):
    if kind == "stat":
        return {"colorMode": "value", "graphMode": "area", "textMode": "auto", "justifyMode": "auto", "orientation": "auto",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    if kind == "heatmap":
        return {"calculate": False, "color": {"mode": "scheme", "scheme": "Blues", "steps": 32}, "yAxis": {"unit": "s"},
                "cellGap": 1, "legend": {"show": True}, "tooltip": {"mode": "single", "show": True}}
    return {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"}}


def made_panel(number, spec, x, y, width, height):
    kind, steps = spec["kind"], [{"value": value, "color": color} for value, color in spec["thresholds"]]
    defaults = {"unit": spec["unit"], "thresholds": {"mode": "absolute", "steps": steps}, "color": {"mode": "palette-classic"}}
    if "decimals" in spec:
        defaults["decimals"] = spec["decimals"]
    if kind == "stat":
        defaults["color"] = {"mode": "thresholds"}
    if kind == "timeseries":
        marked = spec["thresholds"] is not PLAIN
        defaults["min"] = 0
        defaults["custom"] = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if spec.get("stack") else 8, "showPoints": "never",
                              "spanNulls": False, "stacking": {"mode": "normal" if spec.get("stack") else "none", "group": "A"},
                              "thresholdsStyle": {"mode": "dashed" if marked else "off"}}
    return {"id": number, "type": kind, "title": spec["title"], "description": spec["description"], "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": width, "h": height}, "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": options(kind), "targets": targets(spec["queries"], kind)}


def laid_out(rows):
    """Panels with their places: each row under its heading, its panels side by side."""
    panels, y = [], 0
    for title, row in rows:
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}})
        y += 1
        height = STAT_HEIGHT if all(spec["kind"] == "stat" for spec in row) else GRAPH_HEIGHT
        for number, spec in enumerate(row):
            left, right = WIDTH * number // len(row), WIDTH * (number + 1) // len(row)
            panels.append(made_panel(len(panels) + 1, spec, left, y, right - left, height))
        y += height
    return panels


def dashboard(name, title, rows):
    links = [{"type": "dashboards", "title": "Hessra", "tags": ["hessra"], "asDropdown": True, "includeVars": True, "keepTime": True}]
    return {"uid": f"hessra-{name}", "title": title, "tags": ["hessra"], "schemaVersion": 39, "version": 1, "editable": False,
            "graphTooltip": 1, "refresh": "30s", "time": {"from": "now-6h", "to": "now"}, "timezone": "utc", "links": links,
            "templating": {"list": variables()}, "annotations": {"list": []}, "panels": laid_out(rows)}


def files():
    """What this program writes: path and text of each dashboard."""
    for name, (title, rows) in DASHBOARDS.items():
        yield HERE / "dashboards" / f"{name}.json", json.dumps(dashboard(name, title, rows), indent=1) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file differs")
    check = parser.parse_args().check
    expected = dict(files())
    stray = [path for path in (HERE / "dashboards").glob("*.json") if path not in expected]
    differs = [path for path, text in expected.items() if not path.exists() or path.read_text() != text]
    if not check:
        for path, text in expected.items():
            path.write_text(text)
        differs = []
    for path in differs:
        print(f"{path.relative_to(HERE)} is not what generate.py writes: run it, and commit the change", file=sys.stderr)
    for path in stray:
        print(f"{path.relative_to(HERE)} is in no table of generate.py: delete it, or add it there", file=sys.stderr)
    sys.exit(1 if differs or stray else 0)


if __name__ == "__main__":
    main()
