package tokens

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"secretstore/acl/token"
	"secretstore/iam"
)

const (
	// recordPrefix begins the names of the records of keys; the id follows.
	recordPrefix = "key/"
	// recordFormat is the first byte of a record. JSON follows. A reader of this
	// format ignores members that it does not know.
	recordFormat = 1
	// keyBits is the size of the keys: that of DC/OS. A larger one makes each
	// sign-in slower.
	keyBits    = 2048
	maxKeyBits = 8192
	// announced is how long a key is in the key set before it signs, so that others
	// who verify tokens with the set have it by then.
	announced = time.Minute
	// margin is how much longer than its last token a key verifies: the leeway, and
	// the difference between the clocks of servers.
	margin = token.Leeway + 5*time.Minute
)

// key is a key that signs tokens.
type key struct {
	id      string
	private *rsa.PrivateKey
	// made is when it was first announced, and retire when it verifies no more; zero
	// while no newer key has been made.
	made, retire time.Time
	// incarnation is that of the store when the key was made: in another one, its
	// tokens are not good.
	incarnation string
}

// storedKey is the record of a key. Names are never reused.
type storedKey struct {
	Made    time.Time `json:"made"`
	Retire  time.Time `json:"retire,omitzero"`
	Private []byte    `json:"private"` // PKCS#8
	// Incarnation is empty in a store that was never restored.
	Incarnation string `json:"incarnation,omitempty"`
}

var errBadKey = errors.New("the record of a signing key is not well-formed")

func newKey(now time.Time) (*key, error) {
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, fmt.Errorf("make a key that signs tokens: %w", err)
	}
	return &key{id: keyID(&private.PublicKey), private: private, made: now.UTC().Truncate(time.Second)}, nil
}

// keyID returns the kid of a key as DC/OS makes it.
func keyID(public *rsa.PublicKey) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d%dRSA", public.E, public.N))
	return hex.EncodeToString(sum[:])
}

func (k *key) recordName() string { return recordPrefix + k.id }

func (k *key) record() (iam.Record, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return iam.Record{}, errBadKey
	}
	defer clear(der)
	text, err := json.Marshal(storedKey{k.made, k.retire, der, k.incarnation})
	if err != nil {
		return iam.Record{}, errBadKey
	}
	defer clear(text)
	return iam.Record{Name: k.recordName(), Data: slices.Concat([]byte{recordFormat}, text)}, nil
}

// parseKey reads the record of a key.
func parseKey(name string, record []byte) (*key, error) {
	if len(record) == 0 || record[0] != recordFormat {
		return nil, errBadKey
	}
	var s storedKey
	defer func() { clear(s.Private) }()
	if json.Unmarshal(record[1:], &s) != nil {
		return nil, errBadKey
	}
	parsed, err := x509.ParsePKCS8PrivateKey(s.Private)
	if err != nil {
		return nil, errBadKey
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if !ok || private.N.BitLen() < keyBits || private.N.BitLen() > maxKeyBits {
		return nil, errBadKey
	}
	k := &key{keyID(&private.PublicKey), private, s.Made, s.Retire, s.Incarnation}
	if name != k.recordName() {
		return nil, errBadKey
	}
	return k, nil
}

// retired reports whether tokens of the key are good no more.
func (k *key) retired(now time.Time) bool { return !k.retire.IsZero() && !now.Before(k.retire) }

// newestFirst orders keys.
func newestFirst(a, b *key) int {
	return cmp.Or(b.made.Compare(a.made), cmp.Compare(a.id, b.id))
}

// ring is the keys at one moment, newest first. It is immutable.
type ring struct {
	keys []*key
	// verifier has all keys; it is nil if there are none.
	verifier *token.Verifier
	// records are what the keys were read from.
	records map[string][]byte
	// stale is closed when the records may have changed.
	stale <-chan struct{}
	// bad is how many records could not be read.
	bad int
	// incarnation is that of the store, and outlived are the names of the records of
	// keys of another one.
	incarnation string
	outlived    []string
}

// newRing reads the records of keys. It returns the keys of this incarnation that it
// can read.
func newRing(records map[string][]byte, incarnation string, now func() time.Time, stale <-chan struct{}) *ring {
	r := &ring{records: records, incarnation: incarnation, stale: stale}
	for name, record := range records {
		k, err := parseKey(name, record)
		if err != nil {
			r.bad++
			continue
		}
		if k.incarnation != incarnation {
			r.outlived = append(r.outlived, name)
			continue
		}
		r.keys = append(r.keys, k)
	}
	slices.SortFunc(r.keys, newestFirst)
	if len(r.keys) > 0 {
		r.verifier = newVerifier(r.keys, now)
	}
	return r
}

func newVerifier(keys []*key, now func() time.Time) *token.Verifier {
	v, err := token.New(token.Config{JWKS: keySet(keys), Now: now})
	if err != nil {
		panic("internal error: own key set: " + err.Error()) // unreachable: at most maxKeys good keys
	}
	return v
}

func (r *ring) same(records map[string][]byte, incarnation string) bool {
	if r.incarnation != incarnation || len(r.records) != len(records) {
		return false
	}
	for name, record := range records {
		if !bytes.Equal(r.records[name], record) {
			return false
		}
	}
	return true
}

// find returns the key of an id that is not retired, or nil.
func (r *ring) find(id string, now time.Time) *key {
	for _, k := range r.keys {
		if k.id == id && !k.retired(now) {
			return k
		}
	}
	return nil
}

// live returns the keys that are not retired.
func (r *ring) live(now time.Time) []*key {
	return slices.DeleteFunc(slices.Clone(r.keys), func(k *key) bool { return k.retired(now) })
}

// hasNext reports whether a key among keys will sign, and not only verify.
func hasNext(keys []*key) bool {
	return slices.ContainsFunc(keys, func(k *key) bool { return k.retire.IsZero() })
}

// signer returns the key to sign with: the newest one that has been announced for
// long enough. If there is none, it is the oldest, which others have known for
// longest. Nil if there is no key.
func (r *ring) signer(now time.Time) *key {
	live := r.live(now)
	for _, k := range live {
		if !now.Before(k.made.Add(announced)) {
			return k
		}
	}
	if len(live) == 0 {
		return nil
	}
	return live[len(live)-1]
}

// jwk is a public key as DC/OS shows it.
type jwk struct {
	N   string `json:"n"`
	E   string `json:"e"`
	KTY string `json:"kty"`
	Alg string `json:"alg"`
	Use string `json:"use"`
	KID string `json:"kid"`
}

// keySet returns the JSON Web Key Set of keys.
func keySet(keys []*key) []byte {
	set := struct {
		Keys []jwk `json:"keys"`
	}{make([]jwk, 0, len(keys))}
	for _, k := range keys {
		public := &k.private.PublicKey
		set.Keys = append(set.Keys, jwk{
			N:   base64.RawURLEncoding.EncodeToString(public.N.Bytes()),
			E:   base64.RawURLEncoding.EncodeToString(big.NewInt(int64(public.E)).Bytes()),
			KTY: "RSA", Alg: "RS256", Use: "sig", KID: k.id,
		})
	}
	text, err := json.Marshal(set)
	if err != nil {
		panic("internal error: key set: " + err.Error()) // unreachable: strings
	}
	return text
}
