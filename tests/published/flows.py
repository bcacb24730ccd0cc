"""Every flow of hessra-py 0.2.1: flows.py DIRECTORY PORT, of a dev cluster."""

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


plain = client("alice")
key = allowed("public key", plain.get_public_key, lambda pem: "BEGIN PUBLIC KEY" in pem)
alice = allowed("setup", plain.setup_new)
identity = allowed("identity token", lambda: alice.request_identity_token(None), lambda answer: answer.identity == ALICE)
allowed("identity token by name", lambda: alice.request_identity_token(f"uri:{ALICE}"))
refused("identity token of another name", "Identity mismatch", lambda: alice.request_identity_token("urn:hessra:gateway"))
refused("identity token of nobody", "unknown_client", lambda: client("operator").request_identity_token(None))
allowed("refresh", lambda: alice.refresh_identity_token(identity.token, ALICE), lambda answer: answer.identity == ALICE)
delegated = allowed("attenuate", lambda: alice.attenuate_identity_token(identity.token, AGENT, 60))
refused("refresh of a delegated token", "attenuated", lambda: alice.refresh_identity_token(delegated, None))
allowed("verify an identity", lambda: alice.verify_identity_token_local(delegated, AGENT))
refused("verify another identity", "", lambda: alice.verify_identity_token_local(delegated, "urn:hessra:mallory"))

token = allowed("token", lambda: alice.request_token_simple("api", "read"))
refused("token without the right", "not_permitted", lambda: alice.request_token_simple("vault", "open"))
bearer = client(public_key=key)
allowed("token with an identity", lambda: bearer.request_token_with_identity("api", "read", delegated))
refused("token beyond a delegate's rights", "not_permitted", lambda: bearer.request_token_with_identity("api", "write", delegated))
for name, verify in (("locally", alice.verify_token_local), ("by the node", alice.verify_token_remote)):
    allowed(f"verify {name}", lambda: verify(token, ALICE, "api", "read"))
    refused(f"verify {name} for another", "", lambda: verify(token, "urn:hessra:mallory", "api", "read"))
    refused(f"verify {name} for more", "", lambda: verify(token, ALICE, "api", "write"))

gateway = allowed("setup of the gateway", client("gateway").setup_new)
chain = allowed("token of a service chain", lambda: gateway.request_token_simple("order_service", "create"))
at = gateway.verify_service_chain_token_remote
allowed("a chain at its first service", lambda: at(chain, "urn:hessra:gateway", "order_service", "edge"))
refused("a chain at its second service", "", lambda: at(chain, "urn:hessra:gateway", "order_service", "middleware"))
refused("a chain at no service of it", "not found in service chain", lambda: at(chain, "urn:hessra:gateway", "order_service", "nowhere"))
refused("a chain that is none", "Resource not found", lambda: at(token, ALICE, "api", "edge"))

print("\n".join(f"      {failure}" for failure in FAILURES), end="\n" if FAILURES else "")
sys.exit(1 if FAILURES else 0)
