package oidc

import "time"

// For tests of the package from outside.
var (
	Decode   = decode
	CheckURL = checkIssuer
)

const (
	KeysPause    = keysPause
	FailurePause = failurePause
	StateLife    = stateLife
)

func (p *Provider) Encode() ([]byte, error) { return p.encode() }

func (p *Provider) Claims(payload []byte) (Claims, error) { return p.claims(payload) }

// OpenState reports whether a state opens.
func OpenState(record []byte, sealed, answer string, now time.Time) bool {
	_, err := openState(record, sealed, answer, now)
	return err == nil
}
