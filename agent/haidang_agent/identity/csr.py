"""A new key and a certificate request, made in a short-lived child.

`cryptography` would cost the resident agent 15 MB; it is needed once in a few weeks.
"""

from __future__ import annotations

import json
import subprocess
import sys

from haidang_wire.errors import HaidangError


def new_key_and_request(name: str) -> tuple[str, str]:
    """A private key (PKCS 8) and a certificate request for `name`, both PEM.

    Raises HaidangError when the child fails.
    """
    # -I: nothing of the folder or the environment it is run in; root may stand in anybody's.
    command = [sys.executable, "-I", "-m", "haidang_agent.identity.csr", name]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise HaidangError(
            f"a key could not be made: {error}", remedy="Check that the package `cryptography` imports"
        ) from error
    answer = json.loads(done.stdout)
    return answer["key"], answer["request"]


def main(name: str) -> None:
    """Print key and request as JSON (a pipe to the parent, nothing else sees it)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    answer = {"key": pem.decode(), "request": request.public_bytes(serialization.Encoding.PEM).decode()}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])
