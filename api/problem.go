package api

import (
	"context"
	"errors"
	"net/http"

	"secretstore/acl"
	"secretstore/seal"
	"secretstore/seal/pgp"
	"secretstore/store"
)

// problem is an answer that is not a success. Its text is for the client: it
// says what to do next and never repeats what was sent.
type problem struct {
	status int
	text   string
	// retry asks for a Retry-After header: the same request may succeed soon.
	retry bool
	// failed: the server or its storage is at fault, which is logged.
	failed bool
	// cause is what went wrong inside; for the log alone.
	cause error
	// allow is the Allow header of a 405.
	allow string
}

func (p *problem) Error() string { return p.text }

// Unwrap returns what went wrong inside.
func (p *problem) Unwrap() error { return p.cause }

func badRequest(text string) *problem   { return &problem{status: http.StatusBadRequest, text: text} }
func unauthorized(text string) *problem { return &problem{status: http.StatusUnauthorized, text: text} }
func notFound(text string) *problem     { return &problem{status: http.StatusNotFound, text: text} }

// The texts that clients look for stand at the start of the descriptions.
const (
	textNotFound      = "the secret does not exist: create it with PUT, or look for its name in a list"
	textNoVersion     = "the secret, or this version of it, does not exist: ?versions=true lists those that are kept"
	textNoDeleted     = "the secret does not exist among the deleted ones: it was never there, was purged, or was deleted more than 30 days ago"
	textExists        = "the secret already exists: replace its value with PATCH"
	textStoreNotFound = `store not found: there is only the store "default"`
	textInvalidPath   = "invalid secret path: use 1 to 32 components of letters, digits, '.', '_' and '-', " +
		"each up to 255 bytes, none of them '.' or '..', 1024 bytes in all"
	textSealed        = "the secret store is sealed: a superuser can unseal it with PUT /secrets/v1/unseal/default or /secrets/v1/auto-unseal/default"
	textUninitialized = "the secret store is not initialized: a superuser can do it with PUT /secrets/v1/init/default"
	textDamaged       = "the storage of the secret store is damaged: see the server's log and `secretstore status`; nothing is served and nothing overwritten"
	textUnavailable   = "the storage of the secret store is unreachable: try again later"
	textUnknown       = "outcome unknown: the storage did not confirm the write; read before you repeat it"
	textInternal      = "internal error: the server's log has the reason under the id of the X-Request-Id header"
	textUnauthorized  = "no valid authentication token: send 'Authorization: token=<JWT>' and log in again if yours has expired"
)

// problemOf gives each error its answer. What is not listed is the server's
// own fault and gets a constant text.
func problemOf(err error) *problem {
	var own *problem
	if errors.As(err, &own) {
		return own
	}
	var key *pgp.KeyError
	if errors.As(err, &key) {
		return badRequest(key.Error())
	}
	var damaged *seal.DamagedRecord
	if errors.As(err, &damaged) {
		return &problem{status: http.StatusInternalServerError, failed: true, cause: err,
			text: "a record of the storage is damaged, or was not written by this store: " + damaged.Key + ": restore it from a backup"}
	}
	for _, row := range problems {
		if errors.Is(err, row.is) {
			p := row.problem
			p.cause = err
			return &p
		}
	}
	return &problem{status: http.StatusInternalServerError, text: textInternal, failed: true, cause: err}
}

