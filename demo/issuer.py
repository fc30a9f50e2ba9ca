"""Who signs the tokens of the demo: PyJWT, a library that is not ours, with a fresh key."""

import json
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm


class Issuer:
    def __init__(self, name):
        self.name = name
        self.kid = "key-1"
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.issued = []

    def keys(self):
        """The public half as a key set (RFC 7517), as the issuer would publish it."""
        key = json.loads(ECAlgorithm.to_jwk(self.key.public_key()))
        key.update(kid=self.kid, use="sig", alg="ES256")
        return json.dumps({"keys": [key]})

    def claims(self, account, **changed):
        now = int(time.time())
        claims = {
            "iss": self.name,
            "sub": "dana@agents.example",
            "account_id": account,
            "roles": ["agent"],
            "iat": now,
            "exp": now + 300,
        }
        claims.update(changed)
        return claims

    def token(self, account, **changed):
        return self.sign(self.claims(account, **changed))

    def sign(self, claims, key=None, algorithm="ES256"):
        """Signs claims, by another key than the issuer's when an attack says so."""
        if algorithm != "none":
            key = key or self.key
        token = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": self.kid})
        self.issued.append(token)
        return token
