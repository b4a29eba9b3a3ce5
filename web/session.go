package web

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"secretstore/acl"
	"secretstore/acl/token"
)

const (
	// Cookie is the name of the cookie of a session.
	Cookie = "secretstore-session"
	// maxIdle is how long a session lasts without use.
	maxIdle = 15 * time.Minute
	// maxToken is the length of the longest token that fits into a cookie with the
	// rest, in bytes: browsers drop cookies above 4 KiB.
	maxToken = 2800
)

// Keys gives the keys that encrypt sessions.
type Keys interface {
	// SessionKey returns the key of a term, and its term; 0 asks for the newest. All
	// servers of a store have the same keys. It fails while the store is sealed.
	SessionKey(term uint32) (key [32]byte, of uint32, err error)
}

// Ended remembers on all servers which sessions were ended.
type Ended interface {
	// End remembers a session of a user until a time.
	End(ctx context.Context, uid, id string, until time.Time) error
	// Has reports whether the session is remembered. An error means that this is not
	// known now.
	Has(uid, id string) (bool, error)
}

// session is what the cookie holds.
type session struct {
	ID    string    `json:"id"`
	Token string    `json:"token"`
	Form  string    `json:"form"` // what forms must show
	Used  time.Time `json:"used"`

	who  acl.Principal
	term uint32 // of the key of its cookie; 0 is the key of this process
}

var (
	// errNoSession: there is no session, or it has ended.
	errNoSession    = errors.New("not signed in")
	errTokenTooLong = errors.New("the token is too long for a cookie of a browser")
	// errNoKey is errNoSession for a cookie whose key this server does not have now: it
	// may be a session of another server, or again after an unseal.
	errNoKey = fmt.Errorf("%w: the cookie cannot be opened here", errNoSession)
	// errNotKnown: it cannot be known now whether a session is still good.
	errNotKnown = errors.New("the session cannot be checked now")
)

// sessions opens and makes cookies.
type sessions struct {
	keys   Keys
	ended  Ended
	verify func(string) (acl.Principal, error)
	now    func() time.Time
	own    [32]byte // the key of this process, for a store that is sealed

	mu    sync.Mutex
	local map[string]bool // ids of the sessions that were ended here; guarded by mu
	order []endedHere     // the same, the first one first; guarded by mu
}

// endedHere is a session that this process remembers as ended until a time.
type endedHere struct {
	id    string
	until time.Time
}

func newSessions(k Keys, e Ended, verify func(string) (acl.Principal, error), now func() time.Time) *sessions {
	s := &sessions{keys: k, ended: e, verify: verify, now: now, local: make(map[string]bool)}
	rand.Read(s.own[:]) // never fails
	return s
}

// start returns a new session for a token that the API has accepted.
func (s *sessions) start(token string) (*session, error) {
	who, err := s.verify(token)
	if err != nil {
		return nil, err
	}
	return &session{ID: rand.Text(), Token: token, Form: rand.Text(), who: who}, nil
}

// of returns the session of a request: errNoSession, errNoKey, errNotKnown.
func (s *sessions) of(r *http.Request) (*session, error) {
	cookies := r.CookiesNamed(Cookie)
	if len(cookies) != 1 {
		return nil, errNoSession // a neighbouring host can plant a second one
	}
	x, err := s.open(cookies[0].Value)
	if err != nil {
		return nil, err
	}
	if s.now().Sub(x.Used) > maxIdle {
		return nil, errNoSession
	}
	if x.who, err = s.verify(x.Token); err != nil {
		if errors.Is(err, token.ErrUnchecked) {
			return nil, fmt.Errorf("%w: %w", errNotKnown, err)
		}
		return nil, errNoSession
	}
	if ended, err := s.isEnded(x); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotKnown, err)
	} else if ended {
		return nil, errNoSession
	}
	return x, nil
}

func (s *sessions) isEnded(x *session) (bool, error) {
	s.mu.Lock()
	local := s.local[x.ID]
	s.mu.Unlock()
	if local {
		return true, nil
	}
	if _, _, err := s.keys.SessionKey(0); err != nil {
		return false, nil // sealed: only this process can have made the session
	}
	return s.ended.Has(x.who.UID, x.ID)
}

