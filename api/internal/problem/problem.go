// Package problem holds the answers that are not a success: a status, and a
// text that says what to do next. It maps each error of packages acl, seal and
// store to one of them.
//
// A text is a constant or names only what the client may know. It never repeats
// a value, a key, a token, or the text of an error from inside: that may quote
// what was sent, and goes to the log alone.
package problem

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"time"

	"secretstore/acl"
	"secretstore/iam"
	"secretstore/seal"
	"secretstore/seal/pgp"
	"secretstore/store"
)

// Problem is an answer that is not a success. It is an error, so that handlers
// return it like any other.
type Problem struct {
	Status int
	// Text is for the client.
	Text string
	// Code is for programs; "" is none.
	Code string
	// Retry asks for a Retry-After header: the same request may succeed soon, or
	// after RetryAfter, if that is not zero.
	Retry      bool
	RetryAfter time.Duration
	// Failed means that the server or its storage is at fault; such answers are
	// logged as errors.
	Failed bool
	// Cause is the error inside; only for the log.
	Cause error
	// Allow is the Allow header of a 405.
	Allow string
	// Lacks is the permission that the caller of a 403 lacks: a resource, a space
	// and an action.
	Lacks string
	// Location is that of a redirect.
	Location string
}

// Error returns the text for the client.
func (p *Problem) Error() string { return p.Text }

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Cause }

// BadRequest returns a 400.
func BadRequest(text string) *Problem { return &Problem{Status: http.StatusBadRequest, Text: text} }

// Unauthorized returns a 401.
func Unauthorized(text string) *Problem {
	return &Problem{Status: http.StatusUnauthorized, Text: text}
}

// NotFound returns a 404.
func NotFound(text string) *Problem { return &Problem{Status: http.StatusNotFound, Text: text} }

// TooLarge returns a 413.
func TooLarge(text string) *Problem {
	return &Problem{Status: http.StatusRequestEntityTooLarge, Text: text}
}

// Unprocessable returns a 422.
func Unprocessable(text string) *Problem {
	return &Problem{Status: http.StatusUnprocessableEntity, Text: text}
}

// Redirect returns a redirect to location. origin is the beginning of it, for people.
func Redirect(status int, location, origin string) *Problem {
	return &Problem{Status: status, Location: location, Text: "use HTTPS: this server is at " + origin}
}

// Busy returns a 503 for a server that has too much to do.
func Busy(text string) *Problem {
	return &Problem{Status: http.StatusServiceUnavailable, Text: text, Retry: true}
}

// TooMany returns a 429 for a client that asks for too much.
func TooMany(text string) *Problem {
	return &Problem{Status: http.StatusTooManyRequests, Text: text, Retry: true}
}

// Panic returns an error for the value of a panic. It leaves the value out
// unless it comes from the runtime: it could hold what a client sent.
func Panic(v any) error {
	if err, ok := v.(runtime.Error); ok {
		return fmt.Errorf("panic: %w", err)
	}
	return fmt.Errorf("panic with a %T", v)
}

// Internal returns the 500 for an unexpected error.
func Internal(cause error) *Problem {
	return &Problem{Status: http.StatusInternalServerError, Text: textInternal, Failed: true, Cause: cause}
}

// InsteadOfNotFound returns a 404 with the given text if err is
// seal.ErrNotFound, and err otherwise.
func InsteadOfNotFound(err error, text string) error {
	if errors.Is(err, seal.ErrNotFound) {
		return NotFound(text)
	}
	return err
}

// The texts that are used in more than one place. Clients match the words at
// their beginning.
const (
	NoVersion      = "the secret, or this version of it, does not exist: ?versions=true lists those that are kept"
	NoDeleted      = "a deleted secret of this name does not exist: it was never there, was purged, or was deleted more than 30 days ago"
	StoreNotFound  = `store not found: there is only the store "default"`
	NoToken        = "no valid authentication token: send 'Authorization: token=<JWT>' and log in again if yours has expired"
	SecretTooLarge = "the secret value is too large: see --max-secret-size of the server"
	// StorageFull and StorageNoWrites are also shown by GET /ready.
	StorageFull     = "the disk of the storage is full"
	StorageNoWrites = "the storage takes no writes"
	InvalidService  = "invalid service id: use /group/app or, for a job, group.app"
)

