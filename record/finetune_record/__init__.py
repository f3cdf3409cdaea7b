"""The record of a run: what an adapter was made of, by whose leave and with which result, so that somebody else can check it years later.

An in-toto statement in RFC 8785 JSON, signed as DSSE, chained per namespace. Who only states and links (`statement`, `chain`) needs no key;
who signs or verifies (`envelope`, `bundle`, `verification`) needs no cluster and no network.
"""
