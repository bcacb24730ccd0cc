"""Clients of hessra-py for a dev cluster, and what is expected of them. Arguments: DIRECTORY PORT."""

import pathlib
import sys

from hessra_py import HessraClient, HessraConfig, HessraPyException

DIRECTORY, PORT = pathlib.Path(sys.argv[1]), int(sys.argv[2])
ALICE, AGENT = "urn:hessra:alice", "urn:hessra:alice:agent"
FAILURES = []


def client(name=None, public_key=None):
    builder = HessraConfig.builder().base_url("localhost").port(PORT)
    builder = builder.server_ca((DIRECTORY / "ca.crt").read_text())
    if name:
        builder = builder.mtls_cert((DIRECTORY / "clients" / f"{name}.crt").read_text())
        builder = builder.mtls_key((DIRECTORY / "clients" / f"{name}.key").read_text())
    if public_key:
        builder = builder.public_key(public_key)
    return HessraClient(builder.build())


def allowed(name, flow, good=lambda answer: True):
    try:
        answer = flow()
    except HessraPyException as error:
        FAILURES.append(f"{name}: {error}")
        return None
    if not good(answer):
        FAILURES.append(f"{name}: {answer!r}")
    return answer


def refused(name, words, flow):
    try:
        FAILURES.append(f"{name}: {flow()!r}")
    except HessraPyException as error:
        if words not in str(error):
            FAILURES.append(f"{name}: {error}")


def finish():
    for failure in FAILURES:
        print(f"      {failure}")
    sys.exit(1 if FAILURES else 0)