const (
	textInvalidPath = "invalid secret path: use 1 to 32 components of letters, digits, '.', '_' and '-', " +
		"each up to 255 bytes, none of them '.' or '..', 1024 bytes in all"
	textInternal    = "internal error: the server's log has the reason under the id of the X-Request-Id header"
	textUnavailable = "the storage of the secret store is unreachable: try again later"
	// textTooSlow is for a request that ran out of time, which says nothing about the
	// storage: a first list of a large store takes long, too.
	textTooSlow   = "the storage did not answer in time: it is slow or unreachable, or there was too much to read at once; try again later"
	textOtherRoot = "the storage holds the store under another root key than this server has known: " +
		"if it was replaced (rekey --rotate, reinit) while this server was away, restart this server and unseal it; " +
		"if not, somebody has put another store in its place"
	textNotReplaceable = "this init cannot be replaced: only the principal that made it can, on the same server, within 15 minutes, " +
		"with the first key of its answer in replace, and while nobody has unsealed the store since; " +
		"otherwise change the holders with PUT /secrets/v1/rekey/default, or start over with secretstore reinit --wipe"
	textWrongKey = "wrong unseal key: decrypt your own entry of the keys of GET /secrets/v1/init/default and send what gpg prints; " +
		"the store stays sealed"
	textNoBootstrapKey = "no bootstrap key is held for this store: decrypt the unseal key with your own GPG key " +
		"and use PUT /secrets/v1/unseal/default"
	textBadShares = "unsupported shares or threshold: give 1 to 32 shares, a threshold from 1 to as many, and one pgp_keys entry for each share"
)

// Of returns the answer for an error. An error that it does not know is the
// server's own fault, and gets a constant text.
func Of(err error) *Problem {
	var own *Problem
	if errors.As(err, &own) {
		return own
	}
	var refused *iam.Error
	if errors.As(err, &refused) {
		return &Problem{Status: statusOf(refused.Code), Code: string(refused.Code), Text: refused.Text}
	}
	var key *pgp.KeyError
	if errors.As(err, &key) {
		return BadRequest(key.Error())
	}
	var lower *seal.LowerModeError
	if errors.As(err, &lower) {
		p := conflict(lower.Error())
		p.Cause = err
		return &p
	}
	var restore *seal.RestoreError
	if errors.As(err, &restore) {
		p := conflict(restore.Error())
		p.Cause = err
		return &p
	}
	var old *seal.OldServersError
	if errors.As(err, &old) {
		return &Problem{Status: http.StatusConflict, Text: oldServersText(old), Cause: err}
	}
	var leftOut *seal.LeftOutError
	if errors.As(err, &leftOut) {
		return &Problem{Status: http.StatusConflict, Text: leftOutText(leftOut), Cause: err}
	}
	var damaged *seal.DamagedRecord
	if errors.As(err, &damaged) {
		return &Problem{Status: http.StatusInternalServerError, Failed: true, Cause: err,
			Text: "a record of the storage is damaged, or was not written by this store: " + damaged.Key + ": restore it from a backup"}
	}
	for _, row := range answers {
		if errors.Is(err, row.is) {
			p := row.Problem
			p.Cause = err
			return &p
		}
	}
	return Internal(err)
}

// statusOf returns the status that DC/OS has for a code.
func statusOf(code iam.Code) int {
	switch code {
	case iam.UserExists, iam.GroupExists, iam.ACLExists, iam.PermissionExists, iam.UserAlreadyInGroup, iam.ProviderExists:
		return http.StatusConflict
	}
	return http.StatusBadRequest
}

// maxNamed is how many servers a text names.
const maxNamed = 8

