"""The one suite of algorithms; manifests and bindings name it, and nothing negotiates it.

S1: X25519 (RFC 7748) with ML-KEM-768 (FIPS 203), HKDF-SHA256 (RFC 5869), AES-256-GCM (NIST SP
800-38D), AES-256-CTR (NIST SP 800-38A), Ed25519 (RFC 8032), Shamir's sharing over GF(2^521 - 1).
"""

SUITE = "S1"