// problems is searched from the top: ErrOutcomeUnknown and ErrTaskTermAhead also
// are ErrUnavailable.
var problems = []struct {
	is error
	problem
}{
	{seal.ErrNotFound, problem{status: http.StatusNotFound, text: textNotFound}},
	{seal.ErrExists, problem{status: http.StatusConflict, text: textExists}},
	{seal.ErrSealed, problem{status: http.StatusServiceUnavailable, text: textSealed}},
	{seal.ErrUninitialized, problem{status: http.StatusServiceUnavailable, text: textUninitialized}},
	{seal.ErrOtherRoot, problem{status: http.StatusServiceUnavailable, failed: true, text: "the storage holds the store under another root key than this server has known: " +
		"if it was replaced (rekey --rotate, reinit) while this server was away, restart this server and unseal it; if not, somebody has put another store in its place"}},
	{seal.ErrDamaged, problem{status: http.StatusServiceUnavailable, text: textDamaged, failed: true}},
	{seal.ErrTooLarge, problem{status: http.StatusRequestEntityTooLarge, text: textTooLarge}},
	{seal.ErrCurrentVersion, problem{status: http.StatusBadRequest, text: "the newest version goes with the secret alone: replace it with PATCH, " +
		"remove the secret with DELETE, or with DELETE ?purge=true one that is deleted already"}},
	{seal.ErrChanged, problem{status: http.StatusPreconditionFailed, text: textChanged}},
	{seal.ErrBadMetadata, problem{status: http.StatusBadRequest, text: "description or labels too large: a description has up to 4096 bytes, " +
		"and a secret up to 64 labels of up to 256 bytes"}},
	{seal.ErrInitialized, problem{status: http.StatusBadRequest, text: "the secret store is already initialized: GET /secrets/v1/init/default returns its encrypted keys"}},
	{seal.ErrNotReplaceable, problem{status: http.StatusBadRequest, text: "this init cannot be done over: only by who did it, on the same server, within 15 minutes, " +
		"with the first key of its answer in replace, and while nobody has unsealed the store since; " +
		"else change the holders with PUT /secrets/v1/rekey/default, or begin anew with secretstore reinit --wipe"}},
	{seal.ErrBadKey, problem{status: http.StatusBadRequest, text: "the unseal key must be 64 hex digits, or 66 where it has several holders, as printed by gpg --decrypt"}},
	{seal.ErrWrongKey, problem{status: http.StatusBadRequest, text: "wrong unseal key: decrypt your own entry of the keys of GET /secrets/v1/init/default and send what gpg prints; the store stays sealed"}},
	{seal.ErrNoBootstrapKey, problem{status: http.StatusBadRequest, text: "no bootstrap key is held for this store: decrypt the unseal key with your own GPG key and use PUT /secrets/v1/unseal/default"}},
	{seal.ErrBadShares, problem{status: http.StatusBadRequest, text: "unsupported shares or threshold: give 1 to 32 shares, a threshold from 1 to as many, and one pgp_keys entry for each share; " +
		"where several people hold the present unseal key, a rekey also needs as many different shares of it in current as its threshold"}},
	{seal.ErrRekeyUnderWay, problem{status: http.StatusConflict, text: "a rekey is already under way: look at GET /secrets/v1/rekey/default; " +
		"have its holders verify their shares, or cancel it with DELETE and its nonce"}},
	{seal.ErrNoRekey, problem{status: http.StatusNotFound, text: "no such rekey is under way: GET /secrets/v1/rekey/default shows the one there is, with its nonce"}},
	{seal.ErrTooManyTerms, problem{status: http.StatusConflict, text: "too many rotations are under way: wait until the state of GET /secrets/v1/rotate/default is idle"}},
	{seal.ErrTaskSpent, problem{status: http.StatusUnauthorized, text: "the task token is used up: have the scheduler ask for another one"}},
	{seal.ErrTaskTerm, problem{status: http.StatusUnauthorized, text: textUnauthorized}},
	// Not failed: anybody can make up such a token, and have errors logged.
	{seal.ErrTaskTermAhead, problem{status: http.StatusServiceUnavailable, retry: true, text: "the key of the task token is not known here yet: try again"}},
	{seal.ErrTooManyNames, problem{status: http.StatusServiceUnavailable, text: "there are too many secrets to follow them by name: watch single ones with GET and ?watch="}},
	{seal.ErrSealNotRecorded, problem{status: http.StatusServiceUnavailable, retry: true, failed: true,
		text: "sealed here, not yet recorded: this server holds no keys any more and goes on trying to record the intent in the storage"}},
	{store.ErrOutcomeUnknown, problem{status: http.StatusServiceUnavailable, retry: true, failed: true, text: textUnknown}},
	{store.ErrUnavailable, problem{status: http.StatusServiceUnavailable, retry: true, failed: true, text: textUnavailable}},
	{context.DeadlineExceeded, problem{status: http.StatusServiceUnavailable, retry: true, failed: true, text: textUnavailable}},
	{context.Canceled, problem{status: http.StatusServiceUnavailable, retry: true, text: textUnavailable}},
	// Values are cut into pieces: only the record of the holders can be too large.
	{store.ErrTooLarge, problem{status: http.StatusRequestEntityTooLarge, text: "the public keys are too large for the storage: export them with gpg --export-options export-minimal"}},
	{acl.ErrInvalidPath, problem{status: http.StatusNotFound, text: textInvalidPath}},
	{acl.ErrInvalidService, problem{status: http.StatusBadRequest, text: textInvalidService}},
}

const (
	textTooLarge       = "the secret value is too large: see --max-secret-size of the server"
	textInvalidService = "invalid service id: use /group/app or, for a job, group.app"
)