// oldServersText names the servers of an earlier release, like leftOutText.
func oldServersText(e *seal.OldServersError) string {
	var named []string
	for _, s := range e.Servers[:min(len(e.Servers), maxNamed)] {
		named = append(named, fmt.Sprintf("%s, id %s", s.Name, s.ID))
	}
	if more := len(e.Servers) - maxNamed; more > 0 {
		named = append(named, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("no key is changed while servers of an earlier release share the storage (%s): stop or update them and try again; "+
		"the storage lists them, and does not verify that they exist", strings.Join(named, "; "))
}

// leftOutText names the servers that a new root key would not reach. Their names
// are printable ASCII of limited length.
func leftOutText(e *seal.LeftOutError) string {
	var named []string
	for _, p := range e.LeftOut[:min(len(e.LeftOut), maxNamed)] {
		named = append(named, fmt.Sprintf("%s, id %s: %s", p.Name, p.ID, p.Problem))
	}
	if more := len(e.LeftOut) - maxNamed; more > 0 {
		named = append(named, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("the new root key would not reach %d of the live servers, which would seal (%s): stop or update them and try again, "+
		"or leave them out with leave_out; GET /secrets/v1/rekey/default/recipients lists all", len(e.LeftOut), strings.Join(named, "; "))
}

// answers is searched from the top: ErrPiecesLeft is also ErrOutcomeUnknown,
// and that, ErrFull, ErrNoWrites and ErrTaskTermAhead are also ErrUnavailable, and
// so is the end of a request's time in a call of the storage.
var answers = []struct {
	is error
	Problem
}{
	{seal.ErrNotFound, *NotFound("the secret does not exist: create it with PUT, or look for its name in a list")},
	{seal.ErrExists, conflict("the secret already exists: replace its value with PATCH")},
	{seal.ErrSealed, waits("the secret store is sealed: a superuser can unseal it with PUT /secrets/v1/unseal/default or /secrets/v1/auto-unseal/default")},
	{seal.ErrCreatingKey, waits("the secret store is not initialized yet: the server is creating the bootstrap key, which takes minutes on a slow machine")},
	{iam.ErrNotLoaded, *Busy("the users and grants are still being loaded: try again")},
	{iam.ErrConflict, *Busy("others are changing users and grants: try again")},
	{seal.ErrUninitialized, waits("the secret store is not initialized: a superuser can do it with PUT /secrets/v1/init/default")},
	{seal.ErrOtherRoot, broken(textOtherRoot)},
	{seal.ErrDamaged, broken("the storage of the secret store is damaged: see the server's log and `secretstore status`; nothing is served and nothing overwritten")},
	{seal.ErrTooLarge, *TooLarge(SecretTooLarge)},
	{seal.ErrCurrentVersion, *BadRequest("the newest version can only be removed with the secret: replace it with PATCH, " +
		"remove the secret with DELETE, or with DELETE ?purge=true if it is deleted already")},
	{seal.ErrChanged, Problem{Status: http.StatusPreconditionFailed,
		Text: "the secret was changed since it was read: read it again, and repeat the request with its new ETag"}},
	{seal.ErrBadHistory, *BadRequest("impossible versions or times: the versions are numbers from 1, newest first, and no time is in the future")},
	{seal.ErrBadMetadata, *BadRequest("description or labels too large: a description has up to 4096 bytes, and a secret up to 64 labels of up to 256 bytes")},
	{seal.ErrInitialized, *BadRequest("the secret store is already initialized: GET /secrets/v1/init/default returns its encrypted keys")},
	{seal.ErrNotReplaceable, *BadRequest(textNotReplaceable)},
	{seal.ErrBadKey, *BadRequest("the unseal key must be 64 hex digits, or 66 where it has several holders, as printed by gpg --decrypt")},
	{seal.ErrWrongKey, *BadRequest(textWrongKey)},
	{seal.ErrNoBootstrapKey, *BadRequest(textNoBootstrapKey)},
	{seal.ErrBadShares, *BadRequest(textBadShares)},
	{seal.ErrRekeyUnderWay, conflict("a rekey is already under way: look at GET /secrets/v1/rekey/default; " +
		"have the holders that it names approve or verify it, or cancel it with DELETE and its nonce")},
	{seal.ErrNotApproved, conflict("the present holders have not approved this rekey yet: GET /secrets/v1/rekey/default names them; " +
		"each sends a share with PUT /secrets/v1/rekey/default/current")},
	{seal.ErrNoRekey, *NotFound("no such rekey is under way: GET /secrets/v1/rekey/default shows the one there is, with its nonce")},
	{seal.ErrConfigNotGenuine, conflict("the record of who holds the unseal key (stores/default/config) is not genuine, so no key is changed: " +
		"`secretstore status` says why and what to do; secrets can still be read and written, and the store unsealed")},
	{store.ErrTooManyAnnouncements, conflict("too many servers announce themselves below peers in the storage, so that some would be overlooked: " +
		"remove those that others have put there")},
	{seal.ErrKeysChanged, conflict("the keys changed while the backup was made: try again")},
	{store.ErrTooManyWrites, Problem{Status: http.StatusServiceUnavailable, Retry: true, Failed: true,
		Text: "too many writes: the records kept changing while they were read; try again when less is written; on ZooKeeper, pause=true (backup --pause) holds back writes for a moment"}},
	{seal.ErrTooManyTerms, conflict("too many rotations are under way: wait until the state of GET /secrets/v1/rotate/default is idle")},
	{seal.ErrTaskSpent, *Unauthorized("the task token is used up: have the scheduler ask for another one")},
	{seal.ErrTaskTerm, *Unauthorized(NoToken)},
	// Not Failed: anybody can make up such a token during a rotation, and have
	// errors logged.
	{seal.ErrTaskTermAhead, *Busy("the key of the task token is not known here yet: try again")},
	{seal.ErrTooManyNames, waits("there are too many secrets to follow them by name: watch single ones with GET and ?watch=")},
	{seal.ErrSealNotRecorded, unreachable("sealed here, not yet recorded: this server has dropped its keys, and keeps trying to record the intent in the storage")},
	{seal.ErrPiecesLeft, unreachable("outcome unknown: the secret is gone, but the storage may still hold its value, encrypted: " +
		"the server removes it once the storage takes writes again")},
	{store.ErrUnusable, Problem{Status: http.StatusInternalServerError, Failed: true,
		Text: "the storage does not let the server use a record that the request needs: the server's log names it"}},
	{store.ErrOutcomeUnknown, unreachable("outcome unknown: the storage did not confirm the write; read before you repeat it")},
	{store.ErrFull, unreachable(StorageFull + ": nothing was changed; an administrator has to make room")},
	{store.ErrNoWrites, unreachable(StorageNoWrites + ": nothing was changed; the server's log has the reason")},
	{context.DeadlineExceeded, unreachable(textTooSlow)},
	{store.ErrUnavailable, unreachable(textUnavailable)},
	{context.Canceled, *Busy(textUnavailable)},
	// Values are cut into pieces: only the record of the holders can be too
	// large.
	{store.ErrTooLarge, *TooLarge("the public keys are too large for the storage: export them with gpg --export-options export-minimal")},
	{acl.ErrInvalidPath, *NotFound(textInvalidPath)},
	{acl.ErrInvalidService, *BadRequest(InvalidService)},
}

func conflict(text string) Problem { return Problem{Status: http.StatusConflict, Text: text} }

// waits is a 503 that people have to end.
func waits(text string) Problem {
	return Problem{Status: http.StatusServiceUnavailable, Text: text}
}

// broken is a 503 that people have to end, and that an error is logged for.
func broken(text string) Problem {
	return Problem{Status: http.StatusServiceUnavailable, Text: text, Failed: true}
}

// unreachable is a 503 that ends when the storage is back.
func unreachable(text string) Problem {
	return Problem{Status: http.StatusServiceUnavailable, Text: text, Retry: true, Failed: true}
}

// Unsealed returns why secrets are out of reach, or nil.
func Unsealed(st seal.Status) error {
	switch st.State {
	case seal.StateUnsealed:
		return nil
	case seal.StateSealed:
		return seal.ErrSealed
	}
	return State(st)
}

// State returns why a store is neither sealed nor unsealed, or nil.
func State(st seal.Status) error {
	switch st.State {
	case seal.StateSealed, seal.StateUnsealed:
		return nil
	case seal.StateUninitialized:
		if st.CreatingKey {
			return seal.ErrCreatingKey
		}
		return seal.ErrUninitialized
	case seal.StateDamaged:
		return fmt.Errorf("%w: %s", seal.ErrDamaged, st.Detail)
	default:
		return fmt.Errorf("%w: %s", store.ErrUnavailable, st.Detail)
	}
}
