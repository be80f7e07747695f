package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"math/big"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// signed says whether the signature is the key's over the message. The kind of key must be the algorithm's.
func signed(algorithm gateconfig.Algorithm, public any, message, signature []byte) bool {
	switch key := public.(type) {
	case *rsa.PublicKey:
		sum := sha256.Sum256(message)
		switch algorithm {
		case gateconfig.RS256:
			return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
		case gateconfig.PS256:
			// RFC 7518, section 3.5: the salt is as long as the hash.
			return rsa.VerifyPSS(key, crypto.SHA256, sum[:], signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
	case *ecdsa.PublicKey:
		switch algorithm {
		case gateconfig.ES256:
			sum := sha256.Sum256(message)
			return ecdsaSigned(key, sum[:], signature)
		case gateconfig.ES384:
			sum := sha512.Sum384(message)
			return ecdsaSigned(key, sum[:], signature)
		}
	case ed25519.PublicKey:
		return algorithm == gateconfig.EdDSA && ed25519.Verify(key, message, signature)
	}
	return false
}

// ecdsaSigned reads the signature as RFC 7518, section 3.4 has it: both numbers at full length.
func ecdsaSigned(key *ecdsa.PublicKey, sum, signature []byte) bool {
	size := (key.Curve.Params().BitSize + 7) / 8
	if len(signature) != 2*size {
		return false
	}
	return ecdsa.Verify(key, sum, new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:]))
}
