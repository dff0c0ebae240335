"""Comes in: certificates, tokens, requests for certificates.
Goes out: who somebody is, as long as that counts; the CA.
Never: what a name may say: that is the registry's."""
