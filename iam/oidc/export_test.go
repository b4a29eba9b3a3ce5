package oidc

import "time"

// For tests of the package from outside.
var (
	Decode   = decode
	CheckURL = checkIssuer

	NewStateKey = newStateKey
)

const (
	KeysPause    = keysPause
	FailurePause = failurePause
	StateLife    = stateLife
	CodeLife     = codeLife
)

func (p *Provider) Encode() ([]byte, error) { return p.encode() }

func (p *Provider) Claims(payload []byte) (Claims, error) { return p.claims(payload) }

// OpenState reports whether a state opens.
func OpenState(record []byte, sealed, answer string, now time.Time) bool {
	_, err := openState(record, sealed, answer, now)
	return err == nil
}

// UsedCodes returns how many codes a server remembers.
func (s *Service) UsedCodes() int {
	s.used.mu.Lock()
	defer s.used.mu.Unlock()
	return len(s.used.ends)
}

// SealCode returns an encrypted code.
func SealCode(record []byte, id string) (string, error) {
	return sealText(record, codeLabel, &code{ID: id})
}

// OpenCode returns the ID of a code.
func OpenCode(record []byte, sealed string) (string, error) {
	var c code
	err := openText(record, codeLabel, sealed, &c)
	return c.ID, err
}
