"""Every flow of hessra-py 0.2.1: flows.py DIRECTORY PORT, of a dev cluster."""

from client import AGENT, ALICE, allowed, client, finish, refused

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
finish()
