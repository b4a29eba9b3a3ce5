package gpg

import (
	"errors"
	"strconv"
	"strings"
)

var (
	errAgent = errors.New("gpg cannot start or reach its agent, which has the private keys: " +
		"install gpg-agent, and see what this prints: gpg-connect-agent /bye")
	errNoPinentry = errors.New("gpg has no program that asks for the passphrase: install pinentry-curses, " +
		"or name another one in gpg-agent.conf (pinentry-program PATH) and run: gpgconf --kill gpg-agent")
	errNoTerminal = errors.New("gpg could not ask for the passphrase, because it has no terminal: " +
		"run this command on a terminal, or run this first: export GPG_TTY=$(tty)")
	errPassphrase  = errors.New("the passphrase was wrong: run the command again")
	errPIN         = errors.New("the PIN of the smart card was wrong: run the command again")
	errNoCard      = errors.New("the smart card with the private key is missing: insert it, check it with gpg --card-status, and run the command again")
	errCardBlocked = errors.New("the PIN of the smart card is blocked: unblock it with gpg --change-pin, or let another holder unseal")
	errNoReader    = errors.New("gpg cannot use a smart card here: install scdaemon, and check with gpg --card-status")
)

// causes maps codes of libgpg-error (gpg-error.h) to what to do about them.
var causes = map[uint64]error{
	11:          errPassphrase,  // BAD_PASSPHRASE
	62:          errCanceled,    // TIMEOUT: pinentry gave up
	77:          errAgent,       // NO_AGENT
	78:          errAgent,       // AGENT
	85:          errNoPinentry,  // NO_PIN_ENTRY
	87:          errPIN,         // BAD_PIN
	91:          errNoCard,      // WRONG_CARD
	99:          errCanceled,    // CANCELED
	108:         errNoCard,      // CARD
	109:         errNoCard,      // CARD_RESET
	110:         errNoCard,      // CARD_REMOVED
	112:         errNoCard,      // CARD_NOT_PRESENT
	119:         errNoReader,    // NO_SCDAEMON
	120:         errNoReader,    // SCDAEMON
	130:         errCardBlocked, // PIN_BLOCKED
	198:         errCanceled,    // FULLY_CANCELED
	277:         errCanceled,    // ASS_CANCELED
	1<<15 | 102: errNoTerminal,  // ENOTTY
}

// codeMask takes the code out of an error value, whose upper bits say which
// program reports it.
const codeMask = 1<<16 - 1

// pinentrySource is the program in the upper bits of an error of pinentry.
const pinentrySource = 5

// causeOf returns why gpg failed, from its status lines (doc/DETAILS of GnuPG)
// and its messages in English; nil if that is not known.
func causeOf(status, messages string) error {
	// An agent that cannot be started looks like a missing key in the status
	// lines.
	for _, text := range []string{"can't connect to the agent", "failed to start agent", "no gpg-agent running", "failed to start gpg-agent"} {
		if strings.Contains(messages, text) {
			return errAgent
		}
	}
	noKey := false
	for line := range strings.Lines(status) {
		fields := strings.Fields(line)
		switch {
		case len(fields) < 3 || fields[0] != "[GNUPG:]":
		case fields[1] == "NO_SECKEY":
			noKey = true
		case fields[1] == "ERROR" && len(fields) >= 4 && strings.HasPrefix(fields[2], "pkdecrypt_failed"):
			value, err := strconv.ParseUint(fields[3], 10, 32)
			if err != nil {
				continue
			}
			if cause := causes[value&codeMask]; cause != nil {
				return cause
			}
			if value>>24 == pinentrySource {
				return errNoTerminal // pinentry runs, and cannot ask
			}
		}
	}
	if noKey {
		return errNotMine
	}
	return nil
}