// end ends a session.
func (s *sessions) end(ctx context.Context, x *session) error {
	s.endHere(x.ID)
	until := x.who.Expires // a server that learns of the end late may renew the cookie
	if until.IsZero() {
		until = s.now().Add(2 * maxIdle)
	}
	if _, _, err := s.keys.SessionKey(0); err != nil {
		if x.term != 0 { // the store was sealed just now
			return errNoKey
		}
		return nil
	}
	return s.ended.End(ctx, x.who.UID, x.ID, until)
}

// endHere remembers a session for longer than a copy of its cookie is good: this process
// renews none of a session that was ended.
func (s *sessions) endHere(id string) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.order) > 0 && now.After(s.order[0].until) {
		delete(s.local, s.order[0].id)
		s.order = s.order[1:]
	}
	if !s.local[id] {
		s.local[id] = true
		s.order = append(s.order, endedHere{id, now.Add(2 * maxIdle)})
	}
}

// cookieContext separates the cookies from whatever else the keys may encrypt.
const cookieContext = "secretstore web session 1"

// headSize is that of what precedes the encrypted part: the term, or 0 for the key
// of this process.
const headSize = 4

var encoding = base64.RawURLEncoding

// seal returns the value of the cookie.
func (s *sessions) seal(x *session) (string, error) {
	x.Used = s.now().UTC().Truncate(time.Second)
	key, term, err := s.keys.SessionKey(0)
	if err != nil {
		key, term = s.own, 0
	}
	defer clear(key[:])
	plain, err := json.Marshal(x)
	if err != nil {
		return "", err
	}
	defer clear(plain)
	aead, err := newAEAD(key)
	if err != nil {
		return "", err
	}
	head := binary.BigEndian.AppendUint32(nil, term)
	return encoding.EncodeToString(aead.Seal(head, nil, plain, additional(head))), nil
}

// open reads the value of a cookie. errNoSession, errNoKey.
func (s *sessions) open(value string) (*session, error) {
	raw, err := encoding.DecodeString(value)
	if err != nil || len(raw) < headSize {
		return nil, errNoSession
	}
	key, term := s.own, binary.BigEndian.Uint32(raw)
	if term != 0 {
		if key, _, err = s.keys.SessionKey(term); err != nil {
			return nil, errNoKey
		}
	}
	defer clear(key[:])
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, raw[headSize:], additional(raw[:headSize]))
	switch {
	case err != nil && term == 0:
		return nil, errNoKey // it may be the key of another process
	case err != nil:
		return nil, errNoSession
	}
	defer clear(plain)
	x := new(session)
	if err := json.Unmarshal(plain, x); err != nil || x.ID == "" || x.Token == "" || x.Form == "" {
		return nil, errNoSession
	}
	x.term = term
	return x, nil
}

func additional(head []byte) []byte {
	return append([]byte(cookieContext+" "), hex.EncodeToString(head)...)
}

func newAEAD(key [32]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// cookie returns the cookie of a session, for the browser that has sent r. It has no
// age: the browser forgets it when it ends.
func (s *Server) cookie(r *http.Request, x *session) (*http.Cookie, error) {
	value, err := s.sessions.seal(x)
	if err != nil {
		return nil, err
	}
	return &http.Cookie{Name: Cookie, Value: value, Path: "/", HttpOnly: true, Secure: s.isSecure(r), SameSite: http.SameSiteStrictMode}, nil
}

// setCookie hands the session to the browser.
func (s *Server) setCookie(w http.ResponseWriter, r *http.Request, x *session) error {
	c, err := s.cookie(r, x)
	if err == nil {
		http.SetCookie(w, c)
	}
	return err
}

// StartSession returns the cookie of a new session for a token that the API has just
// made, which answers r. The browser then goes to page, relative to Path: to the one
// that was wanted if it can be shown, else to the first.
func (s *Server) StartSession(r *http.Request, token, wanted string) (cookie, page string, err error) {
	if len(token) > maxToken {
		return "", "", errTokenTooLong
	}
	x, err := s.sessions.start(token)
	if err != nil {
		return "", "", err
	}
	c, err := s.cookie(r, x)
	if err != nil {
		return "", "", err
	}
	return c.String(), strings.TrimPrefix(s.next(wanted), address("")), nil
}

// dropCookie has the browser forget a cookie.
func (s *Server) dropCookie(w http.ResponseWriter, r *http.Request, name string, site http.SameSite) {
	http.SetCookie(w, &http.Cookie{Name: name, Path: "/", MaxAge: -1, HttpOnly: true, Secure: s.isSecure(r), SameSite: site})
}
