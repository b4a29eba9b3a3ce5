package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"

	"secretstore/seal/envelope"
)

// intent is whether the operators want the store open. It outlives restarts and
// reaches every server. Whoever can write to the storage can seal the store;
// only who holds the root key can make a record that unseals.
type intent struct {
	Format int    `json:"format"`
	Sealed bool   `json:"sealed"`
	Epoch  uint64 `json:"epoch"` // grows by one with every seal
	MAC    string `json:"mac,omitempty"`
}

const (
	intentFormat = 1
	// maxEpoch bounds what a forged record can claim, so that epochs always
	// have room to grow.
	maxEpoch = 1 << 62
)

func sealedIntent(epoch uint64) intent {
	return intent{Format: intentFormat, Sealed: true, Epoch: epoch}
}

func unsealedIntent(epoch uint64, store string, root *envelope.Key) intent {
	in := intent{Format: intentFormat, Epoch: epoch}
	in.MAC = hex.EncodeToString(in.mac(store, root))
	return in
}

func (in intent) mac(store string, root *envelope.Key) []byte {
	mac := hmac.New(sha256.New, root.Derive("secretstore seal intent", sha256.Size))
	mac.Write(binary.BigEndian.AppendUint64(nil, in.Epoch))
	mac.Write([]byte("unsealed\x00" + store))
	return mac.Sum(nil)
}

func (in intent) encode() []byte {
	data, err := json.Marshal(in)
	if err != nil {
		panic("internal error: intent does not encode") // unreachable: plain fields
	}
	return data
}

// parseIntent reads the record. Whatever is no well-formed claim to be unsealed
// is sealed; the epoch is then what it claims, or 0.
func parseIntent(data []byte) intent {
	var in intent
	if err := json.Unmarshal(data, &in); err != nil || in.Format != intentFormat || in.Epoch > maxEpoch {
		return sealedIntent(0)
	}
	return in
}

// unsealedUnder reports whether the record is a genuine wish to be unsealed.
func (in intent) unsealedUnder(store string, root *envelope.Key) bool {
	if in.Sealed || in.Format != intentFormat {
		return false
	}
	got, err := hex.DecodeString(in.MAC)
	return err == nil && hmac.Equal(got, in.mac(store, root))
}
