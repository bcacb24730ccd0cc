"""A client of hessra-py 0.2.1 that was made before a rotation: rotation.py DIRECTORY PORT.

Prints `ready`, waits for a line on stdin while the token key is replaced, and goes on with the key that it had.
"""

import sys

from client import AGENT, ALICE, allowed, client, finish, refused

old = client("alice").setup_new()
identity = old.request_identity_token(None)
token = old.request_token_simple("api", "read")
print("ready", flush=True)
sys.stdin.readline()

allowed("an old token verifies", lambda: old.verify_token_local(token, ALICE, "api", "read"))
allowed("an old token verifies at the node", lambda: old.verify_token_remote(token, ALICE, "api", "read"))
allowed("an old identity delegates", lambda: old.attenuate_identity_token(identity.token, AGENT, 60))
allowed("an old identity asks", lambda: old.request_token_with_identity("api", "read", identity.token))
fresh = allowed("a new token is issued", lambda: old.request_token_simple("api", "read"))
refused("which the former key does not verify", "", lambda: old.verify_token_local(fresh, ALICE, "api", "read"))
allowed("and the node does", lambda: old.verify_token_remote(fresh, ALICE, "api", "read"))
renewed = allowed("an old identity is refreshed", lambda: old.refresh_identity_token(identity.token, ALICE))
allowed("a new identity asks", lambda: old.request_token_with_identity("api", "read", renewed.token))
new = client("alice").setup_new()
allowed("a client made anew verifies it", lambda: new.verify_token_local(fresh, ALICE, "api", "read"))
allowed("and the old one too, at the node", lambda: new.verify_token_remote(token, ALICE, "api", "read"))
finish()
